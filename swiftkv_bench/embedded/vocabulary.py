"""The words of the mini tasks as tokens, and text turned into token ids for training.

``Encoder`` does what the shipped tokenizer does (a test compares them), several times as fast: every word of
the generated text is one token, so encoding is a look-up.
"""

import random
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE, SPECIAL_TOKEN_IDS, SPECIAL_TOKENS
from swiftkv_bench.embedded.columns import MINI_COLUMNS, Segment, item_segments
from swiftkv_bench.embedded.drills import DRILLS
from swiftkv_bench.embedded.items import stream
from swiftkv_bench.embedded.tokenizer import byte_alphabet, tokenizer_json
from swiftkv_bench.errors import InputError

#: Enough that every word of every template occurs; a test looks for words that became bytes.
_SAMPLED_ITEMS = 4000

#: The split of GPT-2's byte-level BPE behind one that isolates digits, for ASCII text.
_WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+|[0-9]| (?=[0-9])| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
_ALPHABET = byte_alphabet()


def task_words() -> list[str]:
    """Every word of the mini tasks in the byte alphabet, sorted.

    Raises:
        InputError: there are more than the embedding has rows for.
    """
    words = set()
    for segment in _sampled_segments():
        if not segment.special:
            words |= set(_WORD.findall(segment.text))
    # Two line ends must stay two tokens: whether they meet depends on what follows.
    found = sorted(_in_alphabet(word) for word in words if len(word) > 1 and set(word) != {"\n"})
    room = EMBEDDED_SHAPE.vocab_size - len(tokenizer_json([])["model"]["vocab"])
    if len(found) > room:
        raise InputError(f"The mini tasks have {len(found)} words and the vocabulary has room for {room}.")
    return found


def _sampled_segments() -> Iterable[Segment]:
    for column in MINI_COLUMNS.values():
        for item in islice(stream(column.name, "train", random.Random(f"words-{column.name}")), _SAMPLED_ITEMS):
            yield from item_segments(column, item)
    for name, drill in DRILLS.items():
        rng = random.Random(f"words-{name}")
        for _ in range(_SAMPLED_ITEMS // 10):
            yield from drill(rng)


class Encoder:
    """Token ids of document segments."""

    def __init__(self, tokenizer: dict[str, Any]) -> None:
        self._ids: dict[str, int] = tokenizer["model"]["vocab"]
        self._words: dict[str, list[int]] = {}
        characters = {character: byte for byte, character in enumerate(_ALPHABET)}
        self._bytes = {
            index: bytes(characters[character] for character in token)
            for token, index in self._ids.items()
            if token not in SPECIAL_TOKENS
        }

    def encode(self, segments: Iterable[Segment]) -> list[list[int]]:
        """One list of ids per segment; special tokens only where a segment says so."""
        return [
            [SPECIAL_TOKEN_IDS[segment.text]] if segment.special else self._text(segment.text) for segment in segments
        ]

    def ids(self, segments: Iterable[Segment]) -> list[int]:
        """Ids of all segments in one list."""
        return [token for part in self.encode(segments) for token in part]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids without special tokens."""
        return b"".join(self._bytes.get(token, b"") for token in ids).decode("utf-8", "replace")

    def _text(self, text: str) -> list[int]:
        words, tokens = self._words, []
        for word in _WORD.findall(text):
            known = words.get(word)
            tokens += self._word(word) if known is None else known
        return tokens

    def _word(self, word: str) -> list[int]:
        written = _in_alphabet(word)
        ids = self._ids
        found = [ids[written]] if written in ids else [ids[character] for character in written]
        self._words[word] = found
        return found


def _in_alphabet(word: str) -> str:
    return "".join(_ALPHABET[byte] for byte in word.encode("ascii"))
