"""What of a drawn figure cannot be read: ticks, legend, text that is cut off or overlaps."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

TICKS = 3
"""Labelled ticks that an axis of numbers has at least."""
_PIXEL = 1.5


@contextmanager
def canvases(patch: pytest.MonkeyPatch) -> Iterator[list[Canvas]]:
    """Every figure that is saved meanwhile, as it was at its true size."""
    saved: list[Canvas] = []
    save = Canvas.savefig

    def kept(canvas: Canvas, *arguments: Any, **options: Any) -> Any:
        if canvas not in saved:
            saved.append(canvas)
        return save(canvas, *arguments, **options)

    with patch.context() as until:
        until.setattr(Canvas, "savefig", kept)
        yield saved


def problems(canvas: Canvas) -> list[str]:
    """One sentence a fault; empty when the figure can be read."""
    renderer = FigureCanvasAgg(canvas).get_renderer()
    canvas.draw(renderer)
    found: list[str] = []
    for ax in canvas.axes:
        if ax.axison:
            found += _ticks(ax)
    found += _legends(canvas)
    texts = [(text.get_text(), text.get_window_extent(renderer)) for text in _texts(canvas)]
    width, height = canvas.bbox.width, canvas.bbox.height
    for name, box in texts:
        if box.x0 < -_PIXEL or box.y0 < -_PIXEL or box.x1 > width + _PIXEL or box.y1 > height + _PIXEL:
            found.append(f"{name!r} is cut off")
    for (one, a), (other, b) in combinations(texts, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > _PIXEL and down > _PIXEL:
            found.append(f"{one!r} and {other!r} overlap")
    return found


def _ticks(ax: Axes) -> Iterator[str]:
    for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        shown = [
            tick.label1.get_text()
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
            if tick.label1.get_visible() and tick.label1.get_text() and low <= tick.get_loc() <= high
        ]
        is_named = isinstance(axis.get_major_locator(), FixedLocator) and axis.get_scale() == "linear"
        is_hidden = not any(tick.label1.get_visible() for tick in axis.get_major_ticks())
        if not is_hidden and len(shown) < (1 if is_named else TICKS):
            yield f"{name} axis of {ax.get_title() or ax.get_ylabel()!r} has the ticks {shown}"


def _texts(canvas: Canvas) -> list[Any]:
    """Visible texts; of tick labels those within the axis."""
    found = [text for text in canvas.findobj(Text) if text.get_visible() and text.get_text().strip()]
    hidden = set()
    for ax in canvas.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not ax.axison or not low <= tick.get_loc() <= high:
                    hidden |= {id(tick.label1), id(tick.label2)}
                hidden |= {id(label) for label in (tick.label1, tick.label2) if not label.get_visible()}
    return [text for text in found if id(text) not in hidden]


def _legends(canvas: Canvas) -> Iterator[str]:
    """Every entry looks like something that is drawn."""
    drawn = {
        _look(artist) for ax in canvas.axes for artist in (*ax.lines, *ax.patches, *ax.collections) if _has(artist)
    }
    legends: list[Any] = [*canvas.legends, *(ax.get_legend() for ax in canvas.axes if ax.get_legend() is not None)]
    for legend in legends:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            if not any(_look(handle) <= look for look in drawn):
                yield f"the legend's {text.get_text()!r} looks like nothing that is drawn"


def _has(artist: Any) -> bool:
    return not hasattr(artist, "get_xdata") or len(artist.get_xdata()) > 0


def _look(artist: Any) -> frozenset[tuple[str, object]]:
    """Colour, and what else tells it apart: marker, width or hatching."""
    if hasattr(artist, "get_marker"):  # a line
        colour, marker = to_rgba(artist.get_color()), artist.get_marker()
        found: set[tuple[str, object]] = {("colour", colour)}
        if marker not in ("None", None, "", " "):
            found |= {("marker", marker), ("fill", to_rgba(artist.get_markerfacecolor()))}
        else:
            found.add(("width", artist.get_linewidth()))
        return frozenset(found)
    if hasattr(artist, "get_hatch") and hasattr(artist, "get_height"):
        return frozenset({("fill", to_rgba(artist.get_facecolor())), ("hatch", artist.get_hatch())})
    faces = artist.get_facecolor()
    return frozenset({("fill", to_rgba(faces[0]))} if len(faces) else set())
