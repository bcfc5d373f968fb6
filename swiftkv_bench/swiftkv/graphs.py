"""Static inputs that let the second half of a mixed batch replay CUDA graphs.

vLLM's piecewise graphs replay for a padded number of tokens and expect their inputs at the addresses of the
capture. The second half's number of rows is not the batch's, so its rows are copied into buffers of its own
and padded to a size that was captured. Sizes become known as the runner captures (or first replays) them.
"""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["StaticInputs", "graph_mode"]


class StaticInputs(nn.Module):
    """Buffers for positions, hidden states and residual, and the batch sizes whose graphs exist.

    A module, so that vLLM's sleep mode finds the buffers and gives their contents back: padding rows are read, and a
    position must be one that RoPE knows.
    """

    _positions: torch.Tensor
    _hidden: torch.Tensor
    _residual: torch.Tensor

    def __init__(self, max_rows: int, hidden_size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("_positions", torch.zeros(max_rows, dtype=torch.int64), persistent=False)
        self.register_buffer("_hidden", torch.zeros(max_rows, hidden_size, dtype=dtype), persistent=False)
        self.register_buffer("_residual", torch.zeros(max_rows, hidden_size, dtype=dtype), persistent=False)
        self._sizes: list[int] = []
        self._descriptors: dict[int, Any] = {}

    def holds(self, rows: int) -> bool:
        """Whether a batch of ``rows`` fits the buffers."""
        return rows <= len(self._positions)

    def captured(self, descriptor: Any) -> None:
        """Note that graphs for ``descriptor`` (vLLM's ``BatchDescriptor``) exist or are being captured."""
        if descriptor.num_tokens not in self._descriptors:
            self._descriptors[descriptor.num_tokens] = descriptor
            self._sizes = sorted(self._descriptors)

    def forget(self) -> None:
        """Take no size for captured: vLLM captures to measure memory, throws those graphs away and captures again."""
        self._descriptors, self._sizes = {}, []

    def descriptor_for(self, rows: int) -> Any | None:
        """The smallest captured batch that holds ``rows``; None when there is none."""
        at = bisect_left(self._sizes, rows)
        return self._descriptors[self._sizes[at]] if at < len(self._sizes) else None

    def load(
        self, positions: torch.Tensor, hidden: torch.Tensor, residual: torch.Tensor, indices: torch.Tensor | None
    ) -> None:
        """Copy the rows ``indices`` (all when None) to the front of the buffers."""
        for source, target in ((positions, self._positions), (hidden, self._hidden), (residual, self._residual)):
            if indices is None:
                target[: len(source)].copy_(source)
            else:
                torch.index_select(source, 0, indices, out=target[: len(indices)])

    def view(self, rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The first ``rows`` of (positions, hidden, residual); rows behind those loaded hold older data."""
        return self._positions[:rows], self._hidden[:rows], self._residual[:rows]


@contextmanager
def graph_mode(context: Any, mode: Any, descriptor: Any) -> Iterator[None]:
    """Set the forward context's graph mode and batch while the second half runs."""
    saved = context.cudagraph_runtime_mode, context.batch_descriptor
    context.cudagraph_runtime_mode, context.batch_descriptor = mode, descriptor
    try:
        yield
    finally:
        context.cudagraph_runtime_mode, context.batch_descriptor = saved
