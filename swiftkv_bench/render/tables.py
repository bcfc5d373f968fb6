"""Tables of an analysis as plain values, and on the terminal.

A `TableView` is text in cells; terminal, Markdown and HTML print the same one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from swiftkv_bench import units
from swiftkv_bench.analysis.values import (
    METRICS,
    AccuracyAnalysis,
    Analysis,
    ColumnResult,
    Comparison,
    Macro,
    PerfAnalysis,
    PointResult,
)
from swiftkv_bench.checks import Finding
from swiftkv_bench.render import wording
from swiftkv_bench.render.summary import Statement, statements
from swiftkv_bench.render.wording import ARM, MISSING
from swiftkv_bench.stats.verdicts import Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Tone = Literal["plain", "good", "bad", "open", "quiet"]


@dataclass(frozen=True)
class Cell:
    """Text and what it means: `quiet` is secondary, `open` undecided."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Head:
    """A column head; `group` spans equal neighbours."""

    text: str
    group: str = ""
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class TableView:
    """A table ready to print; `note` explains its signs."""

    key: str
    title: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str


_TONE: dict[Verdict, Tone] = {Verdict.PASS: "good", Verdict.FAIL: "bad", Verdict.INCONCLUSIVE: "open"}
_MAIN = ("ttft_mean_s", "tpot_mean_s", "total_throughput")
_DETAIL = (
    "ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "itl_p99_s", "e2e_latency_mean_s",
    "output_throughput", "achieved_rate", "goodput",
)  # fmt: skip


def tables(analysis: Analysis) -> tuple[TableView, ...]:
    """Every table of an analysis, in order of reading."""
    found: list[TableView | None] = []
    for perf in analysis.perf:
        found += [load_table(perf), bound_table(perf), detail_table(perf)]
    for accuracy in analysis.accuracy:
        found += [accuracy_table(accuracy), origin_table(accuracy), answers_table(accuracy)]
    return tuple(t for t in found if t is not None)


def load_table(perf: PerfAnalysis) -> TableView:
    """A row a point: baseline beside SwiftKV and the gain, for the card's three figures."""
    heads = [Head("Input", align="right"), Head("Load", align="left"), Head("n")]
    for key in _MAIN:
        title = METRICS[key].title + (", token/s" if METRICS[key].unit == "token/s" else "")
        heads += [Head(ARM["baseline"], title), Head(ARM["swiftkv"], title), Head("gain", title)]
    rows = tuple(_load_row(p) for p in perf.points)
    trials = max((a.trials for p in perf.points for a in p.arms.values()), default=0)
    note = (
        "n: finished requests an arm over its trials. Mean of the trials' means. Gain: how many times better SwiftKV "
        f"is, above 1 it is; geometric mean of {'the pairs of trials' if trials > 1 else 'one pair of trials'}"
        f"{', 95 % t interval of the log-ratio' if trials > 1 else ': no interval'}. "
        "† past saturation, ✗ invalid: not compared."
    )
    return TableView("load", "Speed under load", tuple(heads), rows, note)


def _load_row(p: PointResult) -> tuple[Cell, ...]:
    mark = " ✗" if not p.valid else " †" if any(a.saturated for a in p.arms.values()) else ""
    n = min((a.ok for a in p.arms.values()), default=0)
    row = [Cell(wording.length(p.point.input_len)), Cell(wording.load(p.point.arrivals) + mark), Cell(f"{n:,}")]
    for key in _MAIN:
        for arm in ("baseline", "swiftkv"):
            measured = p.arms.get(arm)
            value = None if measured is None else measured.estimates.get(key)
            row.append(Cell(wording.estimate(key, value), "quiet" if not p.valid else "plain"))
        found = p.gains.get(key)
        tone: Tone = "plain"
        if found is not None and found.interval is not None:
            tone = "good" if found.interval.low > 1 else "bad" if found.interval.high < 1 else "plain"
        row.append(Cell(wording.gain(found), tone))
    return tuple(row)


def bound_table(perf: PerfAnalysis) -> TableView | None:
    """Where the first token's time went, and how much of the theoretical gain was reached."""
    rows = []
    for p in perf.points:
        for arm, measured in p.arms.items():
            split, bound, is_swift = measured.breakdown, p.bound, arm == "swiftkv"
            if split is None and not (is_swift and bound):
                continue
            times = (
                [None, None, None, None]
                if split is None
                else [split.ttft_s, split.queue_s, split.prefill_s, split.rest_s]
            )
            row = [Cell(wording.length(p.point.input_len)), Cell(wording.load(p.point.arrivals)), Cell(ARM[arm])]
            row += [Cell(units.duration(t)) for t in times]
            limit = bound if is_swift else None
            row += [Cell(units.ratio(limit.ttft if limit else None), "quiet")]
            row += [Cell(units.ratio(limit.throughput if limit else None), "quiet")]
            rows.append(tuple(row))
    if not rows:
        return None
    heads = (
        Head("Input"), Head("Load", align="left"), Head("Arm", align="left"),
        Head("TTFT", "mean time to first token"), Head("queue", "mean time to first token"),
        Head("prefill", "mean time to first token"), Head("rest", "mean time to first token"),
        Head("TTFT", "largest gain by FLOPs"), Head("throughput", "largest gain by FLOPs"),
    )  # fmt: skip
    note = (
        "Queue and prefill are the server's own counters; rest is network, tokenising and sending. Largest gain: FLOPs "
        "of the baseline divided by SwiftKV's, for the prompt (TTFT without queueing) and for prompt and output "
        "(throughput). A queue can make a TTFT gain larger than that; decoding bound by memory makes it smaller."
    )
    return TableView("bound", "Where the first token's time goes, and what arithmetic allows", heads, tuple(rows), note)


def detail_table(perf: PerfAnalysis) -> TableView:
    """Every further figure, a row an arm and point."""
    keys = [k for k in _DETAIL if any(k in a.estimates for p in perf.points for a in p.arms.values())]
    energy = any(a.joule_per_token is not None for p in perf.points for a in p.arms.values())
    heads = [
        Head("Input"),
        Head("Load", align="left"),
        Head("Arm", align="left"),
        Head("trials"),
        Head("n"),
        Head("failed"),
    ]
    heads += [Head(METRICS[k].title + (", token/s" if METRICS[k].unit == "token/s" else "")) for k in keys]
    heads += [Head("J/token")] if energy else []
    rows = []
    for p in perf.points:
        for arm, a in p.arms.items():
            failed = sum(a.failures.values())
            row = [Cell(wording.length(p.point.input_len)), Cell(wording.load(p.point.arrivals)), Cell(ARM[arm])]
            row += [Cell(str(a.trials)), Cell(f"{a.ok:,}"), Cell(f"{failed:,}", "bad" if failed else "quiet")]
            row += [Cell(wording.estimate(k, a.estimates.get(k), interval=True)) for k in keys]
            if energy:
                row.append(Cell(MISSING if a.joule_per_token is None else f"{a.joule_per_token.value:.3g}"))
            rows.append(tuple(row))
    note = (
        "Brackets: 95 % interval over trials; of a single trial's percentile, over its requests. –: too few requests."
    )
    if perf.objective is not None:
        note += f" Goodput counts requests with {perf.objective.text}."
    return TableView("detail", "All figures of every load point", tuple(heads), tuple(rows), note)


def accuracy_table(accuracy: AccuracyAnalysis) -> TableView:
    """The card's columns as rows: both scores, the paired difference, what flipped, the verdict."""
    with_published = any(c.published is not None for c in accuracy.columns)
    heads = [
        Head("Column", align="left"),
        Head("n"),
        Head(ARM["baseline"], "score, %"),
        Head(ARM["swiftkv"], "score, %"),
    ]
    heads += [
        Head("difference, points"),
        Head("flips"),
        Head("McNemar p"),
        Head("margin"),
        Head("verdict", align="left"),
    ]
    heads += [Head("published difference")] if with_published else []
    rows = [_accuracy_row(c, with_published) for c in accuracy.columns]
    if accuracy.macro is not None:
        rows.append(_macro_row(accuracy.macro, with_published))
    limit = accuracy.plan.limit
    note = (
        f"Suite {accuracy.plan.suite}"
        + (f", the same seeded sample of {limit:,} items a column" if limit else "")
        + ". Brackets: 95 % interval of the paired difference. PASS: the one-sided 95 % bound is above −margin; FAIL: "
        "below it; else INCONCLUSIVE, with the items that would decide. Flips: right to wrong (lost), wrong to right "
        "(gained)."
    )
    return TableView("accuracy", "Quality", tuple(heads), tuple(rows), note)


def _accuracy_row(c: ColumnResult, with_published: bool) -> tuple[Cell, ...]:
    row = [Cell(c.column.title)]
    base, swift = c.arms.get("baseline"), c.arms.get("swiftkv")
    total = c.comparisons.get("total")
    n = total.delta.n if total is not None else next((a.score.n for a in (base, swift) if a and a.score), None)
    row.append(Cell(MISSING if n is None else f"{n:,}"))
    for arm in (base, swift):
        score = None if arm is None or arm.score is None else arm.score.mean
        row.append(Cell(MISSING if score is None else f"{score * 100:.2f}"))
    row += _comparison_cells(total, c.column.margin)
    if total is None:
        reason = next((a.reason for a in c.arms.values() if a.reason), None)
        row[-1] = Cell("not run" + (f": {reason}" if reason else ""), "quiet")
    if with_published:
        row.append(Cell(wording.published(c.published), "quiet"))
    return tuple(row)


def _macro_row(macro: Macro, with_published: bool) -> tuple[Cell, ...]:
    total = macro.comparisons.get("total")
    row = [Cell(f"Average of {len(macro.columns)}"), Cell(MISSING if total is None else f"{total.delta.n:,}")]
    scores = [macro.scores.get("baseline"), macro.scores.get("swiftkv")]
    row += [Cell(MISSING if s is None else f"{s * 100:.2f}") for s in scores]
    margin = None if total is None or total.verdict is None else total.verdict.margin
    row += _comparison_cells(total, margin)
    if with_published:
        row.append(Cell(wording.published(macro.published), "quiet"))
    return tuple(row)


def _comparison_cells(total: Comparison | None, margin: float | None) -> list[Cell]:
    if total is None:
        return [Cell(MISSING)] * 5
    d = total.delta
    return [
        Cell(wording.points_interval(d.delta, d.interval)),
        Cell(wording.flips(d)),
        Cell(units.p_value(d.mcnemar_p)),
        Cell(MISSING if margin is None else f"{margin * 100:.1f}"),
        verdict_cell(total),
    ]


def verdict_cell(comparison: Comparison) -> Cell:
    """PASS, FAIL, or INCONCLUSIVE with the items that would decide."""
    found = comparison.verdict
    if found is None:
        return Cell(MISSING)
    text = found.verdict.value
    if found.verdict is Verdict.INCONCLUSIVE and found.n_to_decide is not None:
        text += f" (needs {units.count(found.n_to_decide)} items)"
    return Cell(text, _TONE[found.verdict])


def origin_table(accuracy: AccuracyAnalysis) -> TableView | None:
    """Model and engine deltas apart, and the noise floor, where those arms were run."""
    kinds = [k for k in ("model", "engine", "noise") if any(k in c.comparisons for c in accuracy.columns)]
    if not kinds:
        return None
    heads = [Head("Column", align="left")]
    for kind in kinds:
        group = wording.KIND[kind]  # type: ignore[index]
        heads += [Head("points", group), Head("flips", group)] + (
            [Head("verdict", group, "left")] if kind != "noise" else []
        )
    rows = []
    sources = [(c.column.title, c.comparisons) for c in accuracy.columns]
    if accuracy.macro is not None:
        sources.append((f"Average of {len(accuracy.macro.columns)}", accuracy.macro.comparisons))
    for title, comparisons in sources:
        row = [Cell(title)]
        for kind in kinds:
            found = comparisons.get(kind)  # type: ignore[call-overload]
            if found is None:
                row += [Cell(MISSING)] * (2 if kind == "noise" else 3)
                continue
            row += [
                Cell(wording.points_interval(found.delta.delta, found.delta.interval)),
                Cell(wording.flips(found.delta)),
            ]
            row += [verdict_cell(found)] if kind != "noise" else []
        rows.append(tuple(row))
    note = (
        "Model: SwiftKV weights with every layer run, against the baseline: the cost of the weights. Engine: the same "
        "weights with and without skipping; anything but noise here is a defect of the engine."
    )
    return TableView("origin", "Is it the model or the engine?", tuple(heads), tuple(rows), note)


def answers_table(accuracy: AccuracyAnalysis) -> TableView:
    """How each column was asked and scored, and answers that were cut, unfinished or unreadable."""
    heads = (
        Head("Column", align="left"), Head("task", align="left"), Head("metric", align="left"), Head("shots"),
        Head("Arm", align="left"), Head("items"), Head("score ± SE, %"), Head("cut"), Head("unfinished"),
        Head("unparsed"), Head("scored by", align="left"), Head("detectable drop"),
    )  # fmt: skip
    rows = []
    for c in accuracy.columns:
        for arm, a in c.arms.items():
            kind = "total" if arm == "swiftkv" else "model"
            drop = c.comparisons[kind].delta.detectable_drop if arm != "baseline" and kind in c.comparisons else None
            score = MISSING
            if a.score is not None:
                error = "" if a.score.stderr is None else f" ± {a.score.stderr * 100:.2f}"
                score = f"{a.score.mean * 100:.2f}{error}"
            row = [Cell(c.column.title), Cell(c.column.task), Cell(c.column.metric), Cell(str(c.column.num_fewshot))]
            row += [Cell(ARM[arm]), Cell(MISSING if a.score is None else f"{a.score.n:,}"), Cell(score)]
            row += [Cell(f"{x:,}", "bad" if x else "quiet") for x in (a.truncated, a.unfinished, a.unparsed)]
            row += [Cell(", ".join(a.methods) or MISSING), Cell(MISSING if drop is None else f"{drop * 100:.2f}")]
            rows.append(tuple(row))
    note = (
        "SE: standard error of one arm's score. Detectable drop: points that the paired comparison finds with 80 % "
        "power at a one-sided 5 % level. Cut: prompts shortened to fit; unfinished: answers at the token limit."
    )
    return TableView("answers", "How the answers were obtained", heads, tuple(rows), note)


def finding_place(finding: Finding, analysis: Analysis) -> str:
    """Where a finding applies, in words."""
    names = {p.point.point_id: wording.point(p.point) for perf in analysis.perf for p in perf.points}
    titles = {c.column.name: c.column.title for a in analysis.accuracy for c in a.columns}
    parts = [names.get(finding.point or "", finding.point), titles.get(finding.column or "", finding.column)]
    parts.append(ARM[finding.arm] if finding.arm is not None else None)
    return ", ".join(p for p in parts if p)


@dataclass(frozen=True)
class GroupedFinding:
    """Findings of one code and severity that differ in place alone."""

    finding: Finding
    places: tuple[str, ...]


def grouped_findings(analysis: Analysis) -> tuple[GroupedFinding, ...]:
    """By code and severity, in the analysis' order; the first one's text stands for all."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for f in analysis.findings:
        groups.setdefault((f.severity, f.code), []).append(f)
    out = []
    for found in groups.values():
        places = tuple(dict.fromkeys(place for f in found if (place := finding_place(f, analysis))))
        out.append(GroupedFinding(found[0], places))
    return tuple(out)


_STYLE: dict[str, str] = {"good": "green", "bad": "red", "open": "yellow", "quiet": "dim", "plain": ""}
_TERMINAL = ("load", "accuracy", "origin")


def terminal(analysis: Analysis, console: "Console") -> None:
    """Prints the statements, the main tables and the findings; the report has the rest."""
    from rich.padding import Padding
    from rich.text import Text

    for s in statements(analysis):
        console.print(_statement(s))
    for view in tables(analysis):
        if view.key in _TERMINAL:
            console.print()
            console.print(_rich(view))
            console.print(Padding(Text(view.note, style="dim"), (0, 0, 0, 1)))
    found = grouped_findings(analysis)
    if found:
        console.print()
    for g in found:
        style = {"invalid": "bold red", "warning": "yellow", "note": "dim"}[g.finding.severity]
        where = f" ({_shortened(g.places)})" if g.places else ""
        line = Text.assemble(
            (g.finding.severity, style), f": {g.finding.message}{where} ", (g.finding.next_step, "dim")
        )
        console.print(line)


def _shortened(places: Sequence[str], most: int = 2) -> str:
    rest = len(places) - most
    return "; ".join(places[:most]) + (f"; and {rest} more" if rest > 0 else "")


def _statement(s: Statement) -> "Text":
    from rich.text import Text

    return Text.assemble((s.headline, f"bold {_STYLE[s.tone]}"), f"  {s.detail}")


def _rich(view: TableView) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=view.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    for head, _ in _grouped(view.heads):
        short = f"{head.group.split(',')[0]}\n{head.text}" if head.group else head.text
        table.add_column(short, justify=head.align, vertical="top")
    for row in view.rows:
        table.add_row(*(Text(cell.text, style=_STYLE[cell.tone]) for cell in row))
    return table


def _grouped(heads: Sequence[Head]) -> Iterator[tuple[Head, bool]]:
    previous = ""
    for head in heads:
        yield head, bool(head.group) and head.group != previous
        previous = head.group
