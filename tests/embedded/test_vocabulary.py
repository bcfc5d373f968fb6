"""The words of the tasks: one token each, and encoded as the shipped tokenizer encodes them."""

import random
from itertools import islice
from pathlib import Path

import pytest

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE, SPECIAL_TOKENS
from swiftkv_bench.embedded.columns import MINI_COLUMNS, Segment, item_segments, segments_text
from swiftkv_bench.embedded.drills import DRILLS
from swiftkv_bench.embedded.items import stream
from swiftkv_bench.embedded.shipped import SHIPPED_FOLDER, ShippedWeights
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.embedded.vocabulary import Encoder, task_words

TOKENIZER = ShippedWeights(SHIPPED_FOLDER).tokenizer()
ENCODER = Encoder(TOKENIZER)


def _documents() -> list[list[Segment]]:
    found = []
    for name, column in MINI_COLUMNS.items():
        for item in islice(stream(name, "test", random.Random(f"t{name}")), 40):
            found.append(item_segments(column, item))
    for drill in DRILLS.values():
        found.append(drill(random.Random(9)))
    return found


def test_shipped_tokenizer_is_that_of_the_tasks() -> None:
    assert tokenizer_json(task_words()) == TOKENIZER
    assert len(TOKENIZER["model"]["vocab"]) <= EMBEDDED_SHAPE.vocab_size


def test_every_word_of_every_task_is_one_token() -> None:
    bytes_only = set(range(len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + 256))
    for document in _documents():
        for segment in document:
            for token in ENCODER.encode([segment])[0]:
                if token in bytes_only:
                    assert len(ENCODER.decode([token]).strip("ABCDQ0123456789+-*=.:?_\n ")) == 0, segment.text


def test_encoder_is_the_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    write_tokenizer(tmp_path, TOKENIZER, 1000)
    reference = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    others = ["", " ", "\n\n\n", "a  b", "it's 12 o'clock, isn't it?", "  Two  spaces", "\ttab\n x", "9 99 999"]
    for text in [*others, *(s.text for d in _documents() for s in d if not s.special)]:
        assert ENCODER.encode([Segment(text)])[0] == reference.encode(text, add_special_tokens=False).ids, repr(text)


@pytest.mark.parametrize("name", sorted(MINI_COLUMNS))
def test_decoding_gives_the_text_back(name: str) -> None:
    column = MINI_COLUMNS[name]
    segments = item_segments(column, next(stream(name, "test", random.Random(0))))
    plain = segments_text([segment for segment in segments if not segment.special])
    assert ENCODER.decode(ENCODER.ids(segments)) == plain
