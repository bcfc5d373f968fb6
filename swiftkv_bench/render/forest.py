"""Forest plots: one row a claim with its interval and the limit it is held against; the limit lies on the left."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.render.drawing import COLOUR, INK, PAPER, QUIET, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_MARKER = {Verdict.PASS: "s", Verdict.INCONCLUSIVE: "o", Verdict.FAIL: "X"}


@dataclass(frozen=True)
class ForestRow:
    """One row; figures in the unit of the axis.

    Attributes:
        thick: the bounds that decide; None without.
        thin: a wider interval; None without.
        limit: below it is worse than allowed; None without.
        verdict: None where nothing is claimed.
        apart: a rule separates the row from those above.
    """

    name: str
    value: float
    thick: tuple[float, float] | None
    thin: tuple[float, float] | None
    limit: float | None
    verdict: Verdict | None
    apart: bool = False


def draw_forest(canvas: "Canvas", rows: Sequence[ForestRow], label: str, limit: str) -> None:
    """The axes of a forest plot, first row on top; `limit` names the tick of the limit in the legend."""
    ax = canvas.subplots()
    for y, row in enumerate(rows):
        _draw_row(ax, y, row)
        if row.apart and y:
            ax.axhline(y - 0.5, color=QUIET, linewidth=0.5)
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_yticks(range(len(rows)), [row.name for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel(label)
    ax.grid(visible=False, axis="y")
    for verdict, marker in _MARKER.items():
        fill = PAPER if verdict is Verdict.INCONCLUSIVE else COLOUR["swiftkv"]
        ax.plot([], [], marker=marker, color=COLOUR["swiftkv"], markerfacecolor=fill, linestyle="", label=verdict.value)
    ax.plot([], [], marker="|", markersize=11, markeredgewidth=1.4, color=INK, linestyle="", label=limit)
    legend(canvas, ax)


def _draw_row(ax: "Axes", y: int, row: ForestRow) -> None:
    colour = COLOUR["swiftkv"]
    if row.thin is not None:
        ax.plot(row.thin, [y, y], color=colour, linewidth=1)
    if row.thick is not None:
        ax.plot(row.thick, [y, y], color=colour, linewidth=3.4, solid_capstyle="butt")
    marker = _MARKER.get(row.verdict or Verdict.INCONCLUSIVE, "o")
    fill = PAPER if row.verdict is Verdict.INCONCLUSIVE else colour
    ax.plot([row.value], [y], marker=marker, color=colour, markerfacecolor=fill, markersize=7, markeredgewidth=1.4)
    if row.limit is not None:
        ax.plot([row.limit] * 2, [y - 0.32, y + 0.32], color=INK, linewidth=1.4)
