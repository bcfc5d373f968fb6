"""Brings training rows to the device in chunks, and uses each chunk several times in new combinations.

Making a row takes longer than training on it, and a small model on random items does not learn rows by heart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swiftkv_bench.embedded.batches import BatchPlan, batches, chunks

#: Batches of a chunk.
_CHUNK = 64


@dataclass(frozen=True)
class RowFeed:
    """Batches for steps from any number on; equal for equal settings.

    Attributes:
        tokenizer: content of ``tokenizer.json``.
        plan: what batches hold; its indices count batches made, of which each serves ``uses`` steps.
        workers: processes that make batches.
        uses: steps that every row serves.
        device: where the rows go.
    """

    tokenizer: dict[str, Any]
    plan: BatchPlan
    workers: int
    uses: int
    device: torch.device

    def __call__(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Ids (int64) and classes (uint8), each of shape (rows, tokens), of step ``start`` and all that follow."""
        steps_each = _CHUNK * self.uses
        first, skipped = divmod(start, steps_each)
        made = batches(self.tokenizer, self.plan, first * _CHUNK, self.workers)
        for number, chunk in enumerate(chunks(made, _CHUNK)):
            ids = torch.from_numpy(chunk.ids).to(self.device)
            classes = torch.from_numpy(chunk.classes).to(self.device)
            generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + first + number)
            orders = [torch.randperm(len(chunk.ids), generator=generator) for _ in range(self.uses)]
            for picked in torch.cat(orders).to(self.device).split(self.plan.rows)[skipped:]:  # type: ignore[no-untyped-call]
                yield ids[picked].long(), classes[picked]
            skipped = 0
