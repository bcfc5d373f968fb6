"""V2 model runner: what each request of a step needs, from the batch that the runner shows to the model's state.

vLLM's V2 runner asks the model for a ``ModelState`` class, shows it every request that enters a slot and every
batch before its attention metadata is built, and hands metadata builders what the state says a step needs. One
state belongs to one model in one runner. Imported under the V2 runner alone: its modules want Triton.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from vllm.config import CUDAGraphMode
from vllm.v1.worker.gpu.model_states.default import DefaultModelState
from vllm.v1.worker.gpu.model_states.interface import ModelSpecificAttnMetadata

from swiftkv_bench.swiftkv.backend import SelectsRows
from swiftkv_bench.swiftkv.options import Options
from swiftkv_bench.swiftkv.steps import Step, needs_all_rows, take_step

__all__ = ["SwiftKVModelState"]


@dataclass(frozen=True)
class _StepForBuilders(ModelSpecificAttnMetadata):
    step: Step

    def get_extra_attn_kwargs(self, attn_metadata_builder: Any, num_reqs: int) -> dict[str, Any]:
        """What a builder's ``build`` is given beyond the batch: the later layers' builder takes the step."""
        return {"swiftkv_step": self.step} if isinstance(attn_metadata_builder, SelectsRows) else {}


class SwiftKVModelState(DefaultModelState):
    """vLLM's state of a decoder, which also tells the later layers' metadata builder what a step needs."""

    def __init__(self, vllm_config: Any, *of_the_runner: Any) -> None:
        super().__init__(vllm_config, *of_the_runner)
        self._skips = Options.of(vllm_config).skips
        self._needs_all = np.zeros(vllm_config.scheduler_config.max_num_seqs, dtype=np.bool_)
        self._real: Any = None

    def initialize_kv_cache(self, *of_the_runner: Any) -> None:
        """The cache was allocated, and graphs captured before read another one; vLLM measures memory with such."""
        super().initialize_kv_cache(*of_the_runner)
        self.model.forget_graphs()

    def add_request(self, req_index: int, new_req_data: Any) -> None:
        """A request enters slot ``req_index``, for the first time or again after preemption."""
        super().add_request(req_index, new_req_data)
        self._needs_all[req_index] = needs_all_rows(new_req_data.sampling_params)

    def preprocess_state(self, input_batch: Any, *of_the_runner: Any) -> None:
        """A batch of real requests is about to run; dummy batches are not announced here."""
        super().preprocess_state(input_batch, *of_the_runner)
        self._real = input_batch

    def prepare_attn(self, input_batch: Any, cudagraph_mode: Any, *more: Any, **named: Any) -> dict[str, Any]:
        """Metadata of every attention layer, built with the step's selection where the batch is real."""
        real, self._real = input_batch is self._real, None
        if real:
            named["model_specific_attn_metadata"] = _StepForBuilders(self._step(input_batch, cudagraph_mode))
        metadata: dict[str, Any] = super().prepare_attn(input_batch, cudagraph_mode, *more, **named)
        return metadata

    def _step(self, batch: Any, cudagraph_mode: Any) -> Step:
        drafts = batch.num_draft_tokens_per_req
        return take_step(
            batch.query_start_loc_np[: batch.num_reqs + 1],
            batch.is_prefilling_np,
            batch.seq_lens_cpu_upper_bound.numpy(),
            # The prompt, and after preemption what had been generated: no row before its end is sampled from.
            batch.prefill_len_np,
            self._needs_all[batch.idx_mapping_np],
            None if drafts is None else drafts > 0,
            # A full graph was captured with all rows running.
            skips=self._skips and cudagraph_mode != CUDAGraphMode.FULL,
        )
