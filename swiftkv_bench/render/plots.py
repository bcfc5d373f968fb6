"""Figures of an analysis: the model card's two, the gain with its bound, single requests, accuracy differences.

The only importer of matplotlib. Output is deterministic: same analysis, same bytes. Arms differ in shade, marker and
line so that figures read in grey. An open marker is a point that is not compared (invalid, or past saturation).
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from swiftkv_bench.render.wording import ARM
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import UNPACED
from swiftkv_bench.stats.verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

INK, QUIET, GRID, PAPER = "#1f2530", "#5b6472", "#d9dde3", "#ffffff"
COLOUR: dict[Arm, str] = {"baseline": "#8b94a3", "swiftkv": "#0b5394", "swiftkv-full": "#c66a00"}
MARKER: dict[Arm, str] = {"baseline": "o", "swiftkv": "s", "swiftkv-full": "D"}
LINE: dict[Arm, Any] = {"baseline": (0, (5, 1.5)), "swiftkv": "-", "swiftkv-full": (0, (1, 1.2))}
FIRST = "#2f8f83"
"""Colour of a gain in TTFT beside one in throughput."""
HATCH: dict[Arm, str] = {"baseline": "", "swiftkv": "", "swiftkv-full": "////"}

_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "swiftkv-bench",
    "pdf.fonttype": 42,
    "figure.dpi": 100,
    "savefig.dpi": 160,
}


@dataclass(frozen=True)
class Figure:
    """One drawn figure.

    Attributes:
        name: file stem.
        title: what it shows, one line.
        caption: how to read it: n, interval, signs.
        description: the same for one who cannot see it.
        files: suffix -> bytes.
    """

    name: str
    title: str
    caption: str
    description: str
    files: dict[str, bytes]


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
    with _canvas(max(4.6, 1.3 * len(points) + 2.2), 3.2) as (canvas, save):
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
        _legend(canvas, ax)
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
    with _canvas(max(4.8, 2.7 * len(lengths) + 0.8), 4.6) as (canvas, save):
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
        _legend(canvas, grid[0][0])
        return save(
            "latency_vs_rate", formats, "Time to first token and time per output token against request rate",
            f"Poisson arrivals; {_outputs(points)}. Bands: 95 % interval over trials. Dotted: baseline ÷ "
            "the FLOP bound of the prompt, which ignores queueing. Open markers are not compared (invalid or past "
            "saturation).",
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
    with _canvas(max(4.6, 1.3 * len(points) + 2.2), 3.2) as (canvas, save):
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
        _legend(canvas, ax, columns=2)
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
    with _canvas(6.8, 0.25 * len(shown) + 1.4) as (canvas, save):
        from matplotlib.patches import Patch

        ax = canvas.subplots()
        parts = (("queue_s", "queue", 0.35), ("prefill_s", "prefill", 1.0), ("rest_s", "rest", 0.12))
        previous, at, places = None, 0.0, []
        for p, arm, split in shown:
            at += 1.0 if p is previous or previous is None else 1.6
            previous = p
            places.append(at)
            left = 0.0
            for name, _, shade in parts:
                share = max(0.0, getattr(split, name)) / split.ttft_s * 100
                ax.barh(
                    at, share, 0.86, left=left, color=COLOUR[arm], alpha=shade, edgecolor=COLOUR[arm], linewidth=0.7
                )
                left += share
            ax.annotate(units.duration(split.ttft_s), (100, at), xytext=(5, 0), textcoords="offset points", va="center")
        names = [f"{_input_text(p)} in, {wording.load(p.point.arrivals)}, {ARM[arm]}" for p, arm, _ in shown]
        canvas.legend(
            handles=[Patch(facecolor=INK, alpha=shade, edgecolor=INK, label=name) for _, name, shade in parts],
            loc="outside upper left", ncols=3,
        )  # fmt: skip
        ax.set_ylim(places[0] - 0.7, places[-1] + 0.7)
        ax.set_yticks(places, names)
        ax.invert_yaxis()
        ax.set_xlim(0, 100)
        ax.set_xlabel("Share of mean TTFT, %")
        ax.grid(visible=False, axis="y")
        return save(
            "first_token", formats, "Where the first token's time goes",
            "Queue and prefill are the server's counters; rest is network, tokenising and sending. Right: mean TTFT.",
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
    with _canvas(6.8, 3.0) as (canvas, save):
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
        _legend(canvas, ax)
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
    with _canvas(6.8, 0.36 * len(rows) + 1.2) as (canvas, save):
        ax = canvas.subplots()
        for y, (_, comparison, margin) in enumerate(rows):
            _forest_row(ax, y, comparison, margin)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_yticks(range(len(rows)), [f"{name}, n {comparison.delta.n:,}" for name, comparison, _ in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        if rows[-1][0].startswith("Average"):
            ax.axhline(len(rows) - 1.5, color=QUIET, linewidth=0.5)
        ax.set_xlabel("SwiftKV − baseline, percentage points")
        ax.grid(visible=False, axis="y")
        for text, marker in (("PASS", "s"), ("INCONCLUSIVE", "o"), ("FAIL", "X")):
            fill = PAPER if marker == "o" else COLOUR["swiftkv"]
            ax.plot([], [], marker=marker, color=COLOUR["swiftkv"], markerfacecolor=fill, linestyle="", label=text)
        ax.plot([], [], marker="|", markersize=11, markeredgewidth=1.4, color=INK, linestyle="", label="−margin")
        _legend(canvas, ax)
        return save(
            "accuracy_difference", formats, "Difference in score, with the margin each column allows",
            "Thick bar: 90 % interval, which decides (its ends are the one-sided 95 % bounds). Thin: 95 % interval. "
            "PASS: the thick bar lies right of −margin. FAIL: left of it. INCONCLUSIVE: it spans it, or a check "
            "forbids a claim.",
            "; ".join(f"{name} {wording.points_interval(c.delta.delta, c.delta.interval)}" for name, c, _ in rows),
        )  # fmt: skip


def _forest_row(ax: "Axes", y: int, comparison: Comparison, margin: float | None) -> None:
    d, colour = comparison.delta, COLOUR["swiftkv"]
    if d.interval is not None:
        ax.plot([d.interval.low * 100, d.interval.high * 100], [y, y], color=colour, linewidth=1)
    found = comparison.verdict
    if found is not None and found.low is not None and found.high is not None:
        ax.plot([found.low * 100, found.high * 100], [y, y], color=colour, linewidth=3.4, solid_capstyle="butt")
    verdict = None if found is None else found.verdict
    marker = {Verdict.PASS: "s", Verdict.FAIL: "X", Verdict.INCONCLUSIVE: "o"}.get(verdict or Verdict.INCONCLUSIVE, "o")
    fill = PAPER if verdict is Verdict.INCONCLUSIVE else colour
    ax.plot([d.delta * 100], [y], marker=marker, color=colour, markerfacecolor=fill, markersize=7, markeredgewidth=1.4)
    if margin is not None:
        ax.plot([-margin * 100] * 2, [y - 0.32, y + 0.32], color=INK, linewidth=1.4)


def _line(ax: "Axes", points: Sequence[PointResult], arm: Arm, key: str, x_of: Callable[[PointResult], float]) -> None:
    known = [(x_of(p), e, p.arms[arm]) for p in points if (e := _estimate(p, arm, key)) is not None]
    if not known:
        return
    xs, ys = [x for x, _, _ in known], [e.value * 1e3 for _, e, _ in known]
    ax.plot(xs, ys, color=COLOUR[arm], linestyle=LINE[arm], label=ARM[arm], zorder=2)
    low = [(e.interval.low if e.interval else e.value) * 1e3 for _, e, _ in known]
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
    """Logarithmic where the largest figure is over six times the smallest, else linear from 0."""
    values = [e.value for p in points for arm in p.arms if (e := _estimate(p, arm, key)) is not None]
    if values and max(values) > 6 * min(values):
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(_plain)
        ax.yaxis.set_minor_formatter(_sparse(ax))
    else:
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(_plain)
    ax.set_xlim(left=0)


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


def _legend(canvas: "Canvas", ax: "Axes", columns: int = 4) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        canvas.legend(handles, labels, loc="outside upper left", ncols=columns, handlelength=2.4, columnspacing=1.6)


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


@contextmanager
def _canvas(width: float, height: float) -> Iterator[tuple["Canvas", Callable[..., Figure]]]:
    """A figure of this size in inches, and how to finish it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context({**mpl.rcParamsDefault, "backend": "Agg", **_STYLE}):
        canvas = Canvas(figsize=(width, height), layout="constrained")

        def save(name: str, formats: Sequence[str], title: str, caption: str, description: str, n: str = "") -> Figure:
            if n:
                canvas.supxlabel(n, x=0.005, ha="left", fontsize=7.5, color=QUIET)
            # Laid out once: every format then has the same places, and saving does not solve them again.
            canvas.draw_without_rendering()
            canvas.set_layout_engine("none")
            files = {suffix: _bytes(canvas, suffix) for suffix in formats}
            return Figure(name, title, caption, description, files)

        yield canvas, save


def _bytes(canvas: "Canvas", suffix: str) -> bytes:
    """Without a date or program version, which would change from one drawing to the next."""
    blank: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
    }
    out = io.BytesIO()
    canvas.savefig(out, format=suffix, metadata=blank.get(suffix, {}), facecolor=PAPER)
    return out.getvalue()
