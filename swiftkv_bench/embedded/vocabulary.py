"""The words of the mini tasks as tokens, and text turned into token ids for training.

The only module of the package that imports ``tokenizers``.
"""

import json
import random
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE, SPECIAL_TOKEN_IDS
from swiftkv_bench.embedded.columns import MINI_COLUMNS, Segment, item_segments
from swiftkv_bench.embedded.items import stream
from swiftkv_bench.embedded.tokenizer import tokenizer_json
from swiftkv_bench.errors import InputError

#: Enough that every word of every template occurs; a test looks for words that became bytes.
_SAMPLED_ITEMS = 4000


def task_words() -> list[str]:
    """Every word of the mini tasks in the byte alphabet, sorted.

    Raises:
        InputError: there are more than the embedding has rows for.
    """
    splitter: Any = _tokenizer(tokenizer_json([])).pre_tokenizer
    words = set()
    for column in MINI_COLUMNS.values():
        for item in islice(stream(column.name, "train", random.Random(f"words-{column.name}")), _SAMPLED_ITEMS):
            for segment in item_segments(column, item):
                if not segment.special:
                    words |= {word for word, _ in splitter.pre_tokenize_str(segment.text)}
    # Two line ends must stay two tokens: whether they meet depends on what follows.
    found = sorted(word for word in words if len(word) > 1 and set(word) != {"Ċ"})
    room = EMBEDDED_SHAPE.vocab_size - len(tokenizer_json([])["model"]["vocab"])
    if len(found) > room:
        raise InputError(f"The mini tasks have {len(found)} words and the vocabulary has room for {room}.")
    return found


class Encoder:
    """Token ids of document segments."""

    def __init__(self, tokenizer: dict[str, Any]) -> None:
        self._tokenizer = _tokenizer(tokenizer)

    def encode(self, segments: Iterable[Segment]) -> list[list[int]]:
        """One list of ids per segment; special tokens only where a segment says so."""
        listed = list(segments)
        texts = [segment.text for segment in listed if not segment.special]
        encoded = iter(self._tokenizer.encode_batch(texts, add_special_tokens=False))
        return [[SPECIAL_TOKEN_IDS[segment.text]] if segment.special else next(encoded).ids for segment in listed]

    def ids(self, segments: Iterable[Segment]) -> list[int]:
        """Ids of all segments in one list."""
        return [token for part in self.encode(segments) for token in part]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


def _tokenizer(content: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(content))
