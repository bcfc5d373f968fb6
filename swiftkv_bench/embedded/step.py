"""One optimizer step: on CUDA captured once as a graph and replayed, since a small model's step is all launches."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from swiftkv_bench.embedded.batches import CLASS_WEIGHTS, KINDS, NUM_CLASSES, answer_class

#: Loss of predicting each token but the first, nat, shape (rows, tokens - 1), given ids of shape (rows, tokens).
PositionLoss = Callable[[Tensor], Tensor]

#: Steps before the capture: they create the optimizer's state and compile what is compiled.
_STEPS_BEFORE_CAPTURE = 3


class TrainingStep:
    """Weighted loss of a batch, its gradient, AdamW."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        loss: PositionLoss,
        autocast: Callable[[], AbstractContextManager[Any]],
        device: torch.device,
        weight_decay: float,
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
        self._class_weights = torch.tensor(CLASS_WEIGHTS, device=device)
        self._classes = torch.arange(NUM_CLASSES, device=device, dtype=torch.uint8)
        #: Summed loss and number of tokens of each class since the last report.
        self._sums = torch.zeros(2, NUM_CLASSES, device=device)
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
        """Mean loss, nat, of each kind's answers and letters since the last call, and of the context."""
        sums, counts = self._sums.tolist()
        self._sums.zero_()
        classes = {"context": 1}
        for kind in KINDS:
            classes |= {kind: answer_class(kind, False), f"{kind}.letter": answer_class(kind, True)}
        return {name: round(sums[index] / counts[index], 4) for name, index in classes.items() if counts[index]}

    def moments(self) -> list[tuple[Tensor, Tensor]]:
        """AdamW's two moments of each parameter, as bfloat16."""
        state = self._optimizer.state
        return [
            (state[p]["exp_avg"].to("cpu", torch.bfloat16), state[p]["exp_avg_sq"].to("cpu", torch.bfloat16))
            for p in self.parameters
        ]

    def restore_moments(self, moments: list[tuple[Tensor, Tensor]], step: int) -> None:
        """Go on from the moments after ``step`` steps."""
        for parameter, (first, second) in zip(self.parameters, moments, strict=True):
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),
                "exp_avg": first.to(parameter.device, torch.float32),
                "exp_avg_sq": second.to(parameter.device, torch.float32),
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
