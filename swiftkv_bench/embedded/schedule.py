"""The optimizer loop of every training stage: learning rate, time budget, log, resumable state.

Leaves what is optimised to the caller, who passes the loss of a batch.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swiftkv_bench.embedded.batches import Batch

#: Loss of one group of rows, given ids and weights, each of shape (rows, tokens).
RowsLoss = Callable[[Tensor, Tensor], Tensor]

#: Steps whose time decides how many fit a budget: the first are slower than the rest.
_TIMED_FROM, _TIMED_TO = 30, 80


@dataclass(frozen=True)
class Stage:
    """One training run.

    Attributes:
        name: of the stage and its state files.
        steps: optimizer steps; None lets the budget decide.
        budget_s: seconds that the steps may take; used where ``steps`` is None.
        learning_rate: peak.
        weight_decay: of matrices.
        warmup_steps: linear warm-up, then a cosine to zero.
    """

    name: str
    steps: int | None
    budget_s: float | None
    learning_rate: float
    weight_decay: float = 0.0
    warmup_steps: int = 300


class Trainer:
    """Runs stages and keeps what is needed to go on after an interruption."""

    def __init__(self, out: Path, device: torch.device, save_every_s: float = 60.0) -> None:
        self.out = out
        self.device = device
        self._save_every_s = save_every_s
        self._started = time.perf_counter()
        out.mkdir(parents=True, exist_ok=True)

    def say(self, **event: Any) -> None:
        """Print one event as a JSON line and append it to ``log.jsonl``."""
        line = json.dumps({"elapsed_s": round(time.perf_counter() - self._started, 1), **event})
        print(line, flush=True)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 matrix products on CUDA; float32 elsewhere."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    def train(
        self, stage: Stage, model: nn.Module, loss: RowsLoss, batches_from: Callable[[int], Iterator[Batch]]
    ) -> int:
        """Optimise the trainable parameters of ``model``; continues a stage that was cut off.

        ``batches_from(i)`` gives the batches from step i on. Returns the number of steps of the whole stage.
        """
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.dim() > 1], "weight_decay": stage.weight_decay},
                {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
            ],
            lr=stage.learning_rate,
            betas=(0.9, 0.98),
            fused=self.device.type == "cuda",
        )
        step, total = self._restore(stage, parameters, optimizer)
        self.say(stage=stage.name, event="start", step=step, steps=total, settings=asdict(stage))
        batches = batches_from(step)
        begun = timed = saved = time.perf_counter()
        timed_step = step
        total_loss = torch.zeros((), device=self.device)
        while total is None or step < total:
            rate = learning_rate(stage, step, total)
            for group in optimizer.param_groups:
                group["lr"] = rate
            total_loss += self._step(next(batches), parameters, optimizer, loss)
            step += 1
            if total is None and step == _TIMED_FROM:
                self._wait()
                timed = time.perf_counter()
            if total is None and step == _TIMED_TO:
                self._wait()
                now = time.perf_counter()
                step_s = (now - timed) / (_TIMED_TO - _TIMED_FROM)
                total = step + max(1, int(((stage.budget_s or 0.0) - (now - begun)) / step_s))
                self.say(stage=stage.name, event="fitted", steps=total, step_s=round(step_s, 5))
            if step % 100 == 0 or step == total:
                mean = float(total_loss) / (step - timed_step)  # waits for the device
                total_loss.zero_()
                timed_step = step
                self.say(stage=stage.name, step=step, steps=total, loss=round(mean, 5), rate=round(rate, 7))
                if total is not None and time.perf_counter() - saved > self._save_every_s:
                    self._save(stage, step, total, parameters, optimizer)
                    saved = time.perf_counter()
        self._remove_state(stage)
        if total is None:
            raise RuntimeError(f"stage {stage.name} ended without a number of steps")
        self.say(stage=stage.name, event="done", steps=total, seconds=round(time.perf_counter() - begun, 1))
        return total

    def _step(
        self, batch: Batch, parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, loss: RowsLoss
    ) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        sum_ = torch.zeros((), device=self.device)
        for rows in batch:
            ids = torch.from_numpy(rows.ids).to(self.device, torch.int64, non_blocking=True)
            weights = torch.from_numpy(rows.weights).to(self.device, non_blocking=True)
            with self.autocast():
                part = loss(ids, weights) / len(batch)
            part.backward()  # type: ignore[no-untyped-call]
            sum_ += part.detach()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return sum_

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _state_paths(self, stage: Stage) -> tuple[Path, Path]:
        return self.out / f"{stage.name}.state.pt", self.out / f"{stage.name}.moments.pt"

    def _save(
        self, stage: Stage, step: int, total: int, parameters: list[nn.Parameter], optimizer: torch.optim.AdamW
    ) -> None:
        """Weights exactly, moments as bfloat16: two files of the size of the float32 weights."""
        moments = [
            (
                optimizer.state[parameter]["exp_avg"].to("cpu", torch.bfloat16),
                optimizer.state[parameter]["exp_avg_sq"].to("cpu", torch.bfloat16),
            )
            for parameter in parameters
        ]
        state, moments_path = self._state_paths(stage)
        _save_whole({"step": step, "moments": moments}, moments_path)
        weights = [parameter.detach().cpu() for parameter in parameters]
        _save_whole({"step": step, "total": total, "weights": weights}, state)
        self.say(stage=stage.name, event="saved", step=step)

    def _restore(
        self, stage: Stage, parameters: list[nn.Parameter], optimizer: torch.optim.AdamW
    ) -> tuple[int, int | None]:
        state, moments_path = self._state_paths(stage)
        if not (state.is_file() and moments_path.is_file()):
            return 0, stage.steps
        saved, moments = torch.load(state), torch.load(moments_path)
        with torch.no_grad():
            for parameter, weights in zip(parameters, saved["weights"], strict=True):
                parameter.copy_(weights)
        for parameter, (first, second) in zip(parameters, moments["moments"], strict=True):
            optimizer.state[parameter] = {
                "step": torch.tensor(
                    float(moments["step"]), device=self.device if self.device.type == "cuda" else "cpu"
                ),
                "exp_avg": first.to(self.device, torch.float32),
                "exp_avg_sq": second.to(self.device, torch.float32),
            }
        return int(saved["step"]), int(saved["total"])

    def _remove_state(self, stage: Stage) -> None:
        for path in self._state_paths(stage):
            path.unlink(missing_ok=True)


def learning_rate(stage: Stage, step: int, total: int | None) -> float:
    """Linear warm-up to the peak, then half a cosine to zero at the end."""
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    if total is None:
        return stage.learning_rate
    progress = (step - stage.warmup_steps) / max(1, total - stage.warmup_steps)
    return stage.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))


def _save_whole(content: dict[str, Any], path: Path) -> None:
    staging = path.with_name(f".{path.name}.part")
    torch.save(content, staging)
    staging.replace(path)
