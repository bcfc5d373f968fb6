"""Gain against input length, with its band and what arithmetic allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from swiftkv_bench.analysis.values import PerfAnalysis, PointResult
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.render import wording
from swiftkv_bench.render.drawing import COLOUR, FIRST, INK, Figure, legend, open_canvas
from swiftkv_bench.render.figures.marks import (
    BOUND_LINE,
    count_text,
    input_tokens,
    lengths_label,
    paced_by_length,
    sent,
    spread,
    tick,
    unpaced,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class _Series:
    """A gain and how it is drawn; line and marker tell them apart in grey."""

    key: str
    bound: Literal["throughput", "ttft"]
    of: str
    colour: str
    marker: str
    line: Any
    bound_line: Any


_SERIES = (
    _Series("total_throughput", "throughput", "whole requests", COLOUR["swiftkv"], "s", "-", BOUND_LINE),
    _Series("ttft_mean_s", "ttft", "prompt", FIRST, "D", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5))),
)


def gain(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """Where the server set the pace, else at the lowest rate of each input length; None without a gain to show."""
    points = sorted((p for p in perf.points if unpaced(p)), key=input_tokens)
    if not any(p.gains for p in points):
        compared = [[p for p in here if "ttft_mean_s" in p.gains] for here in paced_by_length(perf.points).values()]
        points = [here[0] for here in compared if here]
    if not points:
        return None
    with open_canvas(max(4.6, 1.3 * len(points) + 2.2), 3.2) as (canvas, save):
        ax = canvas.subplots()
        for place, series in enumerate(_SERIES if unpaced(points[0]) else _SERIES[1:]):
            _draw(ax, points, series, 0.12 * place if len(points) == 1 else 0.0)
        ax.axhline(1, color=INK, linewidth=0.8)
        ax.set_xticks(range(len(points)), [tick(p) for p in points])
        ax.set_xlim(-0.4, len(points) - 0.6)
        values = [g.value for p in points for key, g in p.gains.items() if key in {x.key for x in _SERIES}]
        low, high = ax.get_ylim()
        ax.set_ylim(min(0.9, max(low, min(values) / 2)), min(high, max(2.1, 1.6 * max(values))))
        ax.set_xlabel(lengths_label(points) if unpaced(points[0]) else "Input length, tokens, and its lowest rate")
        ax.set_ylabel("Gain of SwiftKV over baseline, ×")
        legend(canvas, ax, columns=2)
        title, bounded = "Gain of SwiftKV against input length", ""
        if unpaced(points[0]):
            title += ", and what arithmetic allows"
            bounded = (
                " Bound of the prompt: its FLOPs; of whole requests: the same on the time that decoding does not need."
            )
        return save(
            "gain_vs_input", formats, title,
            f"{sent(points)}. Above 1 SwiftKV is better. Bands and lines: 95 % interval of the paired ratio; "
            "one that leaves the axes is wider still." + bounded,
            "; ".join(f"{_where(p)}: {wording.gain(p.gains.get('ttft_mean_s'))}" for p in points),
            count_text(points),
        )  # fmt: skip


def _where(p: PointResult) -> str:
    """`8,000 tokens at 2/s`; without the load where the server set the pace."""
    tokens = f"{wording.length(p.point.input_len)} tokens"
    return tokens if unpaced(p) else f"{tokens} at {wording.load(p.point.arrivals)}"


def _draw(ax: "Axes", points: Sequence[PointResult], series: _Series, aside: float) -> None:
    shown = [(x + aside, p.gains[series.key]) for x, p in enumerate(points) if series.key in p.gains]
    xs, ys = [x for x, _ in shown], [g.value for _, g in shown]
    ends = [None if g.interval is None else (g.interval.low, g.interval.high) for _, g in shown]
    spread(ax, xs, ends, series.colour)
    title = METRICS[series.key].title
    ax.plot(xs, ys, color=series.colour, linestyle=series.line, marker=series.marker, label=title)
    bounds = [(x + aside, p.bound) for x, p in enumerate(points) if unpaced(p) and p.bound is not None]
    limits = [(x, value) for x, bound in bounds if (value := getattr(bound, series.bound)) is not None]
    if limits:
        places, values = zip(*limits, strict=True)
        mark = "_" if len(limits) == 1 else "None"
        ax.plot(places, values, color=series.colour, linestyle=series.bound_line, linewidth=1.2,
                marker=mark, markersize=12, label=f"bound, {series.of}")  # fmt: skip
