"""Attention of later layers: K/V were written before, queries are the selected rows.

vLLM groups layers by the backend they ask for, so naming a subclass gives later layers a metadata builder of
their own while they stay in the KV cache group of all layers. That builder narrows each batch to the rows of the step's
selection; the model finds them on the metadata as ``swiftkv_rows``.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.model_executor.layers.attention import Attention
from vllm.v1.attention.backend import AttentionCGSupport, subclass_attention_backend

from swiftkv_bench.swiftkv.compat import encode_layer_name, planning_outside_graphs, replace_query_rows
from swiftkv_bench.swiftkv.counters import counters
from swiftkv_bench.swiftkv.options import Options
from swiftkv_bench.swiftkv.preflight import check_backend
from swiftkv_bench.swiftkv.rows import Selection
from swiftkv_bench.swiftkv.steps import Step
from swiftkv_bench.swiftkv.tracker import tracker_of

__all__ = ["QueryOnlyAttention", "SelectedRows", "SelectsRows"]


@dataclass(frozen=True)
class SelectedRows:
    """The rows of this step that run the second half, on the device.

    Attributes:
        count: number of selected rows; 0 when the second half does not run.
        indices: int64, shape (count,); with ``count`` 0 the last row of each request, from which vLLM samples
            and drops the sample.
    """

    count: int
    indices: torch.Tensor


@dataclass
class SkippedStep:
    """Metadata of a step whose second half does not run: no attention will read it."""

    swiftkv_rows: SelectedRows | None


class SelectsRows:
    """Marks the metadata builders whose ``build`` takes ``swiftkv_step``."""


class QueryOnlyAttention(Attention):
    """Attention that reads K/V written beforehand and takes the query alone."""

    def get_attn_backend(self) -> Any:
        """The layer's backend with the row-selecting metadata builder; both model runners ask here."""
        return _selecting_backend(super().get_attn_backend())

    def forward(self, query: torch.Tensor) -> torch.Tensor:
        """Attend with ``query``, shape (rows, heads * head_size); the result has the same shape."""
        output = torch.empty_like(query)
        if self.query_quant is not None and self.impl.supports_quant_query_input:
            query, _ = self.query_quant(query, self._q_scale)
        query = query.view(-1, self.num_heads, self.head_size)
        # The op's schema wants key and value tensors; backends whose forward() leaves the cache alone read
        # K/V from it, so views of the query fill the places.
        unread = query[:, : self.num_kv_heads]
        torch.ops.vllm.unified_attention_with_output(
            query,
            unread,
            unread,
            output.view(-1, self.num_heads, self.head_size_v),
            encode_layer_name(self.layer_name),
            kv_cache_dummy_dep=None,
        )
        return output


@cache
def _selecting_backend(base: Any) -> Any:
    """Subclass of the attention backend ``base`` whose builder is ``_selecting_builder``'s; one per base."""
    check_backend(base)
    return subclass_attention_backend("SwiftKV", base, _selecting_builder(base.get_builder_cls()))


def _selecting_builder(base_builder: Any) -> Any:
    """Subclass of a metadata builder that narrows each batch to the rows that run the second half."""

    class SelectingMetadataBuilder(SelectsRows, base_builder):
        # A step's rows are decided before build(); metadata of another step must not be reused.
        supports_update_block_table = False

        def __init__(self, kv_cache_spec: Any, layer_names: list[str], vllm_config: Any, device: Any, **more: Any):
            super().__init__(kv_cache_spec, layer_names, vllm_config, device, **more)
            self._skips = Options.of(vllm_config).skips
            self._tracker = tracker_of(vllm_config)
            # Every rank sees the same batch; one of them counts it.
            self._counts = get_tensor_model_parallel_rank() == 0
            self._steps_taken = 0

        @classmethod
        def get_cudagraph_support(cls, vllm_config: Any, kv_cache_spec: Any) -> AttentionCGSupport:
            support = base_builder.get_cudagraph_support(vllm_config, kv_cache_spec)
            if not Options.of(vllm_config).skips:
                return support
            # The number of rows of a mixed batch depends on its data, so no full graph can hold it.
            return min(support, AttentionCGSupport.UNIFORM_BATCH, key=lambda level: level.value)

        def build(
            self,
            common_prefix_len: int,
            common_attn_metadata: Any,
            fast_build: bool = False,
            swiftkv_step: Step | None = None,
        ) -> Any:
            step = self._tracked(common_attn_metadata) if swiftkv_step is None else swiftkv_step
            if step is not None and self._counts:
                counters().step(step.tokens, step.prompt_tokens, step.second_half_tokens)
            selection = None if step is None else step.selection
            # Prefix length 0: a cascade would be planned for the rows before selection.
            if selection is None:
                metadata = super().build(0, common_attn_metadata, fast_build)
                metadata.swiftkv_rows = None
                return metadata
            rows = _to_device(selection, common_attn_metadata)
            if not rows.count:
                return SkippedStep(rows)
            with planning_outside_graphs(self):
                metadata = super().build(0, _narrow(common_attn_metadata, selection, rows), fast_build)
            metadata.swiftkv_rows = rows
            return metadata

        def _tracked(self, batch: Any) -> Step | None:
            """V1 runner: the step that the tracker was told of; None in dummy runs, which it is not told of."""
            tracker = self._tracker
            if tracker is None or tracker.steps == self._steps_taken:
                return None
            self._steps_taken = tracker.steps
            return tracker.step(batch, skips=self._skips)

    return SelectingMetadataBuilder


def _upload(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy to the device without waiting for it, which takes pinned memory."""
    if device.type == "cpu":
        return values
    return values.pin_memory().to(device, non_blocking=True)


def _to_device(selection: Selection, batch: Any) -> SelectedRows:
    count = len(selection.indices)
    if count:
        indices = _upload(torch.from_numpy(selection.indices), batch.query_start_loc.device)
    else:
        indices = batch.query_start_loc[1:].long() - 1
    return SelectedRows(count, indices)


def _narrow(batch: Any, selection: Selection, rows: SelectedRows) -> Any:
    """The batch's metadata as if it held the selected rows alone."""
    query_start_cpu = torch.from_numpy(selection.query_start)
    return replace_query_rows(
        batch,
        query_start_loc=_upload(query_start_cpu, batch.query_start_loc.device),
        query_start_loc_cpu=query_start_cpu,
        num_actual_tokens=rows.count,
        max_query_len=selection.max_query_len,
        positions=None if batch.positions is None else batch.positions[rows.indices],
    )
