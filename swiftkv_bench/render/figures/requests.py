"""Every request of one point."""

from collections.abc import Sequence

from swiftkv_bench.analysis.values import PerfAnalysis
from swiftkv_bench.render import wording
from swiftkv_bench.render.drawing import COLOUR, MARKER, Figure, legend, open_canvas
from swiftkv_bench.render.figures.marks import arms_of, count_text, described, input_tokens, log_ticks, rate_of
from swiftkv_bench.render.wording import ARM


def requests(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """Of the longest input at its highest rate that is compared; None without one."""
    paced = [p for p in perf.points if p.point.arrivals.rate is not None]
    paced = [p for p in paced if all(len(a.sample.ttft_s) for a in p.arms.values())]
    best = [p for p in paced if p.gains and p.withheld is None] or paced
    if not best:
        return None
    p = max(best, key=lambda p: (input_tokens(p), rate_of(p)))
    with open_canvas(6.8, 3.0) as (canvas, save):
        ax = canvas.subplots()
        size = 11 if max(a.sample.of for a in p.arms.values()) > 100 else 22
        for arm in arms_of([p]):
            s = p.arms[arm].sample
            ax.scatter(s.scheduled_s, s.ttft_s * 1e3, s=size, marker=MARKER[arm], color=COLOUR[arm], alpha=0.75,
                       linewidths=0, label=ARM[arm])  # fmt: skip
        ax.set_yscale("log")
        log_ticks(ax)
        ax.set_xlabel("Scheduled time in the trial, s")
        ax.set_ylabel("TTFT, ms")
        legend(canvas, ax)
        thinned = any(len(a.sample.ttft_s) < a.sample.of for a in p.arms.values())
        return save(
            "requests", formats, f"Time to first token of every request: {wording.point(p.point)}",
            "All trials over one another" + (", thinned evenly for drawing." if thinned else "."),
            described("ttft_mean_s", [p]), count_text([p]),
        )  # fmt: skip
