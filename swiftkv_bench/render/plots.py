"""Figures of an analysis: the model card's two, the gain with its bound, single requests, accuracy differences.

An open marker is a point that is not compared (invalid, or past saturation).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from swiftkv_bench import units
from swiftkv_bench.analysis.values import (
    METRICS,
    AccuracyAnalysis,
    Analysis,
    Comparison,
    Estimate,
    PerfAnalysis,
    PointArm,
    PointResult,
)
from swiftkv_bench.render import wording
from swiftkv_bench.render.drawing import (
    COLOUR,
    FIRST,
    HATCH,
    INK,
    LINE,
    MARKER,
    PAPER,
    Figure,
    legend,
    open_canvas,
)  # fmt: skip
from swiftkv_bench.render.forest import ForestRow, draw_forest
from swiftkv_bench.render.wording import ARM
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import UNPACED

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def figures(analysis: Analysis, formats: Sequence[str] = ("svg", "png")) -> tuple[Figure, ...]:
    """Every figure that the analysis has data for, in order of reading."""
    found: list[Figure | None] = []
    for perf in analysis.perf:
        found += [
            throughput(perf, formats), gain(perf, formats), latency(perf, formats), first_token(perf, formats),
            requests(perf, formats),
        ]  # fmt: skip
    found += [accuracy(part, formats) for part in analysis.accuracy]
    return tuple(f for f in found if f is not None)


def throughput(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """Combined throughput against input length, arms side by side; None without points sent all at once."""
    points = sorted((p for p in perf.points if _unpaced(p)), key=_input)
    if not points:
        return None
    arms = _arms(points)
    with open_canvas(max(4.6, 1.3 * len(points) + 2.2), 3.2) as (canvas, save):
        ax = canvas.subplots()
        width = 0.78 / len(arms)
        for k, arm in enumerate(arms):
            for x, p in enumerate(points):
                found = _estimate(p, arm, "total_throughput")
                if found is None:
                    continue
                at = x + (k - (len(arms) - 1) / 2) * width
                solid = p.arms[arm].valid
                ax.bar(
                    at, found.value, width * 0.94, color=COLOUR[arm] if solid else "none", edgecolor=COLOUR[arm],
                    hatch=HATCH[arm] or None, linewidth=1, label=ARM[arm] if x == 0 else None,
                )  # fmt: skip
                _whisker(ax, at, found)
        for x, p in enumerate(points):
            top = max((_top(e) for arm in arms if (e := _estimate(p, arm, "total_throughput")) is not None), default=0)
            if "total_throughput" in p.gains:
                ax.annotate(
                    units.ratio(p.gains["total_throughput"].value), (x, top), xytext=(0, 5), ha="center",
                    textcoords="offset points", fontweight="bold",
                )  # fmt: skip
        ax.set_xticks(range(len(points)), [_tick(p) for p in points])
        ax.set_xlabel("Input length, tokens")
        ax.set_ylabel("Prompt + output tokens/s")
        ax.grid(visible=False, axis="x")
        ax.yaxis.set_major_formatter(_counts)
        ax.margins(y=0.14)
        legend(canvas, ax)
        return save(
            "throughput_vs_input", formats, "Combined throughput against input length",
            f"{_sent(points)}. Whiskers: 95 % interval over trials. Above the bars: gain of SwiftKV.",
            _described("total_throughput", points), _n(points),
        )  # fmt: skip


def latency(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """TTFT (top) and TPOT (bottom) against request rate, a column an input length; None without rates."""
    points = [p for p in perf.points if p.point.arrivals.rate is not None]
    if not points:
        return None
    lengths = sorted({_input(p) for p in points})
    keys = ("ttft_mean_s", "tpot_mean_s")
    with open_canvas(max(4.8, 2.7 * len(lengths) + 0.8), 4.6) as (canvas, save):
        grid = canvas.subplots(2, len(lengths), squeeze=False, sharex="col")
        for column, size in enumerate(lengths):
            here = sorted((p for p in points if _input(p) == size), key=lambda p: p.point.arrivals.rate or 0)
            for row, key in enumerate(keys):
                ax = grid[row][column]
                for arm in _arms(here):
                    _line(ax, here, arm, key, lambda p: p.point.arrivals.rate or 0.0)
                _scale(ax, here, key)
                if row == 0:
                    ax.set_title(f"{wording.length(here[0].point.input_len)} input tokens")
                    _bound_line(ax, here)
                else:
                    ax.set_xlabel("Request rate, 1/s")
        grid[0][0].set_ylabel("TTFT, ms")
        grid[1][0].set_ylabel("TPOT, ms")
        canvas.align_ylabels(grid[:, 0])
        legend(canvas, grid[0][0])
        return save(
            "latency_vs_rate", formats, "Time to first token and time per output token against request rate",
            f"Poisson arrivals; {_outputs(points)}. Bands: 95 % interval over trials; one that leaves the axes is "
            "wider still. Dotted: baseline ÷ the FLOP bound of the prompt, which ignores queueing. Open markers are "
            "not compared (invalid or past saturation).",
            _described("ttft_mean_s", points), _n(points),
        )  # fmt: skip


def gain(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """Gain against input length with band and bound; None without a gain to show."""
    points = sorted((p for p in perf.points if _unpaced(p)), key=_input)
    if not points:
        rates = sorted({p.point.arrivals.rate or 0.0 for p in perf.points if p.gains})
        points = sorted((p for p in perf.points if rates and p.point.arrivals.rate == rates[0]), key=_input)
    if not any(p.gains for p in points):
        return None
    keys: tuple[tuple[str, str, str, str], ...] = (
        ("total_throughput", "throughput", COLOUR["swiftkv"], "s"),
        ("ttft_mean_s", "ttft", FIRST, "D"),
    )
    keys = keys if _unpaced(points[0]) else keys[1:]
    with open_canvas(max(4.6, 1.3 * len(points) + 2.2), 3.2) as (canvas, save):
        ax = canvas.subplots()
        for key, bound, colour, marker in keys:
            shown = [(x, p) for x, p in enumerate(points) if key in p.gains]
            xs, ys = [x for x, _ in shown], [p.gains[key].value for _, p in shown]
            low = [i.low if (i := p.gains[key].interval) else p.gains[key].value for _, p in shown]
            high = [i.high if (i := p.gains[key].interval) else p.gains[key].value for _, p in shown]
            ax.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)
            ax.vlines(xs, low, high, color=colour, linewidth=1)
            ax.plot(xs, ys, color=colour, marker=marker, label=METRICS[key].title)
            limits = [
                (x, limit) for x, p in enumerate(points) if p.bound and (limit := getattr(p.bound, bound)) is not None
            ]
            if limits:
                ax.plot(*zip(*limits, strict=True), color=colour, linestyle=(0, (1, 1.6)), linewidth=1.2,
                        label=f"bound, {'whole requests' if bound == 'throughput' else 'prompt'}")  # fmt: skip
        ax.axhline(1, color=INK, linewidth=0.8)
        ax.set_xticks(range(len(points)), [_tick(p) for p in points])
        ax.set_xlim(-0.4, len(points) - 0.6)
        ax.set_ylim(bottom=min(0.9, ax.get_ylim()[0]))
        ax.set_xlabel("Input length, tokens")
        ax.set_ylabel("Gain of SwiftKV over baseline, ×")
        legend(canvas, ax, columns=2)
        return save(
            "gain_vs_input", formats, "Gain of SwiftKV against input length, and what arithmetic allows",
            f"{_sent(points)}. Above 1 SwiftKV is better. Bands: 95 % interval of the paired ratio.",
            "; ".join(f"{_tick(p)} tokens: {wording.gain(p.gains.get('ttft_mean_s'))}" for p in points), _n(points),
        )  # fmt: skip


def first_token(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """Where mean TTFT goes, a bar an arm and point; None without server counters."""
    shown = [
        (p, arm, a.breakdown)
        for p in perf.points
        for arm, a in p.arms.items()
        if a.breakdown is not None and a.breakdown.ttft_s > 0 and not _unpaced(p)
    ]
    if not shown:
        return None
    with open_canvas(6.8, 0.25 * len(shown) + 1.4) as (canvas, save):
        from matplotlib.patches import Patch

        ax = canvas.subplots()
        parts = (("queue_s", "queue", 0.35), ("prefill_s", "prefill", 1.0), ("rest_s", "rest", 0.12))
        previous, at, places = None, 0.0, []
        slowest: dict[str, float] = {}
        for p, _, split in shown:
            slowest[p.point.point_id] = max(slowest.get(p.point.point_id, 0.0), split.ttft_s)
        for p, arm, split in shown:
            at += 1.0 if p is previous or previous is None else 1.6
            previous = p
            places.append(at)
            left = 0.0
            for name, _, shade in parts:
                share = max(0.0, getattr(split, name)) / slowest[p.point.point_id] * 100
                ax.barh(
                    at, share, 0.86, left=left, color=COLOUR[arm], alpha=shade, edgecolor=COLOUR[arm], linewidth=0.7
                )
                left += share
            ax.annotate(
                units.duration(split.ttft_s), (left, at), xytext=(5, 0), textcoords="offset points", va="center"
            )
        names = [f"{_input_text(p)} in, {wording.load(p.point.arrivals)}, {ARM[arm]}" for p, arm, _ in shown]
        canvas.legend(
            handles=[Patch(facecolor=INK, alpha=shade, edgecolor=INK, label=name) for _, name, shade in parts],
            loc="outside upper left", ncols=3,
        )  # fmt: skip
        ax.set_ylim(places[0] - 0.7, places[-1] + 0.7)
        ax.set_yticks(places, names)
        ax.invert_yaxis()
        ax.set_xlim(0, 115)
        ax.set_xticks(range(0, 101, 25))
        ax.set_xlabel("Mean TTFT, % of the slower arm's at the same load")
        ax.grid(visible=False, axis="y")
        return save(
            "first_token", formats, "Where the first token's time goes",
            "Queue and prefill are the server's counters; rest is network, tokenising and sending. At the "
            "bar's end: mean TTFT.",
            "; ".join(f"{n}: {units.duration(split.ttft_s)}" for n, (_, _, split) in zip(names, shown, strict=True)),
            _n([p for p, _, _ in shown]),
        )  # fmt: skip


def requests(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """Every request of the point with the highest valid rate; None without one."""
    paced = [
        p
        for p in perf.points
        if p.point.arrivals.rate is not None and all(len(a.sample.ttft_s) for a in p.arms.values())
    ]
    best = [p for p in paced if p.gains and p.withheld is None] or paced
    if not best:
        return None
    p = max(best, key=lambda p: (_input(p), p.point.arrivals.rate or 0))
    with open_canvas(6.8, 3.0) as (canvas, save):
        ax = canvas.subplots()
        for arm in _arms([p]):
            s = p.arms[arm].sample
            ax.scatter(s.scheduled_s, s.ttft_s * 1e3, s=11, marker=MARKER[arm], color=COLOUR[arm], alpha=0.75,
                       linewidths=0, label=ARM[arm])  # fmt: skip
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(_plain)
        ax.yaxis.set_minor_formatter(_sparse(ax))
        ax.set_xlabel("Scheduled time in the trial, s")
        ax.set_ylabel("TTFT, ms")
        legend(canvas, ax)
        thinned = any(len(a.sample.ttft_s) < a.sample.of for a in p.arms.values())
        return save(
            "requests", formats, f"Time to first token of every request: {wording.point(p.point)}",
            "All trials over one another" + (", thinned evenly for drawing." if thinned else "."),
            _described("ttft_mean_s", [p]), _n([p]),
        )  # fmt: skip


def accuracy(part: AccuracyAnalysis, formats: Sequence[str]) -> Figure | None:
    """Paired differences with their margins, a row a column; None without a comparison."""
    rows: list[tuple[str, Comparison, float | None]] = []
    for c in part.columns:
        if "total" in c.comparisons:
            rows.append((c.column.title, c.comparisons["total"], c.column.margin))
    if not rows:
        return None
    if part.macro is not None and "total" in part.macro.comparisons:
        total = part.macro.comparisons["total"]
        rows.append((f"Average of {len(part.macro.columns)}", total, total.verdict.margin if total.verdict else None))
    with open_canvas(6.8, 0.36 * len(rows) + 1.2) as (canvas, save):
        shown = [_forest_row(*row) for row in rows]
        draw_forest(canvas, shown, "SwiftKV − baseline, percentage points", "−margin")
        return save(
            "accuracy_difference", formats, "Difference in score, with the margin each column allows",
            "Thick bar: 90 % interval, which decides (its ends are the one-sided 95 % bounds). Thin: 95 % interval. "
            "PASS: the thick bar lies right of −margin. FAIL: left of it. INCONCLUSIVE: it spans it, or a check "
            "forbids a claim.",
            "; ".join(f"{name} {wording.points_interval(c.delta.delta, c.delta.interval)}" for name, c, _ in rows),
        )  # fmt: skip


def _forest_row(name: str, comparison: Comparison, margin: float | None) -> ForestRow:
    d, found = comparison.delta, comparison.verdict
    thick = None if found is None or found.low is None or found.high is None else (found.low * 100, found.high * 100)
    return ForestRow(
        name=f"{name}, n {d.n:,}",
        value=d.delta * 100,
        thick=thick,
        thin=None if d.interval is None else (d.interval.low * 100, d.interval.high * 100),
        limit=None if margin is None else -margin * 100,
        verdict=None if found is None else found.verdict,
        apart=name.startswith("Average"),
    )


def _line(ax: "Axes", points: Sequence[PointResult], arm: Arm, key: str, x_of: Callable[[PointResult], float]) -> None:
    known = [(x_of(p), e, p.arms[arm]) for p in points if (e := _estimate(p, arm, key)) is not None]
    if not known:
        return
    xs, ys = [x for x, _, _ in known], [e.value * 1e3 for _, e, _ in known]
    ax.plot(xs, ys, color=COLOUR[arm], linestyle=LINE[arm], label=ARM[arm], zorder=2)
    # A logarithmic axis has no place for an end at 0.
    low = [max(e.interval.low if e.interval else e.value, 1e-3 * e.value) * 1e3 for _, e, _ in known]
    high = [(e.interval.high if e.interval else e.value) * 1e3 for _, e, _ in known]
    ax.fill_between(xs, low, high, color=COLOUR[arm], alpha=0.18, linewidth=0)
    for x, y, (_, _, a) in zip(xs, ys, known, strict=True):
        fill = COLOUR[arm] if _compared(a) else PAPER
        ax.plot([x], [y], marker=MARKER[arm], color=COLOUR[arm], markerfacecolor=fill, markeredgewidth=1.3, zorder=3)


def _bound_line(ax: "Axes", points: Sequence[PointResult]) -> None:
    known = [(p, e) for p in points if p.bound is not None and (e := _estimate(p, "baseline", "ttft_mean_s"))]
    if known:
        xs = [p.point.arrivals.rate or 0.0 for p, _ in known]
        ys = [e.value / p.bound.ttft * 1e3 for p, e in known if p.bound is not None]
        ax.plot(xs, ys, color=INK, linestyle=(0, (1, 1.6)), linewidth=1, label="baseline ÷ FLOP bound", zorder=1)


def _scale(ax: "Axes", points: Sequence[PointResult], key: str) -> None:
    """Logarithmic where the largest figure is over six times the smallest, else linear from 0; bands may be cut."""
    values = [e.value * 1e3 for p in points for arm in p.arms if (e := _estimate(p, arm, key)) is not None]
    ax.yaxis.set_major_formatter(_plain)
    ax.set_xlim(left=0)
    if not values:
        return
    top = min(ax.get_ylim()[1], 1.6 * max(values))
    if max(values) > 6 * min(values):
        ax.set_yscale("log")
        ax.set_ylim(0.7 * min(values), top)
        ax.yaxis.set_major_formatter(_plain)
        ax.yaxis.set_minor_formatter(_sparse(ax))
    else:
        ax.set_ylim(0, top)


def _compared(a: PointArm) -> bool:
    return a.valid and not a.saturated


def _unpaced(p: PointResult) -> bool:
    return p.point.arrivals.process in UNPACED


def _input_text(p: PointResult) -> str:
    return wording.length(p.point.input_len)


def _input(p: PointResult) -> float:
    return p.point.input_len.mean


def _arms(points: Sequence[PointResult]) -> list[Arm]:
    order: tuple[Arm, ...] = ("baseline", "swiftkv-full", "swiftkv")
    return [arm for arm in order if any(arm in p.arms for p in points)]


def _estimate(p: PointResult, arm: Arm, key: str) -> Estimate | None:
    measured = p.arms.get(arm)
    return None if measured is None else measured.estimates.get(key)


def _top(e: Estimate) -> float:
    return e.interval.high if e.interval is not None else e.value


def _whisker(ax: "Axes", x: float, e: Estimate) -> None:
    if e.interval is not None:
        ax.plot([x, x], [max(0.0, e.interval.low), e.interval.high], color=INK, linewidth=1)


def _tick(p: PointResult) -> str:
    text = wording.length(p.point.input_len)
    return text if p.point.arrivals.process != "closed-loop" else f"{text}\n{wording.load(p.point.arrivals)}"


def _sent(points: Sequence[PointResult]) -> str:
    kinds = list(dict.fromkeys(wording.load(p.point.arrivals) for p in points))
    return f"Requests {', '.join(kinds)}; {_outputs(points)}"


def _outputs(points: Sequence[PointResult]) -> str:
    lengths = list(dict.fromkeys(wording.length(p.point.output_len) for p in points))
    return f"{' and '.join(lengths)} output tokens"


def _n(points: Sequence[PointResult]) -> str:
    counts = sorted({a.ok for p in points for a in p.arms.values()})
    trials = sorted({a.trials for p in points for a in p.arms.values()})
    spans = [f"{c[0]:,}" if c[0] == c[-1] else f"{c[0]:,} to {c[-1]:,}" for c in (counts, trials)]
    return f"n = {spans[0]} requests an arm and point in {spans[1]} trial{'s' if trials[-1] != 1 else ''}"


def _described(key: str, points: Sequence[PointResult]) -> str:
    out = []
    for p in points:
        values = [f"{ARM[arm]} {wording.estimate(key, a.estimates.get(key))}" for arm, a in p.arms.items()]
        out.append(f"{wording.point(p.point)}: {', '.join(values)}")
    return f"{METRICS[key].title}. " + "; ".join(out)


def _counts(value: float, _: object = None) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:,g}"


def _plain(value: float, _: object = None) -> str:
    return f"{value:,.10g}"


def _sparse(ax: "Axes") -> Callable[[float, float], str]:
    """Labels 2 and 5 of a decade, and only where the axis covers less than two decades."""

    def label(value: float, _: object = None) -> str:
        low, high = ax.get_ylim()
        head = f"{value:e}"[0]
        return _plain(value) if high / low < 100 and head in "25" else ""

    return label
