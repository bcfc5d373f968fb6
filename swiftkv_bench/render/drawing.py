"""How figures look and are written: colours, style, one canvas, deterministic files. The only importer of matplotlib.

Arms differ in shade, marker and line so that figures read in grey.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swiftkv_bench.schema.engine import Arm

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


@contextmanager
def open_canvas(width: float, height: float) -> Iterator[tuple["Canvas", Callable[..., Figure]]]:
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


def legend(canvas: "Canvas", ax: "Axes", columns: int = 4) -> None:
    """One legend above the axes."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        canvas.legend(handles, labels, loc="outside upper left", ncols=columns, handlelength=2.4, columnspacing=1.6)
