"""Training rows: equal for equal settings however they are made, answers weighted, nothing of the test split."""

from itertools import islice

import numpy as np
import pytest
import torch

from swiftkv_bench.embedded.batches import (
    CLASS_WEIGHTS,
    CONTEXT_CLASS,
    KINDS,
    ROW_TOKENS,
    BatchPlan,
    answer_class,
    batches,
    make_batch,
)
from swiftkv_bench.embedded.feed import RowFeed
from swiftkv_bench.embedded.shipped import SHIPPED_FOLDER, ShippedWeights
from swiftkv_bench.embedded.vocabulary import Encoder

TOKENIZER = ShippedWeights(SHIPPED_FOLDER).tokenizer()
PLAN = BatchPlan(seed=3, rows=4, basics=2)


def test_workers_make_the_batches_that_one_process_makes() -> None:
    alone = list(islice(batches(TOKENIZER, PLAN, 5, workers=0), 20))
    together = list(islice(batches(TOKENIZER, PLAN, 5, workers=2), 20))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.classes, other.classes)


def test_every_token_has_a_class_and_a_weight() -> None:
    batch = make_batch(Encoder(TOKENIZER), BatchPlan(seed=0, rows=60), 0)
    assert batch.ids.shape == batch.classes.shape == (60, ROW_TOKENS)
    names = list(CLASS_WEIGHTS)
    assert [names[answer_class(kind, False)] for kind in KINDS] == list(KINDS)
    assert [names[answer_class(kind, True)] for kind in KINDS] == [f"{kind}.letter" for kind in KINDS]
    assert batch.classes.min() == CONTEXT_CLASS
    # A lettered answer is "The best answer is X.", so one class cannot occur without the other.
    arc = [answer_class("mini_arc", letter) for letter in (False, True)]
    assert np.isin(arc, batch.classes).all()


@pytest.mark.parametrize("start", [0, 1, 100, 128, 200])
def test_rows_do_not_depend_on_where_training_starts(start: int) -> None:
    feed = RowFeed(TOKENIZER, BatchPlan(seed=1, rows=1), workers=0, uses=2, device=torch.device("cpu"))
    whole = list(islice(feed(0), start + 3))[start:]
    for (ids, classes), (later_ids, later_classes) in zip(whole, feed(start), strict=False):
        assert torch.equal(ids, later_ids)
        assert torch.equal(classes, later_classes)


def test_every_row_serves_as_often_as_asked() -> None:
    feed = RowFeed(TOKENIZER, BatchPlan(seed=1, rows=1), workers=0, uses=3, device=torch.device("cpu"))
    rows = [tuple(ids[0].tolist()) for ids, _ in islice(feed(0), 3 * 64)]
    assert sorted(rows.count(row) for row in set(rows)) == [3] * 64
