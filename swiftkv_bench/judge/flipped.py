"""Items whose score changed, with their texts where run folders have them."""

from collections.abc import Sequence

from swiftkv_bench.evidence.answers import Key
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.accuracy import AccuracyClaims
from swiftkv_bench.judge.comparison import FlippedItem
from swiftkv_bench.schema.accuracy import ItemRecord
from swiftkv_bench.schema.engine import Arm

ITEMS_SHOWN = 200


def flipped_items(found: Sequence[AccuracyClaims]) -> tuple[tuple[FlippedItem, ...], int]:
    """Changed items of the pairs that decide, with texts where run folders have them."""
    shown: list[FlippedItem] = []
    total = 0
    for of_pair in found:
        if of_pair.pair.role == "shown":
            continue
        changed = [(c.column.name, key, a, b) for c in of_pair.columns for key, a, b in c.flipped]
        total += len(changed)
        kept = changed[: ITEMS_SHOWN - len(shown)]
        wanted = {(column, key) for column, key, _, _ in kept}
        pair = of_pair.pair
        ours = _texts(pair.candidate, pair.candidate_arm, wanted)
        theirs = _texts(pair.reference, pair.reference_arm, wanted)
        for column, key, before, after in kept:
            ours_text, theirs_text = ours.get((column, key)), theirs.get((column, key))
            text = ours_text or theirs_text
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
                    reference_answer=None if theirs_text is None else _answer(theirs_text),
                    candidate_answer=None if ours_text is None else _answer(ours_text),
                )
            )
    return tuple(shown), total


def _texts(side: Evidence, arm: Arm, wanted: set[tuple[str, Key]]) -> dict[tuple[str, Key], ItemRecord]:
    if side.run is None or not wanted:
        return {}
    return {
        (item.column, (item.task, item.doc_id)): item
        for item in side.run.items()
        if item.arm == arm and item.repeat == 0 and (item.column, (item.task, item.doc_id)) in wanted
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
