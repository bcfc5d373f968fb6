"""A table as plain text in cells; terminal, Markdown and HTML print the same value."""

from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "good", "bad", "open", "quiet"]


@dataclass(frozen=True)
class Cell:
    """Text and what it means: `quiet` is secondary, `open` undecided; `interval` stands behind or below the text."""

    text: str
    tone: Tone = "plain"
    interval: str = ""

    @property
    def whole(self) -> str:
        """Text and interval on one line."""
        return f"{self.text} {self.interval}" if self.interval else self.text


@dataclass(frozen=True)
class Head:
    """A column head; `group` spans equal neighbours."""

    text: str
    group: str = ""
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class TableView:
    """A table ready to print.

    Attributes:
        note: explains its signs.
        folded: background for who wants to check; a page shows it on demand.
        wrap: cells hold prose and may break.
    """

    key: str
    title: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str
    folded: bool = False
    wrap: bool = False
