"""Prints what a command was asked for: a plan, or the analysis of runs and where its report lies."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from swiftkv_bench import units
from swiftkv_bench.analysis import analyse_all
from swiftkv_bench.budget import fitting
from swiftkv_bench.errors import writing
from swiftkv_bench.estimate import Estimate, Speed, estimate, speed_of
from swiftkv_bench.metrics import Objective
from swiftkv_bench.observer import Observer, Silent
from swiftkv_bench.provenance import accelerators
from swiftkv_bench.render import wording
from swiftkv_bench.render.report import write_report
from swiftkv_bench.render.tables import print_whole, terminal
from swiftkv_bench.request import RunRequest
from swiftkv_bench.schema.perf import AutoRates, PerfPlan
from swiftkv_bench.store import Run


def show(
    runs: Sequence[Run],
    folder: Path,
    *,
    as_json: bool,
    observer: Observer | None = None,
    objective: Objective | None = None,
) -> None:
    """Analyses runs, writes their report and prints the tables, or the analysis as JSON.

    Args:
        objective: latency targets in place of those that the runs were made with.

    Raises:
        InputError: a run cannot be read, nothing was recorded, or the folder cannot be written.
        StorageError: the disk is full.
    """
    watch = observer or Silent()
    watch.progress("report", "analysing and drawing")
    analysis = analyse_all(runs, objective)
    with writing(folder, f"name a folder that can be: `swiftkv-bench report {runs[0].path} --out FOLDER`"):
        files = write_report(analysis, folder)
    watch.finish("report")
    if as_json:
        print((folder / "summary.json").read_text(encoding="utf-8"))
        return
    terminal(analysis, Console(width=None if sys.stdout.isatty() else 140))
    page = next(path for path in files if path.suffix == ".html")
    print(f"report: {page}")


def show_plan(wanted: RunRequest, *, as_json: bool) -> None:
    """Prints what would run, in order, with a time estimate."""
    speed = speed_of(wanted.profile, accelerators())
    started = [config.spec.arm for config in wanted.engines if config.spec.kind != "url"]
    expected = estimate(wanted.plan, started=started, together=wanted.together, speed=speed)
    if as_json:
        content = {
            "profile": wanted.profile.name,
            "together": wanted.together,
            "engines": [config.spec.model_dump(mode="json") for config in wanted.engines],
            "plan": wanted.plan.model_dump(mode="json"),
            "estimate_s": expected.total_s,
        }
        print(json.dumps(content, indent=1))
        return
    console = Console(width=None if sys.stdout.isatty() else 140)
    for config in wanted.engines:
        at = "" if config.spec.url is None else f" at {config.spec.url}"
        console.print(f"{config.spec.arm}: {config.spec.model}{at}", highlight=False, markup=False)
    if wanted.plan.accuracy is not None:
        print_whole(_accuracy_table(wanted), console)
    plan = wanted.plan.perf
    if plan is not None and plan.auto is not None:
        console.print(_auto_text(plan.auto), highlight=False, markup=False)
    elif plan is not None:
        print_whole(_perf_table(wanted, plan, speed), console)
        for text in dict.fromkeys(wording.traffic(trial.point) for trial in plan.trials):
            if text is not None:
                console.print(f"requests: {text}", highlight=False, markup=False)
    console.print(_estimate_text(expected, wanted), highlight=False, markup=False)


def _accuracy_table(wanted: RunRequest) -> Table:
    plan = wanted.plan.accuracy
    table = Table(title="Accuracy", title_justify="left")
    for name in ("column", "task", "metric", "shots", "items"):
        table.add_column(name, justify="right" if name in ("shots", "items") else "left")
    if plan is None:
        return table
    for column in plan.columns:
        absent = wanted.accuracy is not None and column.name in wanted.accuracy.missing
        items = "not run: data not present" if absent else f"{plan.planned(column):,}"
        table.add_row(column.title, column.task, column.metric, str(column.num_fewshot), items)
    return table


def _perf_table(wanted: RunRequest, plan: PerfPlan, speed: Speed) -> Table:
    fits = fitting(plan.trials, wanted.budget_s, speed, together=wanted.together, one_by_one=wanted.one_by_one)
    table = Table(title="Load", title_justify="left")
    names = ["trial", "arm", "repeat", "requests", "seed"]
    names += [] if wanted.budget_s is None else [f"fits {units.duration(wanted.budget_s)}"]
    for name in names:
        table.add_column(name, justify="right" if name in ("repeat", "requests", "seed") else "left")
    for trial in plan.trials:
        point = trial.point
        size = f"{point.requests:,}" if point.requests is not None else f"{point.duration_s:g} s"
        row = [point.point_id, trial.arm, str(trial.repeat), size, str(trial.seed)]
        row += [] if wanted.budget_s is None else ["yes" if trial.trial_id in fits else "no"]
        table.add_row(*row)
    return table


def _auto_text(auto: AutoRates) -> str:
    """What an adaptive plan will do, since its trials are not known yet."""
    lengths = ", ".join(f"{point.input_len.mean:,.0f}" for point in auto.points)
    shares = ", ".join(units.percent(share, 0) for share in auto.shares)
    text = (
        f"Load: at {lengths} input tokens, batches that double from {auto.points[0].requests:,} requests until the "
        f"capacity of each arm shows; then {auto.repeats} repeats at once and at {shares} of the baseline's capacity, "
        f"{auto.requests:,} requests each"
    )
    if auto.objective is not None:
        text += f"; and for each arm the highest rate with {auto.objective}, by bisection"
    return f"{text}."


def _estimate_text(expected: Estimate, wanted: RunRequest) -> str:
    speed = expected.speed
    starts = any(config.spec.kind != "url" for config in wanted.engines)
    parts = [f"engine starts {units.duration(expected.starts_s)}"] * starts
    if wanted.plan.accuracy is not None:
        parts.append(f"accuracy {units.duration(expected.accuracy_s)}")
    if wanted.plan.perf is not None:
        parts.append(f"load {units.duration(expected.perf_s)}")
    tokens = (
        f"{units.count(speed.prompt_tokens_per_s)} prompt and {units.count(speed.output_tokens_per_s)} output tokens/s"
    )
    assumed = f"{tokens}, {units.duration(speed.item_s)} an item"
    assumed = f"{units.duration(speed.start_s)} a start, {assumed}" if starts else assumed
    return f"estimate: {units.duration(expected.total_s)} ({', '.join(parts)}), assuming {assumed}; nothing was started"
