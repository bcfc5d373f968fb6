"""Learns what each request in the batch needs, before the forward pass, through stock extension points.

A logits processor is the one object of a worker to which vLLM shows every request's sampling parameters
before the forward: the V1 runner by ``update_state``, the V2 runner by ``add_request``. This one never touches
logits. It is loaded into every engine of the environment; in one that does not serve SwiftKV it keeps nothing.

A request may ask for full depth by ``vllm_xargs={"swiftkv_full": 1}``: all its rows then run all layers, as in
mode ``full``, beside other requests that skip. So one engine answers the same prompt both ways, which is how
"skip = full" is probed on a running server.
"""

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from swiftkv_bench.swiftkv.compat import logits_processor_bases

if TYPE_CHECKING:
    import torch

__all__ = ["FULL_DEPTH", "PromptLogprobsTracker", "tracker_of"]

FULL_DEPTH = "swiftkv_full"
"""Key of ``vllm_xargs`` (``SamplingParams.extra_args``): 1 runs all layers for all rows of the request."""

# One entry per engine in this process, by the id of the dict that identifies the engine's model instance. Weak: the
# engine's batch owns its tracker, and an id may come again once the engine is gone.
_TRACKERS: "WeakValueDictionary[int, PromptLogprobsTracker]" = WeakValueDictionary()


def tracker_of(vllm_config: Any) -> "PromptLogprobsTracker | None":
    """The tracker of the engine that ``vllm_config`` configures; None when vLLM did not load one."""
    return _TRACKERS.get(id(vllm_config.compilation_config.static_forward_context))


def _needs_all_rows(params: Any) -> bool:
    """Whether a request wants logprobs of its prompt (``prompt_logprobs=0`` wants the chosen token's) or full depth."""
    if params is None:
        return False
    if params.prompt_logprobs is not None or getattr(params, "prompt_logprob_token_ids", None) is not None:
        return True
    extra = params.extra_args
    return bool(extra and extra.get(FULL_DEPTH))


class PromptLogprobsTracker(*logits_processor_bases()):  # type: ignore[misc]
    """Per batch row: does the request need all its rows, and how long is its prompt.

    Attributes:
        steps: forward passes of real requests announced so far (V1 runner); dummy runs announce none.
    """

    def __init__(self, vllm_config: Any, *_runner_specific: Any) -> None:
        config = vllm_config.model_config
        self.active = config is not None and config.hf_config.model_type == "llama_swiftkv"
        self.steps = 0
        capacity = vllm_config.scheduler_config.max_num_seqs + 1 if self.active else 0
        self._needs_all = np.zeros(capacity, dtype=np.bool_)
        self._prompt_lens = np.zeros(capacity, dtype=np.int64)
        if self.active:
            _TRACKERS[id(vllm_config.compilation_config.static_forward_context)] = self

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse a switch that is neither on nor off, when the request arrives.

        Raises:
            ValueError: the value under ``swiftkv_full`` is not 0, 1, false or true.
        """
        extra = sampling_params.extra_args
        asked = extra.get(FULL_DEPTH, 0) if extra else 0
        if asked not in (0, 1):
            raise ValueError(f"{FULL_DEPTH} is {asked!r}, must be 1 for all layers in all rows, or 0")

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
            self._needs_all[row] = _needs_all_rows(params)
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

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """V2 runner: a request enters slot ``req_idx``. Returns False: its logits are never changed."""
        if self.active:
            self._needs_all[req_idx] = _needs_all_rows(sampling_params)
        return False

    def rows(
        self, requests: int, slots: npt.NDArray[np.integer] | None = None
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """What this step's requests need.

        Args:
            requests: rows of the batch, padding included.
            slots: V2 runner: each row's slot; None under V1, where row and slot agree.

        Returns:
            (needs all rows, prompt length or 0 where unknown), each of shape (requests,).
        """
        if slots is not None:
            picked = np.asarray(slots)[:requests]
            return self._needs_all[picked], self._prompt_lens[picked]
        return self._needs_all[:requests], self._prompt_lens[:requests]

    def _forget(self, row: int) -> None:
        self._needs_all[row] = False
        self._prompt_lens[row] = 0
