"""Dense practice: no test story, answers marked, every document as long as it should be."""

import random

import pytest

from swiftkv_bench.embedded.columns import segments_text
from swiftkv_bench.embedded.drills import DRILLS
from swiftkv_bench.embedded.items import items


@pytest.mark.parametrize("name", sorted(DRILLS))
def test_documents_are_seeded_and_hold_answers(name: str) -> None:
    document = DRILLS[name](random.Random(3))
    assert document == DRILLS[name](random.Random(3))
    assert sum(segment.answer for segment in document) >= 4


@pytest.mark.parametrize("name", ["story", "quiz", "bridge"])
def test_no_story_of_the_test_split_is_practised(name: str) -> None:
    tested = {frozenset(_facts(item.prompt)) for item in items("mini_winogrande", "test", 500)}
    rng = random.Random(0)
    practised = {frozenset(_facts(segments_text(DRILLS[name](rng)))) for _ in range(500)}
    assert len(practised) > 400
    assert not practised & tested


def _facts(text: str) -> list[str]:
    told = text.split("Story: ", 1)[1].split("\n", 1)[0]
    return sorted(part.strip() for part in told.split(".") if part.strip())
