"""Items whose score changed, with their texts where run folders have them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from swiftkv_bench.evidence.answers import Key
from swiftkv_bench.judge.accuracy import AccuracyClaims
from swiftkv_bench.judge.comparison import FlippedItem
from swiftkv_bench.judge.pairs import Pair
from swiftkv_bench.schema.accuracy import ItemRecord
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.store import Run

ITEMS_SHOWN = 200


_Place = tuple[Path, Arm, str, Key]
"""(run folder, arm, column, item) of an answer."""


def flipped_items(found: Sequence[AccuracyClaims]) -> tuple[tuple[FlippedItem, ...], int]:
    """Changed items of the pairs that decide, with texts where run folders have them."""
    changed = [
        (of_pair.pair, c.column.name, flip)
        for of_pair in found
        if of_pair.pair.role != "shown"
        for c in of_pair.columns
        for flip in c.flipped
    ]
    kept = changed[:ITEMS_SHOWN]
    texts = _texts((pair, column, key) for pair, column, (key, _, _) in kept)
    shown = []
    for pair, column, (key, before, after) in kept:
        theirs, ours = (None if place is None else texts.get(place) for place in _places(pair, column, key))
        text = ours or theirs
        shown.append(
            FlippedItem(
                column=column,
                task=key[0],
                doc_id=key[1],
                arm=pair.candidate_arm,
                reference=pair.kind,
                reference_score=before,
                candidate_score=after,
                prompt=None if text is None else text.prompt,
                target=None if text is None else text.target,
                reference_answer=None if theirs is None else _answer(theirs),
                candidate_answer=None if ours is None else _answer(ours),
            )
        )
    return tuple(shown), len(changed)


def _places(pair: Pair, column: str, key: Key) -> Iterator[_Place | None]:
    """Where the reference's and the candidate's answer lie; None for an accepted run, which keeps no text."""
    for side, arm in pair.sides:
        yield None if side.run is None else (side.run.path, arm, column, key)


def _texts(items: Iterable[tuple[Pair, str, Key]]) -> dict[_Place, ItemRecord]:
    """The records of these items on both sides; every run folder is read once, however many of its arms are asked."""
    runs: dict[Path, Run] = {}
    wanted: set[_Place | None] = set()
    for pair, column, key in items:
        runs |= {side.run.path: side.run for side, _ in pair.sides if side.run is not None}
        wanted.update(_places(pair, column, key))
    return {
        place: item
        for path, run in runs.items()
        for item in run.items()
        if item.repeat == 0 and (place := (path, item.arm, item.column, (item.task, item.doc_id))) in wanted
    }


def _answer(item: ItemRecord) -> str:
    """The generated text, or the log-likelihood of every choice."""
    parts = []
    for response in item.responses:
        if isinstance(response, list | tuple) and response and isinstance(response[0], int | float):
            parts.append(f"log-likelihood {response[0]:.4f}")
        else:
            parts.append(str(response))
    return "\n".join(parts)
