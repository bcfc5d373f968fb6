"""Forest plots: one row a claim with its interval and the limit it is held against, signs as in the tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.render.drawing import COLOUR, INK, PAPER, QUIET, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_MARKER = {Verdict.PASS: "s", Verdict.INCONCLUSIVE: "o", Verdict.FAIL: "X"}
_THICK, _THIN = 3.4, 1.0
_TO_LIMIT = (0, (1, 1.6))
Side = Literal["left", "right"]


@dataclass(frozen=True)
class ForestRow:
    """One row; figures in the unit of the axis.

    Attributes:
        thick: the bounds that decide; None without.
        thin: a wider interval; None without.
        limit: what is worse than it is worse than allowed; None without.
        verdict: None where nothing is claimed.
        apart: a rule separates the row from those above.
        worse: the side on which it is worse.
    """

    name: str
    value: float
    thick: tuple[float, float] | None
    thin: tuple[float, float] | None
    limit: float | None
    verdict: Verdict | None
    apart: bool = False
    worse: Side = "left"


def height(rows: Sequence[ForestRow], each: float) -> float:
    """Inches that the axes need at so many a row."""
    return each * len(rows) + 0.75 * len(_panels(rows))


def draw_forest(
    canvas: "Canvas", rows: Sequence[ForestRow], label: str, limit: str, *, thick: str = "", thin: str = ""
) -> None:
    """The axes of a forest plot, first row on top, a panel for either side on which rows are worse.

    Args:
        limit: names the tick of the limit in the legend.
        thick: names the thick bars there.
        thin: names the thin ones.
    """
    panels = _panels(rows)
    ratios = [len(of_side) + 1 for of_side in panels.values()]
    grid = canvas.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": ratios})
    for ax, (side, of_side) in zip(grid[:, 0], panels.items(), strict=True):
        for y, row in enumerate(of_side):
            _draw_row(ax, y, row)
            if row.apart and y:
                ax.axhline(y - 0.5, color=QUIET, linewidth=0.5)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_yticks(range(len(of_side)), [row.name for row in of_side])
        ax.set_ylim(len(of_side) - 0.4, -0.6)
        ax.set_xlabel(f"← worse     {label}" if side == "left" else f"{label}     worse →")
        ax.grid(visible=False, axis="y")
    first = grid[0, 0]
    _name_marks(first, rows, limit, thick, thin)
    legend(canvas, first, columns=3)


def _panels(rows: Sequence[ForestRow]) -> dict[Side, list[ForestRow]]:
    sides: tuple[Side, ...] = ("right", "left")
    return {side: found for side in sides if (found := [row for row in rows if row.worse == side])}


def _name_marks(ax: "Axes", rows: Sequence[ForestRow], limit: str, thick: str, thin: str) -> None:
    """For the legend, what the rows have."""
    colour = COLOUR["swiftkv"]
    for verdict, marker in _MARKER.items():
        if any(row.verdict is verdict for row in rows):
            fill = PAPER if verdict is Verdict.INCONCLUSIVE else colour
            ax.plot([], [], marker=marker, color=colour, markerfacecolor=fill, linestyle="", label=verdict.value)
    if any(row.limit is not None for row in rows):
        ax.plot([], [], marker="|", markersize=11, markeredgewidth=1.4, color=INK, linestyle=_TO_LIMIT, linewidth=1,
                label=limit)  # fmt: skip
    for name, width, drawn in ((thick, _THICK, "thick"), (thin, _THIN, "thin")):
        if name and any(getattr(row, drawn) is not None for row in rows):
            ax.plot([], [], color=colour, linewidth=width, solid_capstyle="butt", label=name)


def _draw_row(ax: "Axes", y: int, row: ForestRow) -> None:
    colour = COLOUR["swiftkv"]
    if row.limit is not None:
        ax.plot([row.value, row.limit], [y, y], color=INK, linewidth=1, linestyle=_TO_LIMIT, zorder=1)
        ax.plot([row.limit], [y], color=INK, marker="|", markersize=11, markeredgewidth=1.4, zorder=3)
    if row.thin is not None:
        ax.plot(row.thin, [y, y], color=colour, linewidth=_THIN)
    if row.thick is not None:
        ax.plot(row.thick, [y, y], color=colour, linewidth=_THICK, solid_capstyle="butt")
    marker = _MARKER.get(row.verdict or Verdict.INCONCLUSIVE, "o")
    fill = PAPER if row.verdict is Verdict.INCONCLUSIVE else colour
    ax.plot([row.value], [y], marker=marker, color=colour, markerfacecolor=fill, markersize=7, markeredgewidth=1.4,
            zorder=4)  # fmt: skip
