"""The optimizer loop of every training stage: learning rate, time budget, log, resumable state.

Leaves what is optimised to the caller, who passes the loss of each position, and rows to ``feed``.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swiftkv_bench.embedded.step import PositionLoss, TrainingStep

#: Steps whose time decides how many fit a budget: the first are slower than the rest.
_TIMED_FROM, _TIMED_TO = 100, 400

#: Steps between two lines of the log.
_LOG_EVERY = 250

#: Batches of rows from a step on: ids and classes, each of shape (rows, tokens), on the device.
Feed = Callable[[int], Iterator[tuple[Tensor, Tensor]]]


#: Is told every event of a training, also those that are written to its log.
Announce = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Stage:
    """One training run.

    Attributes:
        name: of the stage and its state files.
        steps: optimizer steps; None lets the budget decide.
        budget_s: seconds that the steps may take; used where ``steps`` is None.
        learning_rate: peak.
        weight_decay: of matrices.
        warmup_steps: linear warm-up; then constant, and over the last ``decay_share`` of the steps a line to zero.
        decay_share: share of the steps in which the learning rate falls.
    """

    name: str
    steps: int | None
    budget_s: float | None
    learning_rate: float
    weight_decay: float = 0.0
    warmup_steps: int = 300
    decay_share: float = 0.4


class Trainer:
    """Runs stages and keeps what is needed to go on after an interruption."""

    def __init__(
        self,
        out: Path,
        device: torch.device,
        announce: Announce,
        save_every_s: float = 60.0,
        log_every: int = _LOG_EVERY,
    ) -> None:
        self.out = out
        self.device = device
        self._announce = announce
        self._log_every = log_every
        self._save_every_s = save_every_s
        self._started = time.perf_counter()
        out.mkdir(parents=True, exist_ok=True)

    def say(self, **event: Any) -> None:
        """Announce one event and append it to ``log.jsonl``."""
        event = {"elapsed_s": round(time.perf_counter() - self._started, 1), **event}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(event) + "\n")
        self._announce(event)

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 matrix products on CUDA; float32 elsewhere."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False)
        return nullcontext()

    def train(
        self, stage: Stage, model: nn.Module, loss: PositionLoss, feed: Feed, class_weights: Mapping[str, float]
    ) -> int:
        """Optimise the trainable parameters of ``model``; continues a stage that was cut off.

        Returns the number of steps of the whole stage.
        """
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        step_of = TrainingStep(parameters, loss, self.autocast, self.device, stage.weight_decay, class_weights)
        step, total = self._restore(stage, step_of)
        self.say(stage=stage.name, event="start", step=step, steps=total, settings=asdict(stage))
        rows = feed(step)
        begun = timed = saved = time.perf_counter()
        first = step
        while total is None or step < total:
            step_of(next(rows), learning_rate(stage, step, total))
            step += 1
            if total is None and step - first == _TIMED_FROM:
                self._wait()
                timed = time.perf_counter()
            if total is None and step - first == _TIMED_TO:
                self._wait()
                now = time.perf_counter()
                step_s = (now - timed) / (_TIMED_TO - _TIMED_FROM)
                total = step + max(1, int(((stage.budget_s or 0.0) - (now - begun)) / step_s))
                self.say(stage=stage.name, event="fitted", steps=total, step_s=round(step_s, 5))
            if step % self._log_every == 0 or step == total:
                losses = step_of.mean_losses()  # waits for the device
                now = time.perf_counter()
                if total is not None and stage.steps is None and now - begun < (stage.budget_s or 0.0):
                    # The first steps may have been faster or slower than the rest: aim at the budget again.
                    rate_s = (now - timed) / max(1, step - first - _TIMED_FROM)
                    total = step + int(((stage.budget_s or 0.0) - (now - begun)) / rate_s)
                self.say(stage=stage.name, step=step, steps=total, seconds=round(now - begun, 1), losses=losses)
                if total is not None and now - saved >= self._save_every_s:
                    self._save(stage, step, total, step_of)
                    saved = now
        self._remove_state(stage)
        if total is None:
            raise RuntimeError(f"stage {stage.name} ended without a number of steps")
        self.say(stage=stage.name, event="done", steps=total, seconds=round(time.perf_counter() - begun, 1))
        return total

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _state_paths(self, stage: Stage) -> tuple[Path, ...]:
        return tuple(self.out / f"{stage.name}.{part}.pt" for part in ("weights", "exp_avg", "exp_avg_sq"))

    def _save(self, stage: Stage, step: int, total: int, step_of: TrainingStep) -> None:
        """Weights and both moments exactly, each in a file of its own; a cut between two files is noticed."""
        tensors = [parameter.detach().cpu() for parameter in step_of.parameters], *step_of.moments()
        for path, part in zip(self._state_paths(stage), tensors, strict=True):
            _save_whole({"step": step, "total": total, "tensors": part}, path)
        self.say(stage=stage.name, event="saved", step=step)

    def _restore(self, stage: Stage, step_of: TrainingStep) -> tuple[int, int | None]:
        paths = self._state_paths(stage)
        if not all(path.is_file() for path in paths):
            return 0, stage.steps
        weights, first, second = (torch.load(path) for path in paths)
        if not weights["step"] == first["step"] == second["step"]:
            self.say(stage=stage.name, event="the saved state is of two steps; starting anew")
            return 0, stage.steps
        with torch.no_grad():
            for parameter, saved in zip(step_of.parameters, weights["tensors"], strict=True):
                parameter.copy_(saved)
        step_of.restore_moments(first["tensors"], second["tensors"], int(weights["step"]))
        return int(weights["step"]), int(weights["total"])

    def _remove_state(self, stage: Stage) -> None:
        for path in self._state_paths(stage):
            path.unlink(missing_ok=True)


def learning_rate(stage: Stage, step: int, total: int | None) -> float:
    """Warm-up, plateau and linear decay to zero at the end."""
    rate = stage.learning_rate * min(1.0, (step + 1) / stage.warmup_steps)
    if total is None:
        return rate
    return rate * min(1.0, (total - step) / max(1, math.ceil(stage.decay_share * total)))


def _save_whole(content: dict[str, Any], path: Path) -> None:
    staging = path.with_name(f".{path.name}.part")
    torch.save(content, staging)
    staging.replace(path)
