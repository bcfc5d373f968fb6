"""Trains the embedded pair: ``python -m swiftkv_bench.embedded.train --out FOLDER``.

First the baseline, then one SwiftKV twin for each number of key/value layers. Finished stages are kept, so the
same command goes on where it was cut off. Writes ``baseline.safetensors``, ``swiftkv-n<N>.safetensors`` (what
the twin adds), ``tokenizer.json``, ``log.jsonl`` and ``report.json``.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE
from swiftkv_bench.embedded.batches import Batch, BatchPlan, batches
from swiftkv_bench.embedded.distill import (
    DistillationLoss,
    distillation_loss,
    freeze_base,
    rewired,
    swiftkv_parameters,
)
from swiftkv_bench.embedded.evaluate import Evaluator
from swiftkv_bench.embedded.model import Llama
from swiftkv_bench.embedded.schedule import Stage, Trainer
from swiftkv_bench.embedded.tokenizer import tokenizer_json
from swiftkv_bench.embedded.vocabulary import Encoder, task_words
from swiftkv_bench.embedded.weights_io import load_weights, round_to_bfloat16, save_weights

#: Share of the time budget of the baseline, and of each twin; the rest is for evaluation.
_BASELINE_SHARE = 0.55
_TWIN_SHARE = 0.11


@dataclass(frozen=True)
class Settings:
    """What to train and for how long; see ``--help``."""

    out: Path
    steps: int | None
    distill_steps: int | None
    budget_s: float | None
    key_value_layers: tuple[int, ...]
    batch_scale: float
    learning_rate: float
    distill_learning_rate: float
    eval_items: int
    workers: int
    seed: int
    initial: Path | None
    compile: bool

    def stage(self, name: str, share: float, steps: int | None, learning_rate: float) -> Stage:
        """A stage of so many steps, or of its share of the budget."""
        budget_s = None if steps is not None or self.budget_s is None else self.budget_s * share
        return Stage(name, steps, budget_s, learning_rate)

    def batch_plan(self, seed: int) -> BatchPlan:
        """Batches at the asked-for scale."""
        default = BatchPlan(seed)
        return BatchPlan(
            seed,
            max(1, round(default.shots_rows * self.batch_scale)),
            max(1, round(default.single_rows * self.batch_scale)),
        )


class PairTraining:
    """The stages of the pair, over one output folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        self._trainer = Trainer(settings.out, device)
        self._tokenizer = self._ensure_tokenizer()
        self._evaluator = Evaluator(Encoder(self._tokenizer), settings.eval_items)
        self._tables: dict[str, dict[str, float]] = {}
        self._steps: dict[str, int] = {}

    def run(self) -> dict[str, dict[str, float]]:
        """Train what is missing, score everything, write the report; returns the table."""
        begun = time.perf_counter()
        base = self._baseline()
        self._score("baseline", base)
        for layers in self._settings.key_value_layers:
            twin = rewired(base, layers)
            self._score(f"swiftkv-n{layers}-undistilled", twin)
            self._distilled(twin, layers)
            self._score(f"swiftkv-n{layers}", twin)
        self._trainer.say(event="finished", seconds=round(time.perf_counter() - begun, 1))
        return self._tables

    def _ensure_tokenizer(self) -> dict[str, Any]:
        path = self._settings.out / "tokenizer.json"
        if not path.is_file():
            path.write_text(json.dumps(tokenizer_json(task_words()), ensure_ascii=False), encoding="utf-8")
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def _baseline(self) -> Llama:
        settings, path = self._settings, self._settings.out / "baseline.safetensors"
        torch.manual_seed(settings.seed)
        base = Llama(EMBEDDED_SHAPE)
        initialise(base)
        if path.is_file():
            base.load_state_dict(load_weights(path))
            return base.to(self._trainer.device)
        if settings.initial is not None:
            base.load_state_dict(load_weights(settings.initial))
        base.to(self._trainer.device)
        stage = settings.stage("baseline", _BASELINE_SHARE, settings.steps, settings.learning_rate)
        stage = Stage(stage.name, stage.steps, stage.budget_s, stage.learning_rate, weight_decay=0.1)
        forward = torch.compile(base, dynamic=False) if settings.compile else base

        def loss(ids: Tensor, weights: Tensor) -> Tensor:
            return next_token_loss(forward(ids), ids, weights)

        self._steps["baseline"] = self._trainer.train(stage, base, loss, self._batches(settings.seed))
        round_to_bfloat16(base)
        save_weights(path, base.state_dict())
        return base

    def _distilled(self, twin: Llama, layers: int) -> None:
        settings, name = self._settings, f"swiftkv-n{layers}"
        path = settings.out / f"{name}.safetensors"
        if path.is_file():
            twin.load_state_dict(load_weights(path), strict=False)
            return
        freeze_base(twin)
        objective = DistillationLoss()
        stage = settings.stage(name, _TWIN_SHARE, settings.distill_steps, settings.distill_learning_rate)

        def loss(ids: Tensor, weights: Tensor) -> Tensor:
            return distillation_loss(twin, ids, weights, objective)

        self._steps[name] = self._trainer.train(stage, twin, loss, self._batches(settings.seed + 1000 + layers))
        round_to_bfloat16(twin)
        save_weights(path, swiftkv_parameters(twin))

    def _batches(self, seed: int) -> "_BatchSource":
        return _BatchSource(self._tokenizer, self._settings.batch_plan(seed), self._settings.workers)

    def _score(self, name: str, model: Llama) -> None:
        begun = time.perf_counter()
        with torch.no_grad(), self._trainer.autocast():
            table = self._evaluator.table(model)
        self._tables[name] = {column: round(score, 4) for column, score in table.items()}
        self._trainer.say(model=name, seconds=round(time.perf_counter() - begun, 1), **self._tables[name])
        report = {
            "device": _device_name(self._trainer.device),
            "torch": torch.__version__,
            "eval_items": self._settings.eval_items,
            "seed": self._settings.seed,
            "steps": self._steps,
            "scores": self._tables,
        }
        (self._settings.out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _BatchSource:
    tokenizer: dict[str, Any]
    plan: BatchPlan
    workers: int

    def __call__(self, start: int) -> Iterator[Batch]:
        return batches(self.tokenizer, self.plan, start, self.workers)


def initialise(model: Llama) -> None:
    """Normal weights of standard deviation 0.02, those that add to the residual scaled by depth (GPT-2)."""
    residual = 0.02 / (2 * model.shape.num_hidden_layers) ** 0.5
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(parameter, std=residual if into_residual else 0.02)


def next_token_loss(logits: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross entropy, nat per unit of weight."""
    wanted = weights[:, 1:]
    losses = functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (losses * wanted.flatten()).sum() / wanted.sum()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _settings(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m swiftkv_bench.embedded.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, log and report")
    parser.add_argument("--steps", type=int, help="optimizer steps of the baseline")
    parser.add_argument("--distill-steps", type=int, help="optimizer steps of each twin")
    parser.add_argument("--budget-s", type=float, help="fit the steps not given to so many seconds in all")
    parser.add_argument("--key-value-layers", type=int, nargs="+", default=[4, 6, 2], help="one twin for each")
    parser.add_argument("--batch-scale", type=float, default=1.0, help="rows of a batch, in parts of the default")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--distill-learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--eval-items", type=int, default=500, help="test items a column")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init", type=Path, help="baseline.safetensors to start from instead of random weights")
    parser.add_argument("--compile", action="store_true", help="compile the baseline's forward pass")
    given = parser.parse_args(arguments)
    if given.budget_s is None and (given.steps is None or given.distill_steps is None):
        parser.error("give --budget-s, or both --steps and --distill-steps")
    return Settings(
        out=given.out,
        steps=given.steps,
        distill_steps=given.distill_steps,
        budget_s=given.budget_s,
        key_value_layers=tuple(given.key_value_layers),
        batch_scale=given.batch_scale,
        learning_rate=given.learning_rate,
        distill_learning_rate=given.distill_learning_rate,
        eval_items=given.eval_items,
        workers=given.workers,
        seed=given.seed,
        initial=given.init,
        compile=given.compile,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m swiftkv_bench.embedded.train``."""
    settings = _settings(arguments)
    settings.out.mkdir(parents=True, exist_ok=True)
    PairTraining(settings).run()


if __name__ == "__main__":
    main()
