"""Figures that are no mean of items: hand-worked values, and lm-eval's own functions on random items."""

import math
import random
from typing import Any

import numpy as np
import pytest
from lm_eval.api import metrics
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from swiftkv_bench.schema.accuracy import Aggregation
from swiftkv_bench.stats.aggregates import figure, figures

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat"]


def test_f1_is_twice_the_hits_over_both_counts() -> None:
    # gold 1 1 1 0, predicted 1 0 1 1: tp 2, fp 1, fn 1
    assert figure("f1", np.array([[1, 1], [1, 0], [1, 1], [0, 1.0]])) == pytest.approx(2 * 2 / (4 + 1 + 1))


def test_matthews_correlation_of_two_by_two() -> None:
    # tp 2, fn 1, fp 1, tn 1
    labels = np.array([[1, 1], [1, 1], [1, 0], [0, 1], [0, 0.0]])
    assert figure("matthews_corrcoef", labels) == pytest.approx((2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2))


def test_perplexity_of_a_word() -> None:
    parts = np.array([[-6.0, 2], [-2.0, 2]])
    assert figure("weighted_perplexity", parts) == pytest.approx(math.exp(2))
    assert figure("bits_per_byte", parts) == pytest.approx(2 / math.log(2))


def test_a_weight_of_two_is_the_item_twice() -> None:
    parts = np.array([[-6.0, 2], [-2.0, 3]])
    [weighted] = figures("weighted_perplexity", parts, np.array([[2.0, 1.0]]))
    assert weighted == pytest.approx(math.exp((6 + 6 + 2) / (2 + 2 + 3)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["bleu", "chrf", "chrf++", "ter"])
def test_texts_give_lm_evals_figure(name: Aggregation, seed: int) -> None:
    rng = random.Random(seed)
    references = [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(20)]
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in range(20)]
    judge: Any = {"bleu": BLEU(), "chrf": CHRF(), "chrf++": CHRF(word_order=2), "ter": TER()}[name]
    parts = np.array(judge._extract_corpus_statistics(texts, [references]), dtype=float)
    expected = getattr(metrics, "chrfpp" if name == "chrf++" else name)(list(zip(references, texts, strict=True)))
    assert figure(name, parts) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_labels_and_likelihoods_give_lm_evals_figure(seed: int) -> None:
    rng = random.Random(seed)
    pairs = [(rng.randint(0, 1), rng.randint(0, 1)) for _ in range(30)]
    assert figure("f1", np.array(pairs, dtype=float)) == pytest.approx(metrics.f1_score(pairs))
    pairs = [(rng.randint(0, 3), rng.randint(0, 3)) for _ in range(30)]
    assert figure("matthews_corrcoef", np.array(pairs, dtype=float)) == pytest.approx(metrics.matthews_corrcoef(pairs))
    found = [-9 * rng.random() for _ in range(30)]
    parts = np.array([[value, 1] for value in found])
    assert figure("perplexity", parts) == pytest.approx(metrics.perplexity(found))
