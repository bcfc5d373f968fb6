"""What a column's figure is, as its task says, and what an item contributes to it.

Values of items come from lm-eval's own `process_results`; here they become numbers that can be recorded and summed.
"""

import math
import numbers
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from swiftkv_bench.errors import InputError, ScoringError
from swiftkv_bench.schema.accuracy import Aggregation, Column, Measure
from swiftkv_bench.stats.aggregates import figure

_SHARES = {
    "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "acc_all", "exact_match", "em", "accuracy", "f1",
    "prompt_level_strict_acc", "prompt_level_loose_acc",
}  # fmt: skip
"""Names of metrics whose values lie between 0 and 1; a value outside ends its column."""

_RANGES: dict[Aggregation, tuple[float | None, float | None]] = {
    "f1": (0.0, 1.0),
    "matthews_corrcoef": (-1.0, 1.0),
    "brier_score": (0.0, 2.0),
    "perplexity": (1.0, None),
    "weighted_perplexity": (1.0, None),
    "bits_per_byte": (0.0, None),
    "bleu": (0.0, 100.0),
    "chrf": (0.0, 100.0),
    "chrf++": (0.0, 100.0),
    "ter": (0.0, None),
}
_TEXTS = ("bleu", "chrf", "chrf++", "ter")
_LARGEST_EXPONENT = 700.0
"""Beyond it a float overflows: the perplexity of one item is shown as e^700."""


def measure_of(task: Any, column: Column) -> Measure:
    """The measure of a column whose task is built.

    Raises:
        InputError: the task has no such metric, or does not say how it is aggregated, which end is better or what
            values it has.
    """
    functions, name = task.aggregation(), column.metric
    if name not in functions:
        raise InputError(f"metric: {name!r} is none of {', '.join(sorted(functions))}")
    aggregation = _name_of(functions[name], name)
    better = task.higher_is_better().get(name)
    if not isinstance(better, bool):
        raise InputError(f"metric_list: {name}: higher_is_better: {better!r}; say true or false in the task file")
    low, high = _range(aggregation, column)
    measure = Measure(higher_is_better=better, aggregation=aggregation, low=low, high=high)
    if not measure.is_mean and len(column.subsets) > 1:
        raise InputError(
            f"metric: {name} is no mean of items ({aggregation}), so it has no figure over subsets; give each subset a "
            f"column"
        )
    if not measure.is_share and "margin" not in column.model_fields_set:
        raise InputError(
            f"margin: {name} has values from {_bound(low)} to {_bound(high)}, so no default fits; state a margin in "
            f"its unit"
        )
    return measure


def _range(aggregation: Aggregation, column: Column) -> tuple[float | None, float | None]:
    if column.range is not None:
        low, high = column.range
        if low is not None and high is not None and low >= high:
            raise InputError(f"range: [{low}, {high}] holds no values")
        return low, high
    if aggregation in _RANGES:
        return _RANGES[aggregation]
    if column.metric in _SHARES:
        return 0.0, 1.0
    raise InputError(
        f"range: not given, and lm-eval does not say what values {column.metric} has; state range: [0, 1] for a share, "
        f"[0, 100] for points, [0, null] for a length"
    )


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


def _name_of(function: Any, metric: str) -> Aggregation:
    """lm-eval's name of an aggregation.

    Raises:
        InputError: it is none that is known here.
    """
    from lm_eval.api import metrics

    known: dict[Any, Aggregation] = {
        metrics.mean: "mean",
        np.mean: "mean",
        metrics.nanmean: "mean",
        metrics.brier_score: "brier_score",
        metrics.perplexity: "perplexity",
        metrics.weighted_perplexity: "weighted_perplexity",
        metrics.bits_per_byte: "bits_per_byte",
        metrics.f1_score: "f1",
        metrics.matthews_corrcoef: "matthews_corrcoef",
        metrics.bleu: "bleu",
        metrics.chrf: "chrf",
        metrics.chrfpp: "chrf++",
        metrics.ter: "ter",
    }
    found = next((name for f, name in known.items() if f is function), None)
    if found is None:
        said = getattr(function, "__name__", repr(function))
        raise InputError(
            f"metric_list: {metric}: aggregation: {said} has no interval and no test here; known are "
            f"{', '.join(dict.fromkeys(known.values()))}"
        )
    return found


def number_of(value: Any) -> float | None:
    """A value as a float; None for what is no number."""
    if isinstance(value, numbers.Real | np.bool_ | np.number):
        return float(value)
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "biuf":
        return float(value)
    return None


def contribution(measure: Measure, metric: str, value: Any) -> tuple[float, tuple[float, ...]]:
    """(score, parts) of an item: `ItemRecord`'s words.

    Raises:
        ScoringError: the value is none that the aggregation takes, or lies outside the metric's range.
    """
    if measure.aggregation == "mean":
        score = number_of(value)
        if score is None:
            raise ScoringError(f"{metric} is {value!r:.80}, which is no number")
        parts: tuple[float, ...] = ()
    elif measure.aggregation == "brier_score":
        score, parts = _brier(metric, value), ()
    else:
        parts = _parts(measure.aggregation, metric, value)
        score = _alone(measure.aggregation, parts)
    if not math.isfinite(score):
        raise ScoringError(f"{metric} is {score}, which is no figure")
    if measure.is_mean and _outside(measure, score):
        raise ScoringError(
            f"{metric} is {score:g}, outside {_bound(measure.low)} to {_bound(measure.high)}; state its range in the "
            f"suite's column, e.g. range: [0, 100], and a margin in its unit, then --rescore the run"
        )
    return score, parts


def _outside(measure: Measure, score: float) -> bool:
    low = -math.inf if measure.low is None else measure.low
    high = math.inf if measure.high is None else measure.high
    return not low - 1e-9 <= score <= high + 1e-9


def _pair(metric: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ScoringError(f"{metric} is {value!r:.80}, which is no pair of what was expected and what was answered")
    return value[0], value[1]


def _brier(metric: str, value: Any) -> float:
    gold, shares = _pair(metric, value)
    label, shares = number_of(gold), np.asarray(shares, dtype=float)
    if label is None or not label.is_integer() or not 0 <= label < len(shares):
        raise ScoringError(f"{metric}: the label {gold!r:.40} is none of {len(shares)} choices")
    return float(((shares - np.eye(len(shares))[int(label)]) ** 2).sum())


def _parts(aggregation: Aggregation, metric: str, value: Any) -> tuple[float, ...]:
    if aggregation == "perplexity":
        likelihood = number_of(value)
        if likelihood is None:
            raise ScoringError(f"{metric} is {value!r:.80}, which is no log-likelihood")
        return likelihood, 1.0
    gold, answer = _pair(metric, value)
    if aggregation in _TEXTS:
        return _text_parts(aggregation, metric, gold, answer)
    found = number_of(gold), number_of(answer)
    if found[0] is None or found[1] is None:
        raise ScoringError(f"{metric} is {value!r:.80}, which is no pair of numbers")
    if aggregation == "f1" and not {*found} <= {0.0, 1.0}:
        raise ScoringError(f"{metric}: F1 of two classes wants labels 0 and 1, found {gold!r:.40} and {answer!r:.40}")
    if aggregation in ("weighted_perplexity", "bits_per_byte") and found[1] <= 0:
        raise ScoringError(f"{metric}: the document has no words or bytes")
    return found[0], found[1]


def _text_parts(aggregation: Aggregation, metric: str, gold: Any, answer: Any) -> tuple[float, ...]:
    """sacrebleu's counts of one text against its references, which it sums over a corpus."""
    references = [gold] if isinstance(gold, str) else gold
    text = answer[0] if isinstance(answer, list | tuple) and len(answer) == 1 else answer
    if not isinstance(references, Sequence) or not references or not all(isinstance(r, str) for r in references):
        raise ScoringError(f"{metric}: the target {gold!r:.80} is no text and no list of texts")
    if not isinstance(text, str):
        raise ScoringError(f"{metric}: the answer {answer!r:.80} is no text")
    [counts] = _judge(aggregation)._extract_corpus_statistics([text], [[r] for r in references])
    return tuple(float(count) for count in counts)


@cache
def _judge(aggregation: Aggregation) -> Any:
    """sacrebleu's metric with the settings of lm-eval's aggregation of that name."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    if aggregation == "bleu":
        return BLEU()
    return TER() if aggregation == "ter" else CHRF(word_order=2 if aggregation == "chrf++" else 0)


def references_of(measure: Measure, value: Any) -> int | None:
    """Number of references of an item; None where the metric compares no texts."""
    if measure.aggregation not in _TEXTS:
        return None
    return 1 if isinstance(value[0], str) else len(value[0])


def _alone(aggregation: Aggregation, parts: tuple[float, ...]) -> float:
    """The figure of one item, for reading: of labels whether they are equal."""
    if aggregation in ("f1", "matthews_corrcoef"):
        return float(parts[0] == parts[1])
    if aggregation in ("perplexity", "weighted_perplexity"):
        return math.exp(min(-parts[0] / parts[1], _LARGEST_EXPONENT))
    return figure(aggregation, np.array([parts]))
