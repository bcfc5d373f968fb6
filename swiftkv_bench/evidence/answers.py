"""One arm's answers to one column as arrays, and the items that two of them share."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from swiftkv_bench.schema.accuracy import Aggregation, ItemRecord, ScoringMethod
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Float
from swiftkv_bench.stats.aggregates import figure

Key = tuple[str, int]
"""(task, doc_id) of an item."""

AnswersKey = tuple[str, Arm, int]
"""(column, arm, repeat)."""

Bools = npt.NDArray[np.bool_]
Prints = npt.NDArray[np.uint32]

PRINTS = ("document", "prompt", "target")


@dataclass(frozen=True)
class Answers:
    """One arm's answers to one column, once, sorted by key.

    Attributes:
        score: shape (n,), in the column's metric.
        prints: shape (n, 3), CRC-32 of the hashes of document, prompt and target.
        clusters: shape (n,), CRC-32 of what items belong to that are not independent (a passage); None where every
            item stands alone.
        unparsed, unfinished, truncated: shape (n,).
        methods: ways in which they were obtained.
    """

    keys: tuple[Key, ...]
    score: Float
    prints: Prints
    clusters: Prints | None
    parts: Float
    unparsed: Bools
    unfinished: Bools
    truncated: Bools
    methods: tuple[ScoringMethod, ...]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def generated(self) -> bool:
        """The answers are texts, so that they can be unparsed."""
        return "generation" in self.methods

    @property
    def tasks(self) -> list[str]:
        """The task of each item."""
        return [task for task, _ in self.keys]

    def aggregate(self, aggregation: Aggregation) -> float:
        """The figure of all items, where it is no mean of their scores."""
        return figure(aggregation, self.parts)

    def at(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> "Answers":
        """The answers in the given rows."""
        at = np.asarray(rows, dtype=np.int64)
        return Answers(
            tuple(self.keys[i] for i in at.tolist()), self.score[at], self.prints[at],
            None if self.clusters is None else self.clusters[at], self.parts[at], self.unparsed[at],
            self.unfinished[at], self.truncated[at], self.methods,
        )  # fmt: skip

    @classmethod
    def of_scores(cls, scores: Mapping[Key, float]) -> Self:
        """Of scores alone; everything else counts as equal."""
        keys, n = tuple(sorted(scores)), len(scores)
        none = np.zeros(n, dtype=bool)
        score = np.array([scores[key] for key in keys], dtype=float)
        return cls(keys, score, np.zeros((n, 3), dtype=np.uint32), None, np.zeros((n, 0)), none, none, none, ())


def common_rows(reference: Answers, candidate: Answers) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the items that both answered, in order of their keys."""
    if reference.keys == candidate.keys:
        every = np.arange(len(reference))
        return every, every
    at = {key: i for i, key in enumerate(reference.keys)}
    pairs = [(at[key], j) for j, key in enumerate(candidate.keys) if key in at]
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def collect(items: Iterable[ItemRecord]) -> dict[AnswersKey, Answers]:
    """Items by column, arm and repeat; the last record of an item counts."""
    found: dict[AnswersKey, dict[Key, ItemRow]] = {}
    methods: dict[AnswersKey, dict[ScoringMethod, None]] = {}
    for item in items:
        key: AnswersKey = (item.column, item.arm, item.repeat)
        if key not in found:
            found[key], methods[key] = {}, {}
        flags = item.unparsed + 2 * item.unfinished + 4 * item.truncated
        hashes = (item.doc_hash, item.prompt_hash, item.target_hash)
        found[key][item.task, item.doc_id] = (item.score, hashes, flags, item.cluster, item.parts)
        methods[key][item.method] = None
    return {key: _answers(rows, tuple(methods[key])) for key, rows in found.items()}


ItemRow = tuple[float, tuple[str, str, str], int, str | None, tuple[float, ...]]


def _answers(rows: Mapping[Key, ItemRow], methods: tuple[ScoringMethod, ...]) -> Answers:
    keys = tuple(sorted(rows))
    ordered = [rows[key] for key in keys]
    prints = [zlib.crc32(text.encode()) for row in ordered for text in row[1]]
    flags = np.array([row[2] for row in ordered], dtype=np.uint8)
    clusters = None
    if any(row[3] is not None for row in ordered):
        names = (row[3] or f"{key[0]}/{key[1]}" for key, row in zip(keys, ordered, strict=True))
        clusters = np.array([zlib.crc32(name.encode()) for name in names], dtype=np.uint32)
    return Answers(
        keys=keys,
        score=np.array([row[0] for row in ordered], dtype=float),
        prints=np.array(prints, dtype=np.uint32).reshape(-1, 3),
        clusters=clusters,
        parts=np.array([row[4] for row in ordered], dtype=float),
        unparsed=(flags & 1) > 0,
        unfinished=(flags & 2) > 0,
        truncated=(flags & 4) > 0,
        methods=methods,
    )
