"""Training rows: documents as token ids, batch after batch, the same for the same seed.

Batches are made by worker processes ahead of their use; neither their content nor their order depends on timing.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from swiftkv_bench.embedded.architecture import END_OF_TEXT, SPECIAL_TOKEN_IDS
from swiftkv_bench.embedded.columns import MINI_COLUMNS, Segment, document_start, item_segments
from swiftkv_bench.embedded.drills import DRILLS
from swiftkv_bench.embedded.items import stream
from swiftkv_bench.embedded.stories import LETTERS
from swiftkv_bench.embedded.vocabulary import Encoder

#: Tokens of a row: the longest evaluated prompt with its answer fits.
ROW_TOKENS = 384

#: What a row may hold: items of a column, or documents of a drill.
KINDS = (*MINI_COLUMNS, *DRILLS)

CONTEXT_CLASS = 1


def answer_class(kind: str, letter: bool) -> int:
    """The class of an answer's tokens in rows of this kind; letters of options are a class of their own."""
    return 2 + 2 * KINDS.index(kind) + int(letter)


#: How much foreseeing a token of each class counts, in order of the classes. Prompts are random: nothing is to be
#: learned from most of their tokens. A letter is all that shows whether a lettered question was understood.
CLASS_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"padding": 0.0, "context": 0.02}
    | {name: weight for kind in KINDS for name, weight in ((kind, 1.0), (f"{kind}.letter", 4.0))}
)

_LETTER_TEXTS = frozenset(f" {letter}" for letter in LETTERS)


@dataclass(frozen=True)
class Rows:
    """Token rows of one length.

    Attributes:
        ids: token ids, shape (rows, tokens).
        classes: the class of each token, shape (rows, tokens).
    """

    ids: npt.NDArray[np.int16]
    classes: npt.NDArray[np.uint8]


#: Rows of each kind, in parts of their sum.
Mix = Mapping[str, float]

#: What is practised first: looking up, and the world's facts.
BASICS: Mix = MappingProxyType(
    {"lookup": 4, "story": 5, "letters": 2, "quiz": 2, "bridge": 3, "deeds": 1, "world": 3, "sums": 1}
    | dict.fromkeys(MINI_COLUMNS, 0.6)
)
#: What follows: mostly the columns, the slow ones more often.
COLUMNS: Mix = MappingProxyType(
    {"lookup": 0.5, "story": 1.5, "letters": 0.4, "quiz": 2, "bridge": 1.5, "deeds": 0.7, "world": 0.7, "sums": 0.4}
    | dict.fromkeys(MINI_COLUMNS, 1.0)
    | {"mini_mmlu": 2, "mini_gsm8k": 1.5, "mini_hellaswag": 1.5}
)


@dataclass(frozen=True)
class BatchPlan:
    """What a batch holds and which random stream it comes from.

    Attributes:
        seed: of the random stream.
        rows: of a batch.
        basics: batches drawn from ``BASICS``; later ones are drawn from ``COLUMNS``.
    """

    seed: int
    rows: int = 40
    basics: int = 0


def make_batch(encoder: Encoder, plan: BatchPlan, index: int) -> Rows:
    """The batch with this index; equal for equal arguments."""
    rng = random.Random(f"batch-{plan.seed}-{index}")
    mix = BASICS if index < plan.basics else COLUMNS
    rows = Rows(
        np.full((plan.rows, ROW_TOKENS), SPECIAL_TOKEN_IDS[END_OF_TEXT], dtype=np.int16),
        np.zeros((plan.rows, ROW_TOKENS), dtype=np.uint8),
    )
    for row, kind in enumerate(rng.choices(list(mix), list(mix.values()), k=plan.rows)):
        ids, classes = _row(encoder, kind, rng)
        rows.ids[row] = ids[:ROW_TOKENS]
        rows.classes[row] = classes[:ROW_TOKENS]
    return rows


def _row(encoder: Encoder, kind: str, rng: random.Random) -> tuple[list[int], list[int]]:
    """At least as many tokens as a row has."""
    documents = _documents(kind, rng)
    letters = frozenset(token for text in sorted(_LETTER_TEXTS) for token in encoder.ids([Segment(text)]))
    plain, letter = answer_class(kind, False), answer_class(kind, True)
    ids: list[int] = []
    classes: list[int] = []
    while len(ids) < ROW_TOKENS:
        segments = next(documents)
        for segment, tokens in zip(segments, encoder.encode(segments), strict=True):
            ids += tokens
            if segment.answer:
                classes += [letter if token in letters else plain for token in tokens]
            else:
                classes += [CONTEXT_CLASS] * len(tokens)
    return ids, classes


def _documents(kind: str, rng: random.Random) -> Iterator[list[Segment]]:
    """Endless documents; items of a column with shots follow one another in one document."""
    if kind in DRILLS:
        while True:
            yield [document_start(), *DRILLS[kind](rng)]
    column = MINI_COLUMNS[kind]
    for number, item in enumerate(stream(kind, "train", rng)):
        segments = item_segments(column, item)
        yield [document_start(), *segments] if number == 0 or column.num_fewshot == 0 else segments


def batches(tokenizer: dict[str, Any], plan: BatchPlan, start: int, workers: int) -> Iterator[Rows]:
    """Batches from index ``start`` on, made ``workers`` at a time; in this process when ``workers`` is 0."""
    if workers == 0:
        encoder = Encoder(tokenizer)
        index = start
        while True:
            yield make_batch(encoder, plan, index)
            index += 1
    # "spawn" workers share nothing with a process that holds a CUDA context.
    with get_context("spawn").Pool(workers, _start_worker, (tokenizer, plan)) as pool:
        ahead = 4 * workers
        pending = [pool.apply_async(_worker_batches, (start + index * _TASK,)) for index in range(ahead)]
        index = start + ahead * _TASK
        while True:
            ready = pending.pop(0)
            pending.append(pool.apply_async(_worker_batches, (index,)))
            index += _TASK
            yield from ready.get()


#: Batches that a worker makes at a time.
_TASK = 16

_worker_state: tuple[Encoder, BatchPlan] | None = None


def _start_worker(tokenizer: dict[str, Any], plan: BatchPlan) -> None:
    global _worker_state
    _worker_state = (Encoder(tokenizer), plan)


def _worker_batches(first: int) -> list[Rows]:
    if _worker_state is None:
        raise RuntimeError("batches asked of a worker that was not started by `batches`")
    return [make_batch(*_worker_state, first + offset) for offset in range(_TASK)]


def joined(parts: list[Rows]) -> Rows:
    """The rows of several batches as one."""
    return Rows(np.concatenate([rows.ids for rows in parts]), np.concatenate([rows.classes for rows in parts]))


def chunks(source: Iterator[Rows], batches_each: int) -> Iterator[Rows]:
    """Every ``batches_each`` batches joined."""
    while True:
        yield joined(list(islice(source, batches_each)))
