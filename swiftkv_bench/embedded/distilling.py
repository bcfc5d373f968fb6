"""The training loop of twins: several depths at once, learning rate, throughput, curves, resumable state.

Leaves models and losses to ``depths`` and ``divergence``, rows to ``text_rows``.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from swiftkv_bench.embedded.depths import Depths
from swiftkv_bench.embedded.distill import DistillationLoss
from swiftkv_bench.embedded.divergence import compiled_chunk_loss, divergences, nearness
from swiftkv_bench.embedded.text_rows import TextFeed, TextRows
from swiftkv_bench.embedded.weights_io import save_weights
from swiftkv_bench.errors import InputError
from swiftkv_bench.observer import Observer
from swiftkv_bench.roofline import matrix_rate
from swiftkv_bench.store import replace_file

#: Where only the time is given: steps of linear warm-up, and steps or seconds between two reports.
_WARMUP_STEPS, _REPORT_STEPS, _REPORT_S = 50, 20, 20.0

#: Measurements on held-out text in a training, beside those before and after.
_MEASUREMENTS = 10


@dataclass(frozen=True)
class Course:
    """How to train.

    Attributes:
        steps: optimizer steps; None lets the time decide.
        budget_s: seconds that training may take, start and measurements included; used where ``steps`` is None.
        batch_tokens: tokens of a step.
        learning_rate: peak, after a linear warm-up; it falls to zero along half a cosine.
        seed: of the order of the rows.
        save_every_s: seconds between two saved states.
        compiled: on a GPU, compile layers and loss; what cannot be compiled runs as it is.
        loss: what is minimised.
    """

    steps: int | None
    budget_s: float | None
    batch_tokens: int
    learning_rate: float
    seed: int = 0
    save_every_s: float = 60.0
    compiled: bool = True
    loss: DistillationLoss = field(default_factory=DistillationLoss)


@dataclass(frozen=True)
class Nearness:
    """A twin beside its base on held-out text.

    Attributes:
        agreement: share of positions at which both foresee the same token.
        divergence: mean KL(base || twin) of the next token, nat.
    """

    agreement: float
    divergence: float


@dataclass(frozen=True)
class Trained:
    """What a training took.

    Attributes:
        steps: optimizer steps, those before an interruption included.
        tokens: trained on.
        seconds: of all calls, each up to its last saved state but for the last one.
        tokens_per_s: between reports, the median.
        peak_share: of the card's matrix rate that the needed operations used (MFU); None where it is not known.
    """

    steps: int
    tokens: int
    seconds: float
    tokens_per_s: float | None
    peak_share: float | None


class Distillation:
    """Trains the twins of ``depths`` on rows; keeps curves and state in ``folder``."""

    def __init__(
        self, depths: Depths, sets: Sequence[TextRows], course: Course, folder: Path, observer: Observer
    ) -> None:
        self._depths, self._sets, self._course, self._folder, self._observer = depths, sets, course, folder, observer
        self._device = depths.head.device
        self._feed = TextFeed(sets, course.batch_tokens, course.seed, self._device)
        self._parameters = {depth: depths.parameters(depth) for depth in depths.twins}
        self._optimizer = torch.optim.AdamW(
            [parameter for own in self._parameters.values() for parameter in own],
            lr=course.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True,
        )  # fmt: skip
        self._chunk_loss = {}
        if self._device.type == "cuda" and course.compiled:
            depths.compile()
            self._chunk_loss = {"chunk_loss": compiled_chunk_loss()}
        self._curve: list[dict[str, Any]] = []
        self._rates: list[float] = []
        self._step = self._tokens = 0
        self._earlier_s = 0.0
        #: Each twin before and after training; filled by `run`.
        self.undistilled: dict[int, Nearness] = {}
        self.distilled: dict[int, Nearness] = {}

    def run(self) -> Trained:
        """Train to the end; goes on from the saved state where there is one."""
        self._restore()
        if self._step == 0:
            self.undistilled = self.measure(None)
        begun = saved = reported = time.perf_counter()
        since = self._step, self._tokens
        rows = self._feed(self._step)
        losses = torch.zeros(len(self._depths.twins), device=self._device)
        mean: dict[int, float] | None = None
        while (share := self._share(begun)) < 1.0:
            ids = next(rows)
            losses += self._train(ids, share)
            self._step, self._tokens = self._step + 1, self._tokens + ids.numel()
            if self._report_due(reported):
                mean = self._mean(losses, reported, since, share)
                losses.zero_()
                self._measure_when_due(share, begun, mean)
                now = time.perf_counter()
                if now - saved >= self._course.save_every_s:
                    self._save(begun)
                    saved = now
                reported, since = time.perf_counter(), (self._step, self._tokens)
        self.distilled = self.measure(mean)
        (self._folder / "state.pt").unlink(missing_ok=True)
        for depth in self._depths.twins:
            kept_weights(self._folder, depth).unlink(missing_ok=True)
        seconds = self._earlier_s + time.perf_counter() - begun
        self._observer.finish("distill", f"distilled on {self._tokens:,} tokens in {seconds:.0f} s")
        rate = sorted(self._rates)[len(self._rates) // 2] if self._rates else None
        return Trained(self._step, self._tokens, seconds, rate, self._peak_share(rate))

    def _share(self, begun: float) -> float:
        """How much of the course is done; the time of an earlier call counts up to its last saved state."""
        if self._course.steps is not None:
            return self._step / self._course.steps
        return (self._earlier_s + time.perf_counter() - begun) / (self._course.budget_s or math.inf)

    def _report_due(self, reported: float) -> bool:
        if self._course.steps is not None:
            return self._step % max(1, self._course.steps // 100) == 0 or self._step == self._course.steps
        return self._step % _REPORT_STEPS == 0 or time.perf_counter() - reported > _REPORT_S

    def _train(self, ids: Tensor, share: float) -> Tensor:
        """One optimizer step; returns the mean loss of each twin."""
        warmup = _WARMUP_STEPS if self._course.steps is None else max(1, self._course.steps // 20)
        rate = self._course.learning_rate * min(1.0, (self._step + 1) / warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1.0 + math.cos(math.pi * share))
        losses = self._losses(ids)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        for own in self._parameters.values():
            nn.utils.clip_grad_norm_(own, 1.0, foreach=True)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return losses.detach()

    def _losses(self, ids: Tensor) -> Tensor:
        taught = self._depths.taught(ids)
        learned = [self._depths.learned(depth, taught) for depth in self._depths.twins]
        norm, loss = self._depths.base.model.norm, self._course.loss
        states = torch.stack([norm(state).flatten(0, 1) for state in learned])
        divergence = divergences(
            states, norm(taught.last).flatten(0, 1), self._depths.head, loss.temperature, **self._chunk_loss
        )
        wanted = _unit(taught.last)
        distance = torch.stack([(_unit(state) - wanted).square().mean() for state in learned])
        return divergence.mean(dim=1) + loss.hidden_weight * distance

    def _mean(self, losses: Tensor, reported: float, since: tuple[int, int], share: float) -> dict[int, float]:
        """Mean losses since the last report, which is shown; waits for the device."""
        steps, tokens = self._step - since[0], self._tokens - since[1]
        mean = dict(zip(self._depths.twins, (losses / steps).tolist(), strict=True))
        if not all(map(math.isfinite, mean.values())):
            raise InputError(
                f"--learning-rate {self._course.learning_rate:g}: the loss is infinite; give a smaller one."
            )
        rate = tokens / (time.perf_counter() - reported)
        self._rates.append(rate)
        peak = self._peak_share(rate)
        words = ", ".join(f"N={depth} {loss:.4f}" for depth, loss in mean.items())
        total = "" if self._course.steps is None else f" of {self._course.steps}"
        speed = f"{rate:,.0f} tokens/s" + ("" if peak is None else f" (MFU {peak:.0%})")
        text = f"step {self._step}{total}, loss {words}, {speed}"
        done, all_of_it = (share, 1.0) if self._course.steps is None else (self._step, self._course.steps)
        self._log(event="report", step=self._step, tokens=self._tokens, loss=mean, tokens_per_s=round(rate))
        self._observer.progress("distill", text, done, all_of_it)
        return mean

    def _peak_share(self, rate: float | None) -> float | None:
        peak = matrix_rate(torch.cuda.get_device_name(self._device)) if self._device.type == "cuda" else None
        if peak is None or rate is None:
            return None
        tokens = sum(rows.training.numel() for rows in self._sets)
        flops = sum(
            self._depths.step_flops(rows.training.shape[1]) * rows.training.numel() / tokens for rows in self._sets
        )
        return rate * flops / peak

    def _measure_when_due(self, share: float, begun: float, losses: Mapping[int, float]) -> None:
        measured = 1 + sum(1 for row in {entry["step"] for entry in self._curve} if row > 0)
        if self._share(begun) < 1.0 and self._share(begun) * (_MEASUREMENTS + 1) >= measured:
            self.measure(losses)

    @torch.no_grad()
    def measure(self, losses: Mapping[int, float] | None) -> dict[int, Nearness]:
        """Every twin on every file's held-out rows; lines of the curve. Returns each twin over all of them."""
        sums: dict[int, list[float]] = {depth: [0.0, 0.0, 0.0] for depth in self._depths.twins}
        for rows in self._sets:
            with torch.compiler.set_stance("force_eager"):  # graphs for so few rows would cost more than they save
                near = self._near(rows)
            for depth, found in near.items():
                for place, value in enumerate(found):
                    sums[depth][place] += value
                self._curve.append(
                    {
                        "step": self._step, "tokens": self._tokens, "layers": depth, "text": rows.name,
                        "loss": None if losses is None else losses[depth],
                        "agreement": found[0] / found[2], "divergence": found[1] / found[2],
                    }
                )  # fmt: skip
        self._write_curve()
        return {depth: Nearness(same / count, kl / count) for depth, (same, kl, count) in sums.items()}

    def _near(self, rows: TextRows) -> dict[int, tuple[float, float, float]]:
        """Agreeing positions, summed divergence and number of positions of each twin."""
        found = dict.fromkeys(self._depths.twins, (0.0, 0.0, 0.0))
        norm = self._depths.base.model.norm
        for ids in rows.held_out.split(self._feed.batch_rows(rows)):  # type: ignore[no-untyped-call]
            taught = self._depths.taught(ids.to(self._device))
            last = norm(taught.last).flatten(0, 1)
            for depth in self._depths.twins:
                learned = norm(self._depths.learned(depth, taught)).flatten(0, 1)
                same, divergence = nearness(learned, last, self._depths.head)
                before = found[depth]
                found[depth] = (
                    before[0] + float(same.sum()), before[1] + float(divergence.sum()), before[2] + len(same)
                )  # fmt: skip
        return found

    def _write_curve(self) -> None:
        lines = ["step,tokens,layers,text,loss,agreement,divergence"]
        for row in self._curve:
            loss = "" if row["loss"] is None else f"{row['loss']:.6f}"
            lines.append(
                f"{row['step']},{row['tokens']},{row['layers']},{row['text']},{loss},"
                f"{row['agreement']:.6f},{row['divergence']:.6f}"
            )
        replace_file(self._folder / "curves.csv", ("\n".join(lines) + "\n").encode())

    def _log(self, **event: Any) -> None:
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(event) + "\n")

    def _save(self, begun: float) -> None:
        """Everything exactly, in one file that appears whole; beside it the weights alone, rounded, to take away."""
        staging = self._folder / ".state.pt.part"
        content = {
            "seconds": self._earlier_s + time.perf_counter() - begun,
            "step": self._step, "tokens": self._tokens, "curve": self._curve,
            "undistilled": {depth: asdict(near) for depth, near in self.undistilled.items()},
            "optimizer": self._optimizer.state_dict(),
            "weights": {depth: self._depths.added(depth) for depth in self._depths.twins},
        }  # fmt: skip
        torch.save(content, staging)
        staging.replace(self._folder / "state.pt")
        for depth in self._depths.twins:
            save_weights(kept_weights(self._folder, depth), self._depths.added(depth))

    def _restore(self) -> None:
        path = self._folder / "state.pt"
        if not path.is_file():
            self._log(event="start", course=asdict(self._course))
            return
        content = torch.load(path, map_location=self._device)
        self._step, self._tokens, self._curve = content["step"], content["tokens"], content["curve"]
        self._earlier_s = content["seconds"]
        self.undistilled = {depth: Nearness(**near) for depth, near in content["undistilled"].items()}
        for depth, added in content["weights"].items():
            self._depths.load(depth, added)
        self._optimizer.load_state_dict(content["optimizer"])
        total = "" if self._course.steps is None else f" of {self._course.steps}"
        self._observer.note(f"Going on from step {self._step}{total}.")


def kept_weights(training: Path, depth: int) -> Path:
    """Where a training that is not at its end keeps what a twin adds, as of the last saved state."""
    return training / f"n{depth}.safetensors"


def _unit(hidden: Tensor) -> Tensor:
    return functional.rms_norm(hidden.float(), (hidden.shape[-1],))
