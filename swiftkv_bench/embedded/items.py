"""Seeded items of the mini columns, in a train and a test split that cannot share one.

Each item belongs to a split by a hash of what it asks. Leaves what is asked to ``generators``.
"""

import hashlib
import random
from collections.abc import Iterator
from typing import Literal

from swiftkv_bench.embedded.generators import GENERATORS, Item
from swiftkv_bench.errors import InputError

__all__ = ["Item", "Split", "items", "split_of", "stream"]

Split = Literal["train", "test"]

#: Share of all possible items that only the test split may draw, in 256ths.
_TEST_SHARE = 32


def split_of(key: str) -> Split:
    """The split that may hold an item with this key."""
    return "test" if hashlib.sha256(key.encode()).digest()[0] < _TEST_SHARE else "train"


def items(column: str, split: str, n: int, seed: int = 0) -> list[Item]:
    """``n`` different items of a column.

    Raises:
        InputError: no such column or split.
    """
    found: dict[str, Item] = {}
    for item in stream(column, split, random.Random(f"{column}-{split}-{seed}")):
        if len(found) == n:
            break
        found.setdefault(item.key, item)
    return list(found.values())


def stream(column: str, split: str, rng: random.Random) -> Iterator[Item]:
    """Endless items of a column, repeats possible.

    Raises:
        InputError: no such column or split.
    """
    if column not in GENERATORS:
        raise InputError(f"There is no mini column {column!r}: use one of {', '.join(GENERATORS)}.")
    if split not in ("train", "test"):
        raise InputError(f"There is no split {split!r} of {column}: use 'train' or 'test'.")
    generate = GENERATORS[column]
    while True:
        item = generate(rng)
        if split_of(item.key) == split:
            yield item
