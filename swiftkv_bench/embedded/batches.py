"""Training rows: items of the mini columns as token ids, batch after batch, the same for the same seed.

Batches are made by worker processes ahead of their use; their order does not depend on timing.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt

from swiftkv_bench.embedded.architecture import END_OF_TEXT, SPECIAL_TOKEN_IDS
from swiftkv_bench.embedded.columns import MINI_COLUMNS, MiniColumn, document_start, item_segments
from swiftkv_bench.embedded.items import stream
from swiftkv_bench.embedded.vocabulary import Encoder

#: Row length of columns asked without shots, and of those asked with shots.
SINGLE_ROW_TOKENS = 96
SHOTS_ROW_TOKENS = 352

#: A token that is read but hardly needs to be foreseen, in the unit of an answer's token.
CONTEXT_WEIGHT = 0.1


@dataclass(frozen=True)
class Rows:
    """Right-padded token rows of one length.

    Attributes:
        ids: token ids, shape (rows, tokens).
        weights: how much predicting each token counts: 0 padding, 1 an answer, shape (rows, tokens).
    """

    ids: npt.NDArray[np.int16]
    weights: npt.NDArray[np.float32]


#: One optimizer step: rows of each length.
Batch = tuple[Rows, ...]


@dataclass(frozen=True)
class BatchPlan:
    """What a batch holds and which random stream it comes from."""

    seed: int
    shots_rows: int = 40
    single_rows: int = 160


def make_batch(encoder: Encoder, plan: BatchPlan, index: int) -> Batch:
    """The batch with this index; equal for equal arguments."""
    rng = random.Random(f"batch-{plan.seed}-{index}")
    single, shots = [], []
    for column in MINI_COLUMNS.values():
        if column.num_fewshot == 0:
            single.append(_rows(encoder, column, rng, plan.single_rows, SINGLE_ROW_TOKENS))
        else:
            shots.append(_rows(encoder, column, rng, plan.shots_rows, SHOTS_ROW_TOKENS))
    return _joined(shots), _joined(single)


def batches(tokenizer: dict[str, Any], plan: BatchPlan, start: int, workers: int) -> Iterator[Batch]:
    """Batches from index ``start`` on, made ``workers`` at a time; in this process when ``workers`` is 0."""
    if workers == 0:
        encoder = Encoder(tokenizer)
        index = start
        while True:
            yield make_batch(encoder, plan, index)
            index += 1
    # "spawn" workers share nothing with a process that holds a CUDA context.
    with get_context("spawn").Pool(workers, _start_worker, (tokenizer, plan)) as pool:
        ahead = 3 * workers
        pending = [pool.apply_async(_worker_batch, (start + offset,)) for offset in range(ahead)]
        index = start + ahead
        while True:
            ready = pending.pop(0)
            pending.append(pool.apply_async(_worker_batch, (index,)))
            index += 1
            yield ready.get()


_worker_state: tuple[Encoder, BatchPlan] | None = None


def _start_worker(tokenizer: dict[str, Any], plan: BatchPlan) -> None:
    global _worker_state
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker_state = (Encoder(tokenizer), plan)


def _worker_batch(index: int) -> Batch:
    if _worker_state is None:
        raise RuntimeError("batch asked of a worker that was not started by `batches`")
    return make_batch(*_worker_state, index)


def _rows(encoder: Encoder, column: MiniColumn, rng: random.Random, count: int, length: int) -> Rows:
    """Rows of one column: as many whole or cut items as fit, or one item where the column has no shots."""
    items = stream(column.name, "train", rng)
    rows = Rows(
        np.full((count, length), SPECIAL_TOKEN_IDS[END_OF_TEXT], dtype=np.int16),
        np.zeros((count, length), dtype=np.float32),
    )
    for row in range(count):
        tokens, weights = encoder.ids([document_start()]), [0.0]
        while len(tokens) < length:
            # Encoding several items in one call is faster; four is what most rows need more of.
            batch = list(islice(items, 1 if column.num_fewshot == 0 else 4))
            segments = [segment for item in batch for segment in item_segments(column, item)]
            for segment, ids in zip(segments, encoder.encode(segments), strict=True):
                tokens += ids
                weights += [1.0 if segment.answer else CONTEXT_WEIGHT] * len(ids)
            if column.num_fewshot == 0:
                break
        used = min(len(tokens), length)
        rows.ids[row, :used] = tokens[:used]
        rows.weights[row, :used] = weights[:used]
    return rows


def _joined(parts: list[Rows]) -> Rows:
    return Rows(np.concatenate([rows.ids for rows in parts]), np.concatenate([rows.weights for rows in parts]))
