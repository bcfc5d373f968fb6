"""`swiftkv-bench verify`: stock lm-eval computes a sample of a run's items again from the weights."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from swiftkv_bench.accuracy.verify import Agreement, Weights
    from swiftkv_bench.schema.engine import EngineSpec
    from swiftkv_bench.store import Run


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a run with accuracy columns.", metavar="RUN")],
    sample: Annotated[str, typer.Option(help="Share of each column's items, at least 2 of each.")] = "1%",
    arm: Annotated[
        list[str] | None,
        typer.Option(help="baseline, swiftkv or swiftkv-full; repeatable. Default: baseline, swiftkv."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with local copies of the data sets. Default: as in the run.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Weights of the one --arm: hub id or folder. Default: the run's.")
    ] = (None),
    device: Annotated[str, typer.Option(help="Where torch computes: cpu, cuda, cuda:1, ...")] = "cpu",
    dtype: Annotated[str | None, typer.Option(help="Type torch computes in. Default: the engine's.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the agreement as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")] = False,
) -> None:
    """Lets lm-eval's hf class compute recorded items again from the weights and prints how far both agree.

    Exits 1 where log-likelihoods differ by more than rounding.
    """
    from swiftkv_bench.accuracy.run import prepare_accuracy
    from swiftkv_bench.accuracy.verify import arithmetic, verify_run
    from swiftkv_bench.cli.progress import observer as make_observer
    from swiftkv_bench.errors import InputError
    from swiftkv_bench.store import open_run

    opened, share = open_run(run), _share(sample)
    plan = opened.manifest.plan.accuracy
    if plan is None:
        raise InputError(f"{run} has no accuracy columns; verify recomputes items, not load")
    specs = _specs(opened, arm or [])
    if model is not None and len(specs) != 1:
        raise InputError("--model names the weights of one arm; say which with --arm")
    found: list[Agreement] = []
    with make_observer(quiet) as observer:
        prepared = prepare_accuracy(plan, data_dir or recorded_data_dir(opened), observer)
        for spec in specs:
            weights = _weights(opened, spec, model, device, dtype)
            limit = arithmetic(spec, weights)
            found += verify_run(opened, prepared, spec.arm, weights, observer, limit=limit, share=share)
    _print_json(found) if json else _print(found)
    _judge(found)


def _judge(found: "list[Agreement]") -> None:
    """Texts are not judged: rounding can part two greedy texts anywhere.

    Raises:
        RegressionError: log-likelihoods differ by more than rounding.
    """
    from swiftkv_bench.errors import RegressionError

    if beyond := sum(agreement.beyond_rounding for agreement in found):
        items = sum(len(agreement.items) for agreement in found)
        raise RegressionError(
            f"{beyond} of {items} items have log-likelihoods that lm-eval does not find on these weights, by more than "
            f"rounding; see which above, and let swiftkv-bench doctor probe the engine"
        )


def _share(text: str) -> float:
    """`1%` or `0.01`.

    Raises:
        InputError: it is no share above 0 and up to 1.
    """
    from swiftkv_bench.errors import InputError

    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise InputError(f"--sample {text!r} is no share of the items; write 1% or 0.01")
    return value


def _specs(run: "Run", arms: list[str]) -> "list[EngineSpec]":
    from swiftkv_bench.errors import InputError

    engines = {spec.arm: spec for spec in run.manifest.engines}
    wanted = arms or [arm for arm in ("baseline", "swiftkv") if arm in engines]
    unknown = [arm for arm in wanted if arm not in engines]
    if unknown:
        raise InputError(f"--arm {unknown[0]}: the run has the arms {', '.join(engines)}")
    return [spec for spec in run.manifest.engines if spec.arm in wanted]


def _weights(run: "Run", spec: "EngineSpec", model: str | None, device: str, dtype: str | None) -> "Weights":
    """What to compute an arm from.

    Raises:
        InputError: an attached server whose model nobody named, or an engine without weights.
    """
    from swiftkv_bench.accuracy.verify import Weights
    from swiftkv_bench.errors import InputError
    from swiftkv_bench.schema.engine import UNNAMED

    if spec.kind == "fake" or (spec.kind == "url" and model is None and spec.model == UNNAMED):
        raise InputError(f"the run does not say which weights served {spec.arm}; name them with --arm and --model")
    info = next((info for info in run.manifest.engine_info if info.arm == spec.arm), None)
    served = str(spec.args.get("dtype", "auto"))
    return Weights(
        model=model or spec.model,
        tokenizer=spec.tokenizer,
        max_model_len=(info.max_model_len if info is not None else None) or spec.max_model_len,
        skipping=spec.arm != "baseline",
        revision=spec.revision,
        device=device,
        dtype=dtype or {"half": "float16", "float": "float32"}.get(served, served),
    )


def recorded_data_dir(run: "Run") -> Path | None:
    """The folder that the run's own command line named, where it is still there."""
    words = list(run.manifest.argv)
    for i, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == "--data-dir":
            folder = Path(value if equals else words[i + 1])
            return folder if folder.is_dir() else None
    return None


def _print_json(found: "list[Agreement]") -> None:
    import dataclasses
    import json

    print(json.dumps([dataclasses.asdict(agreement) for agreement in found], indent=1))


def _print(found: "list[Agreement]") -> None:
    """One line an item, then one line a column."""
    from rich.console import Console
    from rich.table import Table

    from swiftkv_bench.render.wording import ARM

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False)
    for a in found:
        for item in a.items:
            how = f"{item.difference_nat:.1e} nat" if item.difference_nat is not None else _text(item.same_text)
            mark = "same score" if item.same_score else f"score {item.recorded:g} in the run, {item.computed:g} here"
            if not item.same_score and item.is_tie:
                mark += f" (a tie: the two best choices are {item.lead_nat:.1e} nat apart)"
            how += ", beyond rounding" if item.beyond_rounding else ""
            console.print(f"{a.arm} {item.task}/{item.doc_id}: {mark}, {how}", soft_wrap=True)
    table = Table(title="The run against lm-eval's hf class on the same weights", title_justify="left")
    for name in ("arm", "column", "items", "same score", "same text", "largest difference, nat"):
        table.add_column(name, justify="left" if name in ("arm", "column") else "right")
    for a in found:
        difference = "–" if a.largest_difference_nat is None else f"{a.largest_difference_nat:.1e}"
        same_text = "–" if a.same_text is None else str(a.same_text)
        cells = (ARM[a.arm], a.title, f"{len(a.items)} of {a.of:,}", str(a.same_score), same_text, difference)
        table.add_row(*cells)
    console.print(table)


def _text(same: bool | None) -> str:
    return "same text" if same else "another text"
