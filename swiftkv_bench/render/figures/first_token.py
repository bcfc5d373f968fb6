"""Where the time to the first token goes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swiftkv_bench import units
from swiftkv_bench.analysis.values import Breakdown, PerfAnalysis, PointResult
from swiftkv_bench.render import wording
from swiftkv_bench.render.drawing import COLOUR, Figure, open_canvas
from swiftkv_bench.render.figures.marks import count_text, unpaced
from swiftkv_bench.render.wording import ARM
from swiftkv_bench.schema.engine import Arm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = (("queue_s", "queue", 0.35, "////"), ("prefill_s", "prefill", 1.0, None), ("rest_s", "rest", 0.12, None))
"""Field, name, opacity and hatching, without which the queue of one arm looks like the prefill of the other."""
_SEEN = 0.012
"""Share of the axis from which a part is seen."""
_Row = tuple[PointResult, Arm, Breakdown]


def first_token(perf: PerfAnalysis, formats: Sequence[str]) -> Figure | None:
    """A bar an arm and point, in parts of the slower arm's; None without server counters."""
    rows: list[_Row] = [
        (p, arm, a.breakdown)
        for p in perf.points
        for arm, a in p.arms.items()
        if a.breakdown is not None and a.breakdown.ttft_s > 0 and not unpaced(p)
    ]
    if not rows:
        return None
    with open_canvas(6.8, 0.25 * len(rows) + 1.4) as (canvas, save):
        from matplotlib.patches import Patch

        ax = canvas.subplots()
        places = _bars(ax, rows)
        names = [
            f"{wording.length(p.point.input_len)} in, {wording.load(p.point.arrivals)}, {ARM[arm]}"
            for p, arm, _ in rows
        ]
        arms = [arm for arm in ARM if any(arm == of_row for _, of_row, _ in rows)]
        canvas.legend(
            handles=[
                Patch(facecolor=COLOUR[a], alpha=shade, edgecolor=COLOUR[a], hatch=hatch, label=f"{ARM[a]}, {name}")
                for _, name, shade, hatch in _PARTS
                for a in arms
            ],
            loc="outside upper left", ncols=len(_PARTS),
        )  # fmt: skip
        ax.set_ylim(places[0] - 0.7, places[-1] + 0.7)
        ax.set_yticks(places, names)
        ax.invert_yaxis()
        ax.set_xlim(0, 115 if not any(_thin(split, split.ttft_s) for _, _, split in rows) else 150)
        ax.set_xticks(range(0, 101, 25))
        ax.set_xlabel("Mean TTFT, % of the slower arm's at the same load")
        ax.grid(visible=False, axis="y")
        return save(
            "first_token", formats, "Where the first token's time goes",
            "Queue and prefill are the server's counters; rest is network, tokenising and sending. At the "
            "bar's end: mean TTFT, and the parts too thin to be seen.",
            "; ".join(f"{n}: {units.duration(split.ttft_s)}" for n, (_, _, split) in zip(names, rows, strict=True)),
            count_text([p for p, _, _ in rows]),
        )  # fmt: skip


def _bars(ax: "Axes", rows: Sequence[_Row]) -> list[float]:
    """Draws them; returns their places."""
    slowest: dict[str, float] = {}
    for p, _, split in rows:
        slowest[p.point.point_id] = max(slowest.get(p.point.point_id, 0.0), split.ttft_s)
    previous, at, places = None, 0.0, []
    for p, arm, split in rows:
        at += 1.0 if p is previous or previous is None else 1.6
        previous = p
        places.append(at)
        left = 0.0
        for name, _, shade, hatch in _PARTS:
            share = max(0.0, getattr(split, name)) / slowest[p.point.point_id] * 100
            colour = COLOUR[arm]
            ax.barh(at, share, 0.86, left=left, color=colour, alpha=shade, edgecolor=colour, linewidth=0.7, hatch=hatch)
            left += share
        text = ", ".join([units.duration(split.ttft_s), *_thin(split, slowest[p.point.point_id])])
        ax.annotate(text, (left, at), xytext=(5, 0), textcoords="offset points", va="center")
    return places


def _thin(split: Breakdown, whole_s: float) -> list[str]:
    """Parts of which a bar of that many seconds shows next to nothing, with their lengths."""
    found = [(name, getattr(split, key)) for key, name, _, _ in _PARTS]
    return [f"{name} {units.duration(value)}" for name, value in found if 0 < value < _SEEN * whole_s]
