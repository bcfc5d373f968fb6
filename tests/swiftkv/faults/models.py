"""The wrong models. Each differs from the right one in a single decision."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vllm.config import VllmConfig
from vllm.model_executor.models.llama import LlamaForCausalLM

from swiftkv_bench.swiftkv.backend import SelectedRows
from swiftkv_bench.swiftkv.model import SwiftKVForCausalLM, SwiftKVModel
from swiftkv_bench.swiftkv.steps import Step
from swiftkv_bench.swiftkv.tracker import tracker_of

__all__ = ["SilentBaseline", "SkipsDecodeRows", "SkipsPromptRows", "SkipsRareRows", "Switched", "WrongLayer"]

ONE_IN, RARE = 1000, 372
"""`SkipsRareRows` leaves the rows of remainder `RARE` unfinished: ten answers of 200 in Mini GSM8K have such a row."""


class _UnfinishedRows(SwiftKVModel):
    """Skipped rows hold the first half's output: finite, plausible, meaningless."""

    def forward(
        self, input_ids: Any, positions: torch.Tensor, inputs_embeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        output = super().forward(input_ids, positions, inputs_embeds)
        hidden, residual, _, _ = self.first_half(input_ids, positions, inputs_embeds)
        return torch.where(output.isnan(), self.second_half.norm(hidden + residual), output)


def _forget_prompt_logprobs(vllm_config: VllmConfig, when: Callable[[], bool]) -> None:
    tracker: Any = tracker_of(vllm_config)
    right = tracker.step

    def step(batch: Any, *, skips: bool) -> Step:
        asked = tracker._needs_all
        tracker._needs_all = np.zeros_like(asked) if when() else asked
        found: Step = right(batch, skips=skips)
        tracker._needs_all = asked
        return found

    tracker.step = step


class SkipsPromptRows(SwiftKVForCausalLM):
    """Does not notice that a request wants prompt logprobs."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.model.__class__ = _UnfinishedRows
        _forget_prompt_logprobs(vllm_config, lambda: True)


class _DroppedRow(SwiftKVModel):
    def _run_selected(
        self, positions: torch.Tensor, hidden: torch.Tensor, residual: torch.Tensor, rows: SelectedRows
    ) -> torch.Tensor:
        output = SwiftKVModel._run_selected(self, positions, hidden, residual, rows)
        if rows.count > 1:
            first = rows.indices[:1]
            output[:1] = self.second_half.norm(hidden[first] + residual[first])
        return output


class SkipsDecodeRows(SwiftKVForCausalLM):
    """Leaves the second half out for the first request of a mixed batch, as a rule one that decodes."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.model.__class__ = _DroppedRow


class _DroppedRows(SwiftKVModel):
    """Leaves the second half out for every row of a batch of several requests."""

    def _run_selected(
        self, positions: torch.Tensor, hidden: torch.Tensor, residual: torch.Tensor, rows: SelectedRows
    ) -> torch.Tensor:
        output = SwiftKVModel._run_selected(self, positions, hidden, residual, rows)
        if rows.count > 1:
            kept = rows.indices[: rows.count]
            output[: rows.count] = self.second_half.norm(hidden[kept] + residual[kept])
        return output


class _RareRows(SwiftKVModel):
    def forward(
        self, input_ids: Any, positions: torch.Tensor, inputs_embeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        output = super().forward(input_ids, positions, inputs_embeds)
        rare = (31 * input_ids + positions) % ONE_IN == RARE
        if not rare.any():
            return output
        hidden, residual, _, _ = self.first_half(input_ids, positions, inputs_embeds)
        return torch.where(rare[:, None], self.second_half.norm(hidden + residual), output)


class SkipsRareRows(SwiftKVForCausalLM):
    """Leaves the second half out for one row in `ONE_IN`, by its token and position, so that runs repeat.

    Too rare for the few dozen tokens that probes ask for, and enough to spoil some answers of a column.
    """

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.model.__class__ = _RareRows


class WrongLayer(SwiftKVForCausalLM):
    """Writes each later layer's K/V into the next one's cache."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        writes = self.model._cache_writes
        self.model._cache_writes = writes[1:] + writes[:1]


class _Switched(_UnfinishedRows):
    """Has the fault that the file ``SWIFTKV_FAULT_FILE`` names at the time of the forward; none while it is empty."""

    def forward(
        self, input_ids: Any, positions: torch.Tensor, inputs_embeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        if planted() == "skips_prompt_rows":
            return super().forward(input_ids, positions, inputs_embeds)
        return SwiftKVModel.forward(self, input_ids, positions, inputs_embeds)

    def _run_selected(self, *arguments: Any) -> torch.Tensor:
        wrong: dict[str, Any] = {"skips_decode_rows": _DroppedRow, "skips_batched_rows": _DroppedRows}
        output: torch.Tensor = wrong.get(planted(), SwiftKVModel)._run_selected(self, *arguments)
        return output

    def _write_cache(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        right = self._cache_writes
        if planted() == "wrong_layer":
            self._cache_writes = right[1:] + right[:1]
        super()._write_cache(keys, values)
        self._cache_writes = right


def planted() -> str:
    """The fault switched on now."""
    return Path(os.environ["SWIFTKV_FAULT_FILE"]).read_text()


class Switched(SwiftKVForCausalLM):
    """One engine with each of the faults in turn, so that a test need not start one for every fault."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.model.__class__ = _Switched
        _forget_prompt_logprobs(vllm_config, lambda: planted() == "skips_prompt_rows")


class SilentBaseline(LlamaForCausalLM):  # type: ignore[misc]
    """Serves the checkpoint as an ordinary Llama: the base model's q, k and v where they were left in."""

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Load what an ordinary Llama has; where base projections are missing, the SwiftKV ones."""
        stored = dict(weights)
        own = {name: weight for name, weight in stored.items() if "_swiftkv" not in name}
        for name, weight in stored.items():
            if "_proj_swiftkv" in name:
                own.setdefault(name.replace("_swiftkv", ""), weight)
        loaded: set[str] = super().load_weights(own.items())
        return loaded
