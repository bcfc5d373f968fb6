"""Trains the embedded pair: ``python -m swiftkv_bench.embedded.train --out FOLDER``.

First the baseline, then one SwiftKV twin for each number of key/value layers. Finished stages are kept, so the
same command goes on where it was cut off. Writes ``baseline.safetensors``, ``swiftkv-n<N>.safetensors`` (what
the twin adds), ``tokenizer.json``, ``weights.json``, ``log.jsonl`` and ``report.json``.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE
from swiftkv_bench.embedded.batches import CLASS_WEIGHTS, BatchPlan
from swiftkv_bench.embedded.distill import (
    DistillationLoss,
    distillation_losses,
    freeze_base,
    rewired,
    swiftkv_parameters,
)
from swiftkv_bench.embedded.evaluate import Evaluator
from swiftkv_bench.embedded.feed import RowFeed
from swiftkv_bench.embedded.model import Llama
from swiftkv_bench.embedded.schedule import Stage, Trainer
from swiftkv_bench.embedded.shipped import write_manifest
from swiftkv_bench.embedded.tokenizer import tokenizer_json
from swiftkv_bench.embedded.vocabulary import Encoder, task_words
from swiftkv_bench.embedded.weights_io import load_weights, round_to_bfloat16, save_weights

#: Share of the time budget left for evaluation.
_EVALUATION_SHARE = 0.1


@dataclass(frozen=True)
class Settings:
    """What to train and for how long; see ``--help``."""

    out: Path
    steps: int | None
    distill_steps: int | None
    budget_s: float | None
    baseline_share: float
    key_value_layers: tuple[int, ...]
    rows: int
    uses: int
    basics: int
    learning_rate: float
    distill_learning_rate: float
    eval_items: int
    workers: int
    seed: int
    initial: Path | None
    compile: bool

    @property
    def twin_share(self) -> float:
        """Share of the time budget of each twin."""
        return (1.0 - _EVALUATION_SHARE - self.baseline_share) / len(self.key_value_layers)

    def stage(self, name: str, share: float, steps: int | None, learning_rate: float) -> Stage:
        """A stage of so many steps, or of its share of the budget."""
        budget_s = None if steps is not None or self.budget_s is None else self.budget_s * share
        return Stage(name, steps, budget_s, learning_rate)


class PairTraining:
    """The stages of the pair, over one output folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        self._trainer = Trainer(settings.out, device, lambda event: print(json.dumps(event), flush=True))
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
            self._distilled(base, twin, layers)
            self._score(f"swiftkv-n{layers}", twin)
        write_manifest(self._settings.out)
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
            self._start_from(base, settings.initial)
        base.to(self._trainer.device)
        stage = settings.stage("baseline", settings.baseline_share, settings.steps, settings.learning_rate)
        stage = replace(stage, weight_decay=0.1)
        trained = Llama(EMBEDDED_SHAPE).to(self._trainer.device)
        trained.load_state_dict(base.state_dict())
        if settings.compile:
            trained.compile_layers()

        def losses(ids: Tensor) -> Tensor:
            return next_token_losses(trained(ids), ids)

        feed = self._feed(settings.seed, settings.basics)
        self._steps["baseline"] = self._trainer.train(stage, trained, losses, feed, CLASS_WEIGHTS)
        base.load_state_dict(trained.state_dict())
        round_to_bfloat16(base)
        save_weights(path, base.state_dict())
        return base

    def _start_from(self, base: Llama, folder: Path) -> None:
        """Weights of an earlier training; embeddings by word, since the tasks' words may have changed."""
        weights = load_weights(folder / "baseline.safetensors")
        earlier = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        embedding = base.model.embed_tokens.weight.detach().clone()
        for token, index in self._tokenizer["model"]["vocab"].items():
            if token in earlier:
                embedding[index] = weights["model.embed_tokens.weight"][earlier[token]]
        base.load_state_dict(weights | {"model.embed_tokens.weight": embedding})

    def _distilled(self, base: Llama, twin: Llama, layers: int) -> None:
        settings, name = self._settings, f"swiftkv-n{layers}"
        path = settings.out / f"{name}.safetensors"
        if path.is_file():
            twin.load_state_dict(load_weights(path), strict=False)
            return
        learner = rewired(base, layers)
        freeze_base(learner)
        if settings.compile:
            learner.compile_layers()
        objective = DistillationLoss()
        stage = settings.stage(name, settings.twin_share, settings.distill_steps, settings.distill_learning_rate)

        def losses(ids: Tensor) -> Tensor:
            return distillation_losses(learner, ids, objective)

        feed = self._feed(settings.seed + 1000 + layers, 0)
        self._steps[name] = self._trainer.train(stage, learner, losses, feed, CLASS_WEIGHTS)
        twin.load_state_dict(learner.state_dict())
        round_to_bfloat16(twin)
        save_weights(path, swiftkv_parameters(twin))

    def _feed(self, seed: int, basics: int) -> RowFeed:
        settings = self._settings
        plan = BatchPlan(seed, settings.rows, basics // settings.uses)
        return RowFeed(self._tokenizer, plan, settings.workers, settings.uses, self._trainer.device)

    def _score(self, name: str, model: Llama) -> None:
        if self._settings.eval_items > 0:
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


def initialise(model: Llama) -> None:
    """Normal weights of standard deviation 0.02, those that add to the residual scaled by depth (GPT-2)."""
    residual = 0.02 / (2 * model.shape.num_hidden_layers) ** 0.5
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(parameter, std=residual if into_residual else 0.02)


def next_token_losses(logits: Tensor, ids: Tensor) -> Tensor:
    """Cross entropy, nat, of each token but the first, shape (rows, tokens - 1)."""
    losses = functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return losses.view(len(ids), -1)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _settings(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m swiftkv_bench.embedded.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, log and report")
    parser.add_argument("--steps", type=int, help="optimizer steps of the baseline")
    parser.add_argument("--distill-steps", type=int, help="optimizer steps of each twin")
    parser.add_argument("--budget-s", type=float, help="fit the steps not given to so many seconds in all")
    parser.add_argument("--baseline-share", type=float, default=0.6, help="of the budget, for the baseline")
    parser.add_argument("--key-value-layers", type=int, nargs="+", default=[4, 6, 2], help="one twin for each")
    parser.add_argument("--rows", type=int, default=40, help="rows of a batch")
    parser.add_argument("--uses", type=int, default=3, help="steps that every row serves")
    parser.add_argument("--basics", type=int, default=6000, help="steps of practice before the columns")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--distill-learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--eval-items", type=int, default=500, help="test items a column; 0 scores nothing")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--init", type=Path, help="folder of an earlier training to start from instead of random weights"
    )
    parser.add_argument("--compile", action="store_true", help="compile the layers")
    given = parser.parse_args(arguments)
    if given.budget_s is None and (given.steps is None or given.distill_steps is None):
        parser.error("give --budget-s, or both --steps and --distill-steps")
    return Settings(
        out=given.out,
        steps=given.steps,
        distill_steps=given.distill_steps,
        budget_s=given.budget_s,
        baseline_share=given.baseline_share,
        key_value_layers=tuple(given.key_value_layers),
        rows=given.rows,
        uses=given.uses,
        basics=given.basics,
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
