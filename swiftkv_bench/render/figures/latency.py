"""TTFT and TPOT against request rate: the model card's second figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swiftkv_bench.analysis.values import PerfAnalysis, PointResult
from swiftkv_bench.render import wording
from swiftkv_bench.render.drawing import COLOUR, INK, Figure, legend, open_canvas
from swiftkv_bench.render.figures.marks import (
    BOUND_LINE,
    arms_of,
    compared,
    count_text,
    described,
    estimate_of,
    line,
    log_ticks,
    markers,
    outputs,
    paced_by_length,
    plain,
    rate_of,
    spread,
)
from swiftkv_bench.schema.engine import Arm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = (("ttft_mean_s", "TTFT, ms"), ("tpot_mean_s", "TPOT, ms"))


def latency(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """TTFT on top, TPOT below, a column an input length; None without rates or figures at one."""
    lengths = paced_by_length(perf.points)
    points = [p for here in lengths.values() for p in here]
    rows = [(key, name) for key, name in _ROWS if any(key in a.estimates for p in points for a in p.arms.values())]
    if not rows:
        return None
    with open_canvas(max(4.8, 2.7 * len(lengths) + 0.8), 2.3 * len(rows)) as (canvas, save):
        grid = canvas.subplots(len(rows), len(lengths), squeeze=False, sharex="col")
        for column, here in enumerate(lengths.values()):
            for row, (key, _) in enumerate(rows):
                ax = grid[row][column]
                for arm in arms_of(here):
                    _draw(ax, here, arm, key)
                _scale(ax, here, key)
            grid[0][column].set_title(f"{wording.length(here[0].point.input_len)} input tokens")
            grid[-1][column].set_xlabel("Request rate, 1/s")
            _bound(grid[0][column], here)
        for row, (_, name) in enumerate(rows):
            grid[row][0].set_ylabel(name)
        canvas.align_ylabels(grid[:, 0])
        legend(canvas, max(grid[0], key=lambda ax: len(ax.get_legend_handles_labels()[0])))
        processes = list(dict.fromkeys(p.point.arrivals.process for p in points))
        return save(
            "latency_vs_rate", formats, "Time to first token and time per output token against request rate",
            f"{' and '.join(processes).capitalize()} arrivals; {outputs(points)}. Bands and "
            "lines: 95 % interval over trials, none with one trial; one that leaves the axes is "
            "wider still. Dotted: baseline ÷ the FLOP bound of the prompt, which ignores "
            "queueing. Open markers are not compared (invalid or past saturation).",
            described("ttft_mean_s", points), count_text(points),
        )  # fmt: skip


def _draw(ax: "Axes", points: Sequence[PointResult], arm: Arm, key: str) -> None:
    known = [(rate_of(p), e, p.arms[arm]) for p in points if (e := estimate_of(p, arm, key)) is not None]
    if not known:
        return
    xs, ys = [x for x, _, _ in known], [e.value * 1e3 for _, e, _ in known]
    line(ax, arm, xs, ys)
    # A logarithmic axis has no place for an end at 0.
    ends = [
        None if e.interval is None else (max(e.interval.low, 1e-3 * e.value) * 1e3, e.interval.high * 1e3)
        for _, e, _ in known
    ]
    spread(ax, xs, ends, COLOUR[arm])
    markers(ax, arm, [(x, y, compared(a)) for x, y, (_, _, a) in zip(xs, ys, known, strict=True)])


def _bound(ax: "Axes", points: Sequence[PointResult]) -> None:
    """What the baseline's TTFT can shrink to, at points whose latencies stand."""
    places = []
    for p in points:
        base = estimate_of(p, "baseline", "ttft_mean_s")
        if p.bound is not None and base is not None and compared(p.arms["baseline"]):
            places.append((rate_of(p), base.value / p.bound.ttft * 1e3))
    if places:
        xs, ys = zip(*places, strict=True)
        mark = "_" if len(places) == 1 else "None"
        ax.plot(
            xs,
            ys,
            color=INK,
            linestyle=BOUND_LINE,
            linewidth=1,
            marker=mark,
            markersize=9,
            label="baseline ÷ ratio of prompt FLOPs",
            zorder=1,
        )


def _scale(ax: "Axes", points: Sequence[PointResult], key: str) -> None:
    """Logarithmic where the largest figure is over six times the smallest, else linear from 0; bands may be cut."""
    values = [e.value * 1e3 for p in points for arm in p.arms if (e := estimate_of(p, arm, key)) is not None]
    ax.yaxis.set_major_formatter(plain)
    ax.xaxis.set_major_formatter(plain)
    ax.set_xlim(0, max(rate_of(p) for p in points) * 1.06)
    if not values or max(values) == 0:
        ax.set_ylim(0, 1)
        return
    top = max(1.1 * max(values), min(ax.get_ylim()[1], 1.6 * max(values)))
    if max(values) > 6 * min(values) > 0:
        ax.set_yscale("log")
        ax.set_ylim(0.7 * min(values), top)
        log_ticks(ax)
    else:
        ax.set_ylim(0, top)
