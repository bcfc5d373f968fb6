"""Figures that are no mean of items: F1, Matthews correlation, perplexity, BLEU, chrF, TER.

Each is a function of sums over items, so an item is recorded as the numbers that are summed (its *parts*), and a
resample of items is a vector of weights. Formulas are those of lm-eval 0.4.13 (`lm_eval.api.metrics`), which takes
BLEU, chrF and TER from sacrebleu 2.6 and F1 and Matthews correlation from scikit-learn.

=====================  ==========================================  ===========================================
aggregation            parts of an item                            figure, sums over items
=====================  ==========================================  ===========================================
perplexity             log-likelihood, 1                           exp(−Σ l / Σ 1)
weighted_perplexity    log-likelihood, words or bytes              exp(−Σ l / Σ w)
bits_per_byte          log-likelihood, bytes                       −(Σ l / Σ w) / ln 2
f1                     gold, predicted label (0 or 1)              2 tp / (2 tp + fp + fn)
matthews_corrcoef      gold, predicted label                       correlation of the confusion matrix (Gorodkin)
bleu                   lengths of text and reference, matches of   geometric mean of precisions × brevity
                       1 to 4 words, numbers of 1 to 4 words       penalty, zero matches smoothed by halves
chrf, chrf++           (text, reference, match) n-grams an order   F with β = 2 of the mean precision and recall
ter                    edits, reference length                     100 Σ edits / Σ length
=====================  ==========================================  ===========================================
"""

from collections.abc import Callable

import numpy as np

from swiftkv_bench.schema.accuracy import Aggregation
from swiftkv_bench.schema.perf import Float

ORDERS = 4
"""Longest n-gram of BLEU."""


def figures(aggregation: Aggregation, parts: Float, weights: Float | None = None) -> Float:
    """The figure of each weighting of the items, shape (b,); NaN where it is not defined, e.g. without weight.

    Args:
        aggregation: any but `mean` and `brier_score`, whose figure is the mean of the items' scores.
        parts: of each item, shape (n, k).
        weights: how often each item counts, shape (b, n); None: once, b = 1.
    """
    counts = np.ones((1, len(parts))) if weights is None else weights
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if aggregation in _OF_LABELS:
            return _OF_LABELS[aggregation](parts, counts)
        return _OF_SUMS[aggregation](counts @ parts)


def figure(aggregation: Aggregation, parts: Float) -> float:
    """The figure of all items, each counted once."""
    return float(figures(aggregation, parts)[0])


def _ratio(sums: Float) -> Float:
    return np.asarray(sums[:, 0] / sums[:, 1])


def _perplexity(sums: Float) -> Float:
    return np.asarray(np.exp(-_ratio(sums)))


def _bits(sums: Float) -> Float:
    return np.asarray(-_ratio(sums) / np.log(2))


def _ter(sums: Float) -> Float:
    edits, length = sums[:, 0], sums[:, 1]
    return np.asarray(100 * np.where(length > 0, edits / length, np.where(edits > 0, 1.0, 0.0)))


def _bleu(sums: Float) -> Float:
    own, reference, correct, total = sums[:, 0], sums[:, 1], sums[:, 2 : 2 + ORDERS], sums[:, 2 + ORDERS :]
    brevity = np.where(own < reference, np.where(own > 0, np.exp(1 - reference / own), 0.0), 1.0)
    logs, halvings, ended = np.zeros(len(sums)), np.ones(len(sums)), np.zeros(len(sums), dtype=bool)
    for n in range(ORDERS):
        ended |= total[:, n] == 0
        missed = (correct[:, n] == 0) & ~ended
        halvings = np.where(missed, 2 * halvings, halvings)
        precision = np.where(missed, 100 / (halvings * total[:, n]), 100 * correct[:, n] / total[:, n])
        # sacrebleu takes -9999999999 for the logarithm of a precision of zero: the score is zero.
        logs += np.where(ended, -np.inf, np.log(precision))
    return np.asarray(np.where(correct.any(axis=1), brevity * np.exp(logs / ORDERS), 0.0))


def _chrf(sums: Float) -> Float:
    by_order = sums.reshape(len(sums), -1, 3)
    own, reference, match = by_order[..., 0], by_order[..., 1], by_order[..., 2]
    counted = (own > 0) & (reference > 0)
    orders = np.maximum(counted.sum(axis=1), 1)
    precision = np.where(counted, match / own, 0.0).sum(axis=1) / orders
    recall = np.where(counted, match / reference, 0.0).sum(axis=1) / orders
    score = 5 * precision * recall / (4 * precision + recall)
    return np.asarray(100 * np.where(precision + recall > 0, score, 0.0))


def _f1(parts: Float, counts: Float) -> Float:
    gold, predicted = parts[:, 0] == 1, parts[:, 1] == 1
    hits = counts @ (gold & predicted)
    of_either = counts @ gold.astype(float) + counts @ predicted.astype(float)
    return np.asarray(np.where(of_either > 0, 2 * hits / of_either, 0.0))


def _matthews(parts: Float, counts: Float) -> Float:
    labels = np.unique(parts)
    gold, predicted = ((parts[:, [i]] == labels).astype(float) for i in (0, 1))
    n, hits = counts.sum(axis=1), counts @ (gold * predicted).sum(axis=1)
    of_gold, of_predicted = counts @ gold, counts @ predicted
    covariance = hits * n - (of_gold * of_predicted).sum(axis=1)
    spread = (n**2 - (of_gold**2).sum(axis=1)) * (n**2 - (of_predicted**2).sum(axis=1))
    return np.asarray(np.where(spread > 0, covariance / np.sqrt(spread), 0.0))


_OF_SUMS: dict[str, Callable[[Float], Float]] = {
    "perplexity": _perplexity,
    "weighted_perplexity": _perplexity,
    "bits_per_byte": _bits,
    "bleu": _bleu,
    "chrf": _chrf,
    "chrf++": _chrf,
    "ter": _ter,
}
_OF_LABELS: dict[str, Callable[[Float, Float], Float]] = {"f1": _f1, "matthews_corrcoef": _matthews}
