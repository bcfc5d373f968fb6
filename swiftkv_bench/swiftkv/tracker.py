"""V1 model runner: what each request of a step needs, learnt before the forward pass by a logits processor.

A logits processor is the one object of a V1 worker to which vLLM shows every request's sampling parameters before
the forward. This one never touches logits. It is loaded into every engine of the environment; in one that does not
serve SwiftKV, or runs the V2 runner (``model_state``), it keeps nothing and only checks requests.

A request may ask for full depth by ``vllm_xargs={"swiftkv_full": 1}``: all its rows then run all layers, as in
mode ``full``, beside other requests that skip. So one engine answers the same prompt both ways, which is how
"skip = full" is probed on a running server.
"""

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from swiftkv_bench.swiftkv.admission import check_keys
from swiftkv_bench.swiftkv.compat import logits_processor_bases
from swiftkv_bench.swiftkv.families import is_swiftkv
from swiftkv_bench.swiftkv.steps import Step, needs_all_rows, take_step

if TYPE_CHECKING:
    import torch

__all__ = ["PromptLogprobsTracker", "tracker_of"]

# One entry per engine in this process, by the id of the dict that identifies the engine's model instance. Weak: the
# engine's batch owns its tracker, and an id may come again once the engine is gone.
_TRACKERS: "WeakValueDictionary[int, PromptLogprobsTracker]" = WeakValueDictionary()


def tracker_of(vllm_config: Any) -> "PromptLogprobsTracker | None":
    """The tracker of the engine that ``vllm_config`` configures; None when vLLM did not load one."""
    return _TRACKERS.get(id(vllm_config.compilation_config.static_forward_context))


class PromptLogprobsTracker(*logits_processor_bases()):  # type: ignore[misc]
    """Per batch row: does the request need all its rows, and how long is its prompt.

    Attributes:
        active: whether the engine serves SwiftKV under the V1 runner.
        steps: forward passes of real requests announced so far; dummy runs announce none.
    """

    def __init__(self, vllm_config: Any, *_runner_specific: Any) -> None:
        config = vllm_config.model_config
        served = config is not None and is_swiftkv({"model_type": config.hf_config.model_type})
        self.active = served and not vllm_config.use_v2_model_runner
        self.steps = 0
        capacity = vllm_config.scheduler_config.max_num_seqs + 1 if self.active else 0
        self._needs_all = np.zeros(capacity, dtype=np.bool_)
        self._prompt_lens = np.zeros(capacity, dtype=np.int64)
        if self.active:
            _TRACKERS[id(vllm_config.compilation_config.static_forward_context)] = self

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse keys and switches that nobody knows, when the request arrives; as ``check_keys``."""
        check_keys(sampling_params)

    def is_argmax_invariant(self) -> bool:
        """True: greedy sampling need not call ``apply``."""
        return True

    def apply(self, logits: "torch.Tensor", _context: Any = None) -> "torch.Tensor":
        """Return the logits untouched."""
        return logits

    def update_state(self, batch_update: Any) -> None:
        """V1 runner, once before every forward: follow requests through the persistent batch's rows."""
        if not self.active:
            return
        self.steps += 1
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._forget(row)
        for row, params, prompt_token_ids, _output in batch_update.added:
            self._needs_all[row] = needs_all_rows(params)
            self._prompt_lens[row] = 0 if prompt_token_ids is None else len(prompt_token_ids)
        for source, target, direction in batch_update.moved:
            if direction.name == "SWAP":
                pair, swapped = [source, target], [target, source]
                self._needs_all[pair] = self._needs_all[swapped]
                self._prompt_lens[pair] = self._prompt_lens[swapped]
            else:
                self._needs_all[target] = self._needs_all[source]
                self._prompt_lens[target] = self._prompt_lens[source]
                self._forget(source)

    def add_request(self, _req_idx: int, _sampling_params: Any) -> bool:
        """V2 runner: a request enters a slot. Returns False: its logits are never changed."""
        return False

    def step(self, batch: Any, *, skips: bool) -> Step:
        """What the step needs whose ``CommonAttentionMetadata`` is ``batch``; padding requests bring no tokens."""
        query_start = batch.query_start_loc_cpu.numpy()
        seq_lens, prefilling = batch.seq_lens_cpu_upper_bound, batch.is_prefilling
        return take_step(
            query_start,
            np.zeros(0, dtype=np.bool_) if prefilling is None else prefilling.numpy().astype(np.bool_),
            # Unknown: as if every prompt ended in this step.
            self._prompt_lens if seq_lens is None else seq_lens.numpy(),
            self._prompt_lens,
            self._needs_all,
            skips=skips,
        )

    def _forget(self, row: int) -> None:
        self._needs_all[row] = False
        self._prompt_lens[row] = 0
