"""The items that a page shows: texts stored once, packed, bounded; decoded and set as text by `items.js`."""

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftkv_bench.analysis.values import AccuracyAnalysis, ItemView
from swiftkv_bench.render.wording import ARM

PACKED_BYTES = 2_000_000
"""Most bytes of packed items in a page, so that it stays below 3 MB."""
PROMPT_SHOWN, ANSWER_SHOWN = 8_000, 8_000
"""Characters of a prompt's end and of an answer's start that are kept."""
HEAD_SHARED = 200
"""Characters that the prompts of a task must share before their common beginning is stored apart."""
QUESTION_SHOWN = 160
"""Characters of the question in an item's line."""

_FLIPS = ("same", "lost", "gained")
_USER_TURN = re.compile(r"<\|start_header_id\|>user<\|end_header_id\|>\s*(.*?)(?:<\|eot_id\|>|\Z)", re.DOTALL)
_SPECIAL = re.compile(r"<\|[a-z_]+\|>")


@dataclass(frozen=True)
class Browser:
    """The items of one suite.

    Attributes:
        columns: key and title of each column that has items.
        packed: deflated JSON in base 64.
        counts: how many items are shown under each choice of the filter.
    """

    title: str
    note: str
    columns: tuple[tuple[str, str], ...]
    packed: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Listing:
    """Items to show, and what is said of them.

    Attributes:
        items: in order; the last ones are left out where they do not fit.
        titles: column -> its title.
        sides: whose answers they are, key -> name.
        note: said above the list; `{shown}` stands for the number of items.
        rest: added when items are left out; `{left}` stands for their number.
        left: items left out before.
    """

    title: str
    items: Sequence[ItemView]
    titles: Mapping[str, str]
    sides: Mapping[str, str]
    note: str
    rest: str = " {left:,} more do not fit."
    left: int = 0


def browser(part: AccuracyAnalysis, room: int = PACKED_BYTES) -> Browser:
    """The items of a suite, flips first."""
    listing = Listing(
        title=f"Suite {part.plan.suite}",
        items=part.items,
        titles={c.column.name: c.column.title for c in part.columns},
        sides={str(arm): text for arm, text in ARM.items()},
        note=f"{{shown:,}} of {part.items_total:,} items; {part.flips_total:,} flipped between baseline and SwiftKV.",
        rest=" {left:,} more are in items.jsonl of the run: every flip goes first, the rest is a seeded sample.",
        left=part.items_total - len(part.items),
    )
    return pack(listing, room)


def pack(listing: Listing, room: int = PACKED_BYTES) -> Browser:
    """As many items as fit into `room` bytes, in the given order."""
    shown = list(listing.items)
    packed = _packed(shown, listing.titles, listing.sides)
    while len(packed) > room and shown:
        shown = shown[: min(len(shown) - 1, int(len(shown) * room / len(packed) * 0.95))]
        packed = _packed(shown, listing.titles, listing.sides)
    counts = {flip: sum(item.flip == flip for item in shown) for flip in _FLIPS}
    counts["unparsed"] = sum(any(a.unparsed for a in item.answers.values()) for item in shown)
    present = {item.column for item in shown}
    left = listing.left + len(listing.items) - len(shown)
    note = listing.note.format(shown=len(shown)) + (listing.rest.format(left=left) if left else "")
    columns = tuple((name, text) for name, text in listing.titles.items() if name in present)
    return Browser(listing.title, note, columns, packed, counts)


def question(prompt: str) -> str:
    """The part of a prompt that tells items apart, on one line: the last user turn, else the last paragraph."""
    turns = _USER_TURN.findall(prompt)
    text = turns[-1] if turns else prompt
    paragraphs = [p for p in _SPECIAL.sub(" ", text).split("\n\n") if p.strip()]
    found = " ".join((paragraphs[-1] if paragraphs and not turns else " ".join(paragraphs)).split())
    return found if len(found) <= QUESTION_SHOWN else found[:QUESTION_SHOWN].rstrip() + " …"


@dataclass
class _Texts:
    """Every text once; an item holds its place."""

    places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


def _packed(items: Sequence[ItemView], titles: Mapping[str, str], sides: Mapping[str, str]) -> str:
    texts, heads = _Texts(), _heads(items)
    rows = [_row(item, heads.get((item.column, item.task), ""), texts) for item in items]
    content = {"titles": titles, "arms": sides, "texts": list(texts.places), "items": rows}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _heads(items: Sequence[ItemView]) -> dict[tuple[str, str], str]:
    """The beginning that all prompts of a task share, to the end of a line; absent when it is short."""
    ends: dict[tuple[str, str], list[str]] = {}
    for item in items:
        if item.prompt is not None:
            ends.setdefault((item.column, item.task), []).append(item.prompt)
    out = {}
    for key, prompts in ends.items():
        low, high = min(prompts), max(prompts)
        same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
        head = low[: low.rfind("\n", 0, same) + 1]
        if len(head) >= HEAD_SHARED and len(prompts) > 1:
            out[key] = head
    return out


def _row(item: ItemView, head: str, texts: _Texts) -> dict[str, Any]:
    prompt = (item.prompt or "")[len(head) :]
    cut = len(prompt) > PROMPT_SHOWN
    row: dict[str, Any] = {
        "c": item.column,
        "t": "" if item.task == item.column else item.task,
        "i": item.doc_id,
        "f": item.flip,
        "q": question(item.prompt or ""),
        "h": texts.place("" if cut else head),
        "p": texts.place("… " + prompt[-PROMPT_SHOWN:] if cut else prompt),
        "e": texts.place(item.target),
        "a": [
            {"a": arm, "s": round(a.score, 4), "x": texts.place(_start(a.text)), "u": int(a.unparsed)}
            | ({} if a.read is None else {"r": texts.place(_start(a.read))})
            for arm, a in item.answers.items()
        ],
    }
    return row


def _start(text: str) -> str:
    return text if len(text) <= ANSWER_SHOWN else text[:ANSWER_SHOWN] + " …"
