"""Combined throughput against input length: the model card's first figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swiftkv_bench import units
from swiftkv_bench.analysis.values import PerfAnalysis, PointResult
from swiftkv_bench.render.drawing import COLOUR, HATCH, INK, PAPER, QUIET, Figure, legend, open_canvas
from swiftkv_bench.render.figures.marks import (
    BOUND_LINE,
    arms_of,
    count_text,
    described,
    estimate_of,
    input_tokens,
    lengths_label,
    sent,
    short_count,
    tick,
    top_of,
    unpaced,
    whisker,
)
from swiftkv_bench.render.wording import ARM

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KEY = "total_throughput"
_GROUP = 0.78
"""Width of the bars of one point, in points."""


def throughput(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """Arms side by side, with the bound of the gain; None without points whose pace the server sets."""
    points = sorted((p for p in perf.points if unpaced(p)), key=input_tokens)
    if not points:
        return None
    with open_canvas(max(4.6, 1.3 * len(points) + 2.2), 3.2) as (canvas, save):
        ax = canvas.subplots()
        _bars(ax, points)
        bounded = _bound(ax, points)
        _gains(ax, points)
        ax.set_xticks(range(len(points)), [tick(p) for p in points])
        ax.set_xlabel(lengths_label(points))
        ax.set_ylabel("Prompt + output tokens/s")
        ax.grid(visible=False, axis="x")
        ax.yaxis.set_major_formatter(short_count)
        ax.margins(y=0.14)
        values = [e.value for p in points for arm in p.arms if (e := estimate_of(p, arm, _KEY)) is not None]
        if values:
            ax.set_ylim(0, min(ax.get_ylim()[1], 2.2 * max(values)))
        legend(canvas, ax)
        hollow = " Hollow bars are not compared." if any(not a.valid for p in points for a in p.arms.values()) else ""
        dotted = " Dotted: baseline × the largest gain that arithmetic allows." if bounded else ""
        return save(
            "throughput_vs_input", formats, "Combined throughput against input length",
            f"{sent(points)}. Whiskers: 95 % interval over trials. Bold: gain of SwiftKV.{dotted}{hollow}",
            described(_KEY, points), count_text(points),
        )  # fmt: skip


def _bars(ax: "Axes", points: Sequence[PointResult]) -> None:
    arms = arms_of(points)
    width = _GROUP / len(arms)
    for k, arm in enumerate(arms):
        named = False
        for x, p in enumerate(points):
            found = estimate_of(p, arm, _KEY)
            if found is None:
                continue
            at = x + (k - (len(arms) - 1) / 2) * width
            fill = COLOUR[arm] if p.arms[arm].valid else "none"
            ax.bar(at, found.value, width * 0.94, color=fill, edgecolor=COLOUR[arm], hatch=HATCH[arm] or None,
                   linewidth=1, label=None if named else ARM[arm])  # fmt: skip
            whisker(ax, at, found)
            named = True


def _bound(ax: "Axes", points: Sequence[PointResult]) -> bool:
    """A dotted line across both bars, named with the gain it stands for."""
    drawn = False
    for x, p in enumerate(points):
        base = estimate_of(p, "baseline", _KEY)
        if base is None or p.bound is None or p.bound.throughput is None or _KEY not in p.gains:
            continue
        ends, y = (x - _GROUP / 2, x + _GROUP / 2), base.value * p.bound.throughput
        ax.plot(ends, [y, y], color=INK, linewidth=1.1, linestyle=BOUND_LINE)
        ax.annotate(f"bound {units.ratio(p.bound.throughput)}", (ends[0], y), xytext=(0, 3), fontsize=7.5,
                    textcoords="offset points", color=QUIET)  # fmt: skip
        drawn = True
    return drawn


def _gains(ax: "Axes", points: Sequence[PointResult]) -> None:
    """Above SwiftKV's bar."""
    arms = arms_of(points)
    for x, p in enumerate(points):
        swift = estimate_of(p, "swiftkv", _KEY)
        if swift is None or _KEY not in p.gains:
            continue
        at = x + (arms.index("swiftkv") - (len(arms) - 1) / 2) * _GROUP / len(arms)
        place = (at, min(top_of(swift), 2 * swift.value))
        box = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.8}
        ax.annotate(units.ratio(p.gains[_KEY].value), place, xytext=(0, 4), ha="center", fontweight="bold", bbox=box,
                    textcoords="offset points")  # fmt: skip
