"""How many requests meet the latency objective, against request rate."""

from collections.abc import Sequence

from swiftkv_bench import units
from swiftkv_bench.analysis.values import PerfAnalysis
from swiftkv_bench.render import wording
from swiftkv_bench.render.drawing import COLOUR, INK, Figure, legend, open_canvas
from swiftkv_bench.render.figures.marks import (
    BOUND_LINE,
    arms_of,
    count_text,
    line,
    markers,
    outputs,
    paced_by_length,
    plain,
    rate_of,
    spread,
)
from swiftkv_bench.render.wording import ARM


def objective(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """A column an input length; None without an objective or rates."""
    lengths = paced_by_length(perf.points)
    if perf.objective is None or not lengths:
        return None
    points = [p for here in lengths.values() for p in here]
    with open_canvas(max(4.8, 2.7 * len(lengths) + 0.8), 2.8) as (canvas, save):
        row = canvas.subplots(1, len(lengths), squeeze=False, sharey=True)[0]
        for ax, here in zip(row, lengths.values(), strict=True):
            for arm in arms_of(here):
                known = [(rate_of(p), p.arms[arm]) for p in here if arm in p.arms and p.arms[arm].goodput_share]
                shares = [a.goodput_share for _, a in known if a.goodput_share is not None]
                xs, ys = [x for x, _ in known], [value * 100 for value, _ in shares]
                line(ax, arm, xs, ys)
                spread(ax, xs, [(i.low * 100, i.high * 100) for _, i in shares], COLOUR[arm])
                markers(ax, arm, [(x, y, a.valid) for (x, a), y in zip(known, ys, strict=True)])
            ax.axhline(perf.objective.share * 100, color=INK, linestyle=BOUND_LINE, linewidth=1, label="objective")
            ax.set_title(f"{wording.length(here[0].point.input_len)} input tokens")
            ax.set_xlabel("Request rate, 1/s")
            ax.set_xlim(0, max(rate_of(p) for p in here) * 1.06)
            ax.set_ylim(-4, 104)
            ax.xaxis.set_major_formatter(plain)
        row[0].set_ylabel("Requests that meet it, %")
        legend(canvas, row[0])
        return save(
            "objective_vs_rate", formats, f"Requests with {perf.objective.text}, against request rate",
            f"{outputs(points)}. Bands: 95 % Wilson interval over requests. Open markers: no valid trial.",
            "; ".join(
                f"{wording.point(p.point)}: " + ", ".join(
                    f"{ARM[arm]} {units.percent(a.goodput_share[0], 0)}" for arm, a in p.arms.items() if a.goodput_share
                ) for p in points
            ), count_text(points),
        )  # fmt: skip
