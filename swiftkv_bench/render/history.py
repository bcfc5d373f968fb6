"""Accepted runs over time: a table of series with their steps, and small multiples of the trend."""

from pathlib import Path
from typing import TYPE_CHECKING

from swiftkv_bench import units
from swiftkv_bench.accepted.history import History, HistorySeries, HistoryStep
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.render import wording
from swiftkv_bench.render.tables import print_whole
from swiftkv_bench.render.wording import ARM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console

_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = 3


def terminal(found: History, console: "Console") -> None:
    """One row a series: newest figure, the trend as bars, steps."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"{found.name}: {len(found.runs)} accepted runs"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for head in ("figure", "arm", "runs", "first", "newest", "trend", "steps"):
        table.add_column(head, justify="right" if head in ("runs", "first", "newest") else "left")
    for series in found.series:
        values = [p.value for p in series.points]
        told = "; ".join(step_text(series, s) for s in series.steps)
        worse = any(s.worse for s in series.steps)
        style = "red" if worse else "green" if series.steps else ""
        table.add_row(
            series_title(series), ARM[series.arm], str(len(values)), _value(series, values[0]),
            _value(series, values[-1]), bars(values), Text(told, style=style),
        )  # fmt: skip
    print_whole(table, console)
    for run, reason in found.left_out.items():
        console.print(f"left out: {run}: {reason}", highlight=False, markup=False)
    if len(found.runs) < 5:
        console.print("steps are looked for from 5 runs on", highlight=False)


def series_title(series: HistorySeries) -> str:
    """`TTFT mean, 2,000 in, 256 out, 1/s`, or the column's title."""
    return series.title if series.point is None else f"{series.title}, {wording.point(series.point)}"


def step_text(series: HistorySeries, step: HistoryStep) -> str:
    """`worse at RUN: 31.3 ms to 34.5 ms (+10.2 %, p 0.003)`."""
    if series.metric == "score":
        change = f"{units.points(step.after - step.before)} points"
    else:
        change = f"{(step.after / step.before - 1) * 100:+.1f} %"
    ends = f"{_value(series, step.before)} to {_value(series, step.after)}"
    return f"{'worse' if step.worse else 'better'} at {step.run_id}: {ends} ({change}, p {units.p_value(step.p)})"


def bars(values: list[float]) -> str:
    """The values as block characters between their extremes."""
    low, high = min(values), max(values)
    span = high - low
    return "".join(_BARS[round((v - low) / span * (len(_BARS) - 1)) if span else 3] for v in values)


def draw(found: History, folder: Path) -> tuple[Path, ...]:
    """`history.svg` and `history.png`: one panel a series, levels between steps, steps as vertical lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(found.series) // _COLUMNS)
    figure = Figure(figsize=(4.2 * _COLUMNS, 2.3 * max(1, rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(1, rows), _COLUMNS, squeeze=False)
    flat = [axis for row in axes for axis in row]
    for axis, series in zip(flat, found.series, strict=False):
        _panel(axis, series)
    for axis in flat[len(found.series) :]:
        axis.set_axis_off()
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"history.{ending}" for ending in ("svg", "png"))
    for path in paths:
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def _panel(axis: "Axes", series: HistorySeries) -> None:
    scale = 100.0 if series.metric == "score" else 1.0
    values = [p.value * scale for p in series.points]
    at = range(len(values))
    axis.plot(at, values, "o", markersize=3.5, color="#3b6ea8")
    bounded = [(i, p.low * scale, p.high * scale) for i, p in zip(at, series.points, strict=True)
               if p.low is not None and p.high is not None]  # fmt: skip
    if bounded:
        axis.vlines(
            [b[0] for b in bounded], [b[1] for b in bounded], [b[2] for b in bounded], color="#3b6ea8", alpha=0.4
        )
    edges = [0, *(s.index for s in series.steps), len(values)]
    levels = [series.steps[0].before, *(s.after for s in series.steps)] if series.steps else []
    for level, first, last in zip(levels, edges, edges[1:], strict=False):
        axis.hlines(level * scale, first - 0.4, last - 0.6, color="#444444", linewidth=1.2)
    for step in series.steps:
        axis.axvline(step.index - 0.5, color="#b3261e" if step.worse else "#2e7d32", linestyle="--", linewidth=1.2)
    unit = "%" if series.metric == "score" else METRICS[series.metric].unit
    axis.set_title(f"{series_title(series)}\n{ARM[series.arm]}, {unit}", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.set_xticks([0, len(values) - 1] if len(values) > 1 else [0])
    axis.set_xticklabels([series.points[i].created_utc[:10] for i in ([0, -1] if len(values) > 1 else [0])], fontsize=7)


def _value(series: HistorySeries, value: float) -> str:
    return units.percent(value) if series.metric == "score" else wording.figure(series.metric, value)
