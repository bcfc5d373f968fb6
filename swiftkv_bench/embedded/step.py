"""One optimizer step: on CUDA captured once as a graph and replayed, since a small model's step is all launches."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

#: Loss of predicting each token but the first, nat, shape (rows, tokens - 1), given ids of shape (rows, tokens).
PositionLoss = Callable[[Tensor], Tensor]

#: Steps before the capture: they create the optimizer's state and compile what is compiled.
_STEPS_BEFORE_CAPTURE = 3


class TrainingStep:
    """Weighted loss of a batch, its gradient, AdamW.

    ``class_weights`` gives the weight of predicting a token of each class by the class's name, in order of the
    classes' numbers.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        loss: PositionLoss,
        autocast: Callable[[], AbstractContextManager[Any]],
        device: torch.device,
        weight_decay: float,
        class_weights: Mapping[str, float],
    ) -> None:
        self.parameters = parameters
        self._loss = loss
        self._autocast = autocast
        self._cuda = device.type == "cuda"
        self._rate = torch.zeros((), device=device) if self._cuda else None
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
                {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
            ],
            lr=0.0 if self._rate is None else self._rate,
            betas=(0.9, 0.98),
            fused=True,
            capturable=self._cuda,
        )
        self._class_names = tuple(class_weights)
        self._class_weights = torch.tensor(list(class_weights.values()), device=device)
        self._classes = torch.arange(len(class_weights), device=device, dtype=torch.uint8)
        #: Summed loss and number of tokens of each class since the last report.
        self._sums = torch.zeros(2, len(class_weights), device=device)
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream() if self._cuda else None  # type: ignore[no-untyped-call]
        self._inputs: tuple[Tensor, Tensor] | None = None

    def __call__(self, rows: tuple[Tensor, Tensor], rate: float) -> None:
        """One step on ids and classes, each of shape (rows, tokens)."""
        if self._rate is None:
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._run(*rows)
            return
        self._rate.fill_(rate)
        if self._inputs is None:
            self._inputs = (torch.empty_like(rows[0]), torch.empty_like(rows[1]))
        for buffer, values in zip(self._inputs, rows, strict=True):
            buffer.copy_(values)
        self._calls += 1
        if self._calls <= _STEPS_BEFORE_CAPTURE:
            self._run_aside()
        else:
            if self._graph is None:
                self._graph = self._captured()
            self._graph.replay()

    def mean_losses(self) -> dict[str, float]:
        """Mean loss, nat, of each class that occurred since the last call."""
        sums, counts = self._sums.tolist()
        self._sums.zero_()
        return {
            name: round(total / count, 4)
            for name, total, count in zip(self._class_names, sums, counts, strict=True)
            if count
        }

    def moments(self) -> tuple[list[Tensor], list[Tensor]]:
        """AdamW's first and second moment of each parameter."""
        states = [self._optimizer.state[parameter] for parameter in self.parameters]
        return [state["exp_avg"].cpu() for state in states], [state["exp_avg_sq"].cpu() for state in states]

    def restore_moments(self, first: list[Tensor], second: list[Tensor], step: int) -> None:
        """Go on from the moments after ``step`` steps."""
        for parameter, exp_avg, exp_avg_sq in zip(self.parameters, first, second, strict=True):
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),
                "exp_avg": exp_avg.to(parameter.device),
                "exp_avg_sq": exp_avg_sq.to(parameter.device),
            }

    def _run(self, ids: Tensor, classes: Tensor) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        wanted = classes[:, 1:]
        with self._autocast():
            losses = self._loss(ids)
        weights = self._class_weights[wanted.int()]
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self._optimizer.step()
        with torch.no_grad():
            member = (wanted.flatten()[:, None] == self._classes).float()
            self._sums += torch.stack([losses.detach().flatten(), torch.ones_like(losses).flatten()]) @ member

    def _run_aside(self) -> None:
        """On the side stream, as a later capture asks for."""
        if self._stream is None or self._inputs is None:
            raise RuntimeError("a step on the side stream needs CUDA and inputs")
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._run(*self._inputs)
        torch.cuda.current_stream().wait_stream(self._stream)

    def _captured(self) -> torch.cuda.CUDAGraph:
        if self._inputs is None:
            raise RuntimeError("a capture needs inputs")
        graph = torch.cuda.CUDAGraph()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self._run(*self._inputs)
        return graph
