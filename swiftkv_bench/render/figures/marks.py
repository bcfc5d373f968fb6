"""What several figures share: which points and arms, marks on axes, captions, tick labels."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swiftkv_bench.analysis.values import Estimate, PointArm, PointResult
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.render import wording
from swiftkv_bench.render.drawing import COLOUR, INK, LINE, MARKER, PAPER
from swiftkv_bench.render.wording import ARM
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import UNPACED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BOUND_LINE = (0, (1, 1.6))


def compared(a: PointArm) -> bool:
    """Whether the arm's latencies stand: valid, and not past saturation."""
    return a.valid and not a.saturated


def unpaced(p: PointResult) -> bool:
    """Whether the server set the pace."""
    return p.point.arrivals.process in UNPACED


def input_tokens(p: PointResult) -> float:
    """Mean input length."""
    return p.point.input_len.mean


def rate_of(p: PointResult) -> float:
    """Request rate, 1/s; 0 without one."""
    return p.point.arrivals.rate or 0.0


def paced_by_length(points: Sequence[PointResult]) -> dict[float, list[PointResult]]:
    """Input length -> its points at a rate, by rising rate."""
    paced = sorted(
        (p for p in points if p.point.arrivals.rate is not None), key=lambda p: (input_tokens(p), rate_of(p))
    )
    found: dict[float, list[PointResult]] = {}
    for p in paced:
        found.setdefault(input_tokens(p), []).append(p)
    return found


def arms_of(points: Sequence[PointResult]) -> list[Arm]:
    """Arms that any of the points has, in order of drawing."""
    order: tuple[Arm, ...] = ("baseline", "swiftkv-full", "swiftkv")
    return [arm for arm in order if any(arm in p.arms for p in points)]


def estimate_of(p: PointResult, arm: Arm, key: str) -> Estimate | None:
    """The arm's figure at a point; None where it has none."""
    measured = p.arms.get(arm)
    return None if measured is None else measured.estimates.get(key)


def top_of(e: Estimate) -> float:
    """Upper end of the interval, else the value."""
    return e.interval.high if e.interval is not None else e.value


def whisker(ax: "Axes", x: float, e: Estimate) -> None:
    """The interval as a thin line."""
    if e.interval is not None:
        ax.plot([x, x], [max(0.0, e.interval.low), e.interval.high], color=INK, linewidth=1)


def markers(ax: "Axes", arm: Arm, places: Sequence[tuple[float, float, bool]]) -> None:
    """Markers at (x, y, filled); open ones for what is not compared."""
    for x, y, filled in places:
        fill = COLOUR[arm] if filled else PAPER
        ax.plot([x], [y], marker=MARKER[arm], color=COLOUR[arm], markerfacecolor=fill, markeredgewidth=1.3, zorder=3)


def line(ax: "Axes", arm: Arm, xs: Sequence[float], ys: Sequence[float]) -> None:
    """The arm's line, with its name for the legend."""
    ax.plot(xs, ys, color=COLOUR[arm], linestyle=LINE[arm], label=ARM[arm], zorder=2)


def spread(ax: "Axes", xs: Sequence[float], intervals: Sequence[tuple[float, float] | None], colour: str) -> None:
    """Intervals: a band between neighbours that both have one, else a line; nothing where there is none."""
    known = [(x, ends) for x, ends in zip(xs, intervals, strict=True) if ends is not None]
    for i in range(len(xs) - 1):
        here, following = intervals[i], intervals[i + 1]
        if here is not None and following is not None:
            low, high = zip(here, following, strict=True)
            ax.fill_between(xs[i : i + 2], low, high, color=colour, alpha=0.18, linewidth=0)
    if any(ends is None for ends in intervals) or len(xs) == 1:
        ax.vlines([x for x, _ in known], [e[0] for _, e in known], [e[1] for _, e in known], color=colour, linewidth=1)


def tick(p: PointResult) -> str:
    """Label of a point on an axis of input lengths."""
    text = wording.length(p.point.input_len)
    return text if p.point.arrivals.process == "all-at-once" else f"{text}\n{wording.load(p.point.arrivals)}"


def sent(points: Sequence[PointResult]) -> str:
    """How requests were sent, for a caption."""
    kinds = list(dict.fromkeys(wording.load(p.point.arrivals) for p in points))
    return f"Requests {', '.join(kinds)}; {outputs(points)}"


def outputs(points: Sequence[PointResult]) -> str:
    """Output lengths, for a caption."""
    lengths = list(dict.fromkeys(wording.length(p.point.output_len) for p in points))
    return f"{' and '.join(lengths)} output token{'' if lengths == ['1'] else 's'}"


def count_text(points: Sequence[PointResult]) -> str:
    """The n that stands on the figure."""
    counts = sorted({a.ok for p in points for a in p.arms.values()})
    trials = sorted({a.trials for p in points for a in p.arms.values()})
    spans = [f"{c[0]:,}" if c[0] == c[-1] else f"{c[0]:,} to {c[-1]:,}" for c in (counts, trials)]
    return f"n = {spans[0]} requests an arm and point in {spans[1]} trial{'s' if trials[-1] != 1 else ''}"


def described(key: str, points: Sequence[PointResult]) -> str:
    """The figure in words."""
    out = []
    for p in points:
        values = [f"{ARM[arm]} {wording.estimate(key, a.estimates.get(key))}" for arm, a in p.arms.items()]
        out.append(f"{wording.point(p.point)}: {', '.join(values)}")
    return f"{METRICS[key].title}. " + "; ".join(out)


def short_count(value: float, _: object = None) -> str:
    """Tick label: `20k`, `2,000`."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:,g}"


def plain(value: float, _: object = None) -> str:
    """Tick label without an exponent."""
    return f"{value:,.10g}"


def log_ticks(ax: "Axes") -> None:
    """At least three labelled ticks on a logarithmic axis of any length: decades, else 1-3, 1-2-5, or even steps."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    low, high = ax.get_ylim()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = ([head * 10.0**k for k in decades for head in heads] for heads in ((1,), (1, 3), (1, 2, 5)))
    even = MaxNLocator(5, min_n_ticks=3).tick_values(low, high)
    found: list[float] = []
    for ticks in (*steps, even):
        found = [value for value in ticks if low <= value <= high]
        if len(found) >= 3:
            break
    ax.yaxis.set_major_locator(FixedLocator(found))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(plain)


def lengths_label(points: Sequence[PointResult]) -> str:
    """Label of an axis of input lengths: which load each stands for."""
    if all(p.point.arrivals.process == "all-at-once" for p in points):
        return "Input length, tokens; requests all at once"
    return "Input length, tokens, and how requests came"
