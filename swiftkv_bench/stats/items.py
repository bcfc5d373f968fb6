"""Paired comparison of two arms' scores of the same items.

All of it works on differences candidate − reference, of scores of which more is better. Sources: Miller 2024
(arXiv 2411.00640) for paired and clustered standard errors, McNemar 1947 for flips of 0/1 scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from swiftkv_bench.schema.accuracy import Aggregation
from swiftkv_bench.schema.perf import Float
from swiftkv_bench.stats.aggregates import figure, figures
from swiftkv_bench.stats.intervals import CONFIDENCE, Interval, bootstrap_interval, share_interval

Labels = npt.NDArray[Any]
"""Names of items or of what they belong to; only equality counts."""

POWER = 0.8
ALPHA = 0.05
"""One-sided level of a non-inferiority claim, and of the detectable drop."""


@dataclass(frozen=True)
class Score:
    """Mean score of one arm and its standard error (None below two items)."""

    n: int
    mean: float
    stderr: float | None
    interval: Interval | None


@dataclass(frozen=True)
class ItemDelta:
    """Difference of two arms over the same items.

    Attributes:
        n: items.
        delta: mean of candidate − reference, weighted as the column asks.
        stderr: paired standard error of `delta`; clustered by task where there are several. None below two items.
        stderr_items: the same with items taken as independent.
        df: degrees of freedom of `stderr`.
        clusters: groups of items that are not independent (subjects, passages, documents asked twice) by which `stderr`
            is clustered; None when every item stands alone.
        bounded_by: what `bound` uses: `score` (Tango's score interval of paired 0/1 scores), `t`, `wider` of both, or
            `bootstrap` (of `replicates`).
        bootstrap: of continuous scores only, seeded, items resampled, 95 %.
        lost, gained: items whose 0/1 score flipped from right to wrong, wrong to right; None for continuous scores.
        discordance: share of items that flipped (0/1), or share whose score differs (continuous).
        mcnemar_p: exact two-sided p that flips fall either way alike; None for continuous scores or without a flip.
        detectable_drop: drop found with 80 % power at a one-sided 5 % level, share of one.
        tail: one-sided level of each end of `interval`; below 2.5 % where data are looked at before they are complete.
        span: largest possible difference; None where the metric has no bound.
        units, pulls: of each independent unit (item or cluster) its name and what it adds to the error of `delta`;
            shape (units,). Columns that share units are not independent; `mean_delta` counts that.
        replicates: `delta` of each bootstrap resample, sorted; None where the figure is a mean of items.
    """

    n: int
    delta: float
    stderr: float | None
    stderr_items: float | None
    df: float
    clusters: int | None
    bounded_by: Literal["score", "t", "wider", "bootstrap"]
    bootstrap: Interval | None
    lost: int | None
    gained: int | None
    discordance: float
    mcnemar_p: float | None
    detectable_drop: float | None
    tail: float = (1 - CONFIDENCE) / 2
    span: float | None = 1.0
    units: Any = field(default=None, compare=False, repr=False)
    pulls: Any = field(default=None, compare=False, repr=False)
    replicates: Any = field(default=None, compare=False, repr=False)

    def bound(self, alpha: float = ALPHA) -> tuple[float, float] | None:
        """One-sided lower and upper bound at level `alpha` each, within the span; None without a standard error."""
        if self.stderr is None:
            return None
        low, high = self._unclipped(alpha, self.stderr)
        return (low, high) if self.span is None else (max(low, -self.span), min(high, self.span))

    def _unclipped(self, alpha: float, stderr: float) -> tuple[float, float]:
        if self.bounded_by == "bootstrap":
            return _ends(self.replicates, alpha)
        half = float(special.stdtrit(self.df, 1 - alpha)) * stderr
        by_t = (self.delta - half, self.delta + half)
        if self.bounded_by == "t":
            return by_t
        by_score = score_bounds(self.gained or 0, self.lost or 0, self.n, alpha)
        if self.bounded_by == "score":
            return by_score
        return min(by_t[0], by_score[0]), max(by_t[1], by_score[1])

    @property
    def interval(self) -> Interval | None:
        """Two-sided 95 %; over all looks together where `tail` is smaller."""
        ends = self.bound(self.tail)
        return None if ends is None else Interval(*ends, CONFIDENCE, self.method)

    @property
    def method(self) -> str:
        """How bounds are made, one phrase."""
        names = {"score": "paired score interval (Tango)", "t": "paired t", "bootstrap": "paired bootstrap"}
        method = names.get(self.bounded_by, "wider of score interval and clustered t")
        if self.clusters is not None and self.bounded_by in ("t", "bootstrap"):
            method += f", clustered by {self.clusters} groups of items"
        if self.tail < (1 - CONFIDENCE) / 2:
            method += ", repeated interval of a group-sequential design"
        return method

    def p_at_most(self, value: float) -> float | None:
        """One-sided p of "the true delta is at least `value`": small means it is below; None without an error."""
        if self.stderr is None:
            return None
        if self.bounded_by == "bootstrap":
            above = len(self.replicates) - int(np.searchsorted(self.replicates, value, side="left"))
            return (above + 1) / (len(self.replicates) + 1)
        found = []
        if self.bounded_by != "score":
            away = self.delta - value
            found.append(float(special.stdtr(self.df, away / self.stderr)) if self.stderr else float(away >= 0))
        if self.bounded_by != "t":
            found.append(float(special.ndtr(_score_z(self.gained or 0, self.lost or 0, self.n, value))))
        return max(found)


def score_bounds(gained: int, lost: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """One-sided bounds, level `alpha` each, of (gained − lost)/n for paired 0/1 scores (Tango 1998).

    Inverts the score test, so that no flip in n items still leaves room for one: −z²/(n + z²) .. z²/(n + z²).
    """
    z = float(special.ndtri(1 - alpha))
    edge = 1 - 1e-12
    seen = (gained - lost) / n

    def root(target: float, a: float, b: float) -> float:
        at = [_score_z(gained, lost, n, end) - target for end in (a, b)]
        if at[0] * at[1] > 0:
            return a if abs(at[0]) < abs(at[1]) else b
        return float(optimize.brentq(lambda d: _score_z(gained, lost, n, d) - target, a, b, xtol=1e-12))

    low = -1.0 if seen <= -edge else root(z, -edge, seen)
    high = 1.0 if seen >= edge else root(-z, seen, edge)
    return low, high


def _score_z(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's score statistic of "the true difference is `delta`"."""
    away = gained - lost - n * delta
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    share_lost = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * share_lost + delta * (1 - delta))
    if variance <= 0:
        return 0.0 if away == 0 else math.copysign(math.inf, away)
    return away / math.sqrt(variance)


def item_weights(tasks: Sequence[str], by: str) -> Float:
    """Weights, shape (n,), sum 1: equal for items (`item`), or equal for tasks and within each task (`task`)."""
    if by == "item":
        return np.full(len(tasks), 1 / len(tasks))
    _, index, counts = np.unique(np.asarray(tasks), return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(counts) * counts[index]), dtype=float)


def score(
    values: Float,
    tasks: Sequence[str],
    by: str = "item",
    confidence: float = CONFIDENCE,
    ends: tuple[float | None, float | None] = (0.0, 1.0),
) -> Score:
    """Mean score of one arm. 0/1 scores get a Wilson interval, others a t interval within the metric's `ends`.

    Raises:
        ValueError: there is no item.
    """
    if len(values) == 0:
        raise ValueError("a score needs at least one item")
    n, weights = len(values), item_weights(tasks, by)
    mean = _mean(values, weights, by)
    stderr = _stderr(values, weights, tasks, by)
    if _binary(values) and (by == "item" or not stderr):
        return Score(n, mean, stderr, share_interval(round(values.sum()), n, confidence))
    if stderr is None:
        return Score(n, mean, None, None)
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * stderr
    low, high = clipped(mean - half, mean + half, ends)
    return Score(n, mean, stderr, Interval(low, high, confidence, f"t over {n}"))


def clipped(low: float, high: float, ends: tuple[float | None, float | None]) -> tuple[float, float]:
    """Bounds within the values that a metric can have; None: no bound."""
    least, most = ends
    return low if least is None else max(low, least), high if most is None else min(high, most)


def compare_items(
    reference: Float,
    candidate: Float,
    tasks: Sequence[str],
    by: str = "item",
    *,
    seed: int = 0,
    clusters: Labels | None = None,
    documents: Labels | None = None,
    span: float | None = 1.0,
) -> ItemDelta:
    """Compares two arms item by item.

    Args:
        reference: scores, shape (n,).
        candidate: scores of the same items in the same order, shape (n,).
        tasks: the task (subject) of each item; with several, the standard error is clustered by them.
        by: how the column is averaged, `item` or `task`.
        seed: of the bootstrap.
        clusters: shape (n,), equal for items that are not independent; in place of the tasks.
        documents: shape (n,), names of the items' documents, by which columns are known to share items.
        span: largest possible difference; None: unbounded.

    Raises:
        ValueError: no items, or lengths differ.
    """
    n = len(reference)
    if n == 0 or len(candidate) != n or len(tasks) != n:
        raise ValueError(f"paired items needed: {n} reference, {len(candidate)} candidate, {len(tasks)} tasks")
    difference = candidate - reference
    weights = item_weights(tasks, by)
    delta = _mean(difference, weights, by)
    plain = _stderr(difference, weights, tasks, by)
    groups = _labels(tasks, clusters)
    count = n if groups is None else len(np.unique(groups))
    stderr, df = plain, n - 1.0
    if groups is not None and count > 1:
        stderr, df = _clustered(difference, weights, groups), count - 1.0
    elif groups is not None:
        stderr = None
    binary = _binary(reference) and _binary(candidate)
    discordance = float((difference != 0).mean())
    lost = int((difference < 0).sum()) if binary else None
    gained = int((difference > 0).sum()) if binary else None
    units = clusters if clusters is not None else documents
    return ItemDelta(
        n=n,
        delta=delta,
        stderr=stderr if n > 1 else None,
        stderr_items=plain,
        df=df,
        clusters=None if groups is None else count,
        bounded_by=_bounded_by(binary and by == "item", groups is not None, discordance, span),
        bootstrap=None if binary or by != "item" or groups is not None else bootstrap_interval(difference, seed),
        lost=lost,
        gained=gained,
        discordance=discordance,
        mcnemar_p=None if lost is None or gained is None else mcnemar(lost, gained),
        detectable_drop=None if stderr is None else detectable_drop(stderr or _no_flip_stderr(n)),
        span=span,
        units=units,
        pulls=None if units is None else weights * (difference - delta),
    )


def compare_aggregates(
    aggregation: Aggregation,
    reference: Float,
    candidate: Float,
    *,
    better: int,
    clusters: Labels,
    seed: int,
    span: float | None,
) -> ItemDelta:
    """Compares two arms whose figure is no mean of items: paired bootstrap, whole clusters drawn.

    Args:
        reference, candidate: parts of the same items, shape (n, k).
        better: 1 where a larger figure is better, −1 where a smaller is; the difference is multiplied by it.
        clusters: shape (n,), equal for items that are not independent.
    """
    n, (_, index) = len(reference), np.unique(clusters, return_inverse=True)
    count, rng, drawn = int(index.max()) + 1, np.random.default_rng(seed), []
    for first in range(0, RESAMPLES, block := max(1, 2_000_000 // n)):
        size = min(block, RESAMPLES - first)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(float)[:, index]
        drawn.append(figures(aggregation, candidate, weights) - figures(aggregation, reference, weights))
    replicates = np.sort(better * np.concatenate(drawn))
    replicates = replicates[np.isfinite(replicates)]
    delta = better * (figure(aggregation, candidate) - figure(aggregation, reference))
    known = count > 1 and 2 * len(replicates) > RESAMPLES and math.isfinite(delta)
    stderr = float(replicates.std(ddof=1)) if known else None
    return ItemDelta(
        n=n, delta=delta, stderr=stderr, stderr_items=None, df=count - 1.0, clusters=count if count < n else None,
        bounded_by="bootstrap", bootstrap=None, lost=None, gained=None,
        discordance=float((reference != candidate).any(axis=1).mean()), mcnemar_p=None,
        detectable_drop=None if stderr is None else detectable_drop(stderr), span=span,
        units=clusters, replicates=replicates,
    )  # fmt: skip


RESAMPLES = 10_000
"""Of the bootstrap of a figure that is no mean of items."""


def _ends(replicates: Float, alpha: float) -> tuple[float, float]:
    """Percentiles of the resamples; nothing is bounded at a level that they cannot show."""
    if alpha * (len(replicates) + 1) < 1:
        return -math.inf, math.inf
    low, high = np.quantile(replicates, [alpha, 1 - alpha])
    return float(low), float(high)


def _labels(tasks: Sequence[str], clusters: Labels | None) -> Labels | None:
    """What items are clustered by; None where every item stands alone."""
    if clusters is not None:
        return None if len(np.unique(clusters)) == len(clusters) else clusters
    return np.asarray(tasks) if len(set(tasks)) > 1 else None


def _bounded_by(
    binary: bool, clustered: bool, discordance: float, span: float | None
) -> Literal["score", "t", "wider"]:
    if discordance == 0 and span == 1.0:
        # No item differs: a t interval has no width, the score interval has.
        return "score"
    if not binary:
        return "t"
    return "wider" if clustered else "score"


def _no_flip_stderr(n: int) -> float:
    """Standard error that gives the score bound of n items without a flip: z/(n + z²), one-sided 5 %."""
    z = float(special.ndtri(1 - ALPHA))
    return z / (n + z * z)


def mcnemar(lost: int, gained: int) -> float | None:
    """Exact two-sided McNemar p: Binomial(lost + gained, 1/2); None without a flip."""
    if lost + gained == 0:
        return None
    return min(1.0, 2 * float(special.bdtr(min(lost, gained), lost + gained, 0.5)))


def detectable_drop(stderr: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """Smallest true drop that a one-sided test finds with the given power: (z(1 − α) + z(power)) · stderr."""
    return float(special.ndtri(1 - alpha) + special.ndtri(power)) * stderr


def mean_delta(deltas: Sequence[ItemDelta]) -> ItemDelta | None:
    """Unweighted mean of columns (the macro average); None without a column.

    variance = Σ over columns c, d of cov(c, d) / C², where cov(c, c) = se² and cov(c, d) = Σ over the units u that both
    columns have of pull_c(u) · pull_d(u): columns of other documents are independent, columns of the same documents are
    not (Miller 2024, section 2.2, with the unit as cluster). A column without a flip enters with the standard error of
    its score bound; where a column shares units and has no pulls, correlation 1 is taken. Degrees of freedom by
    Welch–Satterthwaite over groups of columns that share units, each with the least of its columns. Flips are sums.
    """
    if not deltas:
        return None
    c = len(deltas)
    known = [(d.stderr or (_no_flip_stderr(d.n) if d.bounded_by == "score" else 0.0)) for d in deltas]
    whole_errors = all(d.stderr is not None for d in deltas)
    plain = [d.stderr_items for d in deltas if d.stderr_items is not None]
    stderr, df = _joint(deltas, known) if whole_errors else (None, 1.0)
    flips = [(d.lost, d.gained) for d in deltas if d.lost is not None and d.gained is not None]
    whole, n = len(flips) == c, sum(d.n for d in deltas)
    return ItemDelta(
        n=n,
        delta=sum(d.delta for d in deltas) / c,
        stderr=stderr,
        stderr_items=math.sqrt(sum(s**2 for s in plain)) / c if len(plain) == c else None,
        df=df,
        clusters=None,
        bounded_by="t",
        bootstrap=None,
        lost=sum(lost for lost, _ in flips) if whole else None,
        gained=sum(gained for _, gained in flips) if whole else None,
        discordance=sum(d.discordance * d.n for d in deltas) / n,
        mcnemar_p=None,
        detectable_drop=None if stderr is None else detectable_drop(stderr),
    )


def _joint(deltas: Sequence[ItemDelta], errors: Sequence[float]) -> tuple[float, float]:
    """Standard error of the columns' mean, and its degrees of freedom."""
    count = len(deltas)
    matrix, group = np.diag(np.square(errors)), list(range(count))
    for i in range(count):
        for j in range(i):
            shared = _shared(deltas[i], deltas[j])
            if shared is not None:
                together = errors[i] * errors[j]
                matrix[i, j] = matrix[j, i] = together if math.isnan(shared) else min(max(shared, -together), together)
                group = [group[j] if name == group[i] else name for name in group]
    variance, spent = max(float(matrix.sum()), 0.0), 0.0
    for name in dict.fromkeys(group):
        rows = [i for i in range(count) if group[i] == name]
        part = max(float(matrix[np.ix_(rows, rows)].sum()), 0.0)
        spent += part**2 / min(deltas[i].df for i in rows)
    return math.sqrt(variance) / count, variance**2 / spent if spent else min(d.df for d in deltas)


def _shared(one: ItemDelta, other: ItemDelta) -> float | None:
    """Covariance by the units that both have; None where they share none, NaN where it cannot be computed."""
    if one.units is None or other.units is None:
        return None
    common = np.intersect1d(one.units, other.units)
    if len(common) == 0:
        return None
    if one.pulls is None or other.pulls is None:
        return math.nan
    sums = []
    for d in (one, other):
        at = np.searchsorted(common, d.units)
        there = common[np.minimum(at, len(common) - 1)] == d.units
        sums.append(np.bincount(at[there], d.pulls[there], minlength=len(common)))
    return float(sums[0] @ sums[1])


def _mean(values: Float, weights: Float, by: str) -> float:
    # The plain mean of 0/1 scores is exact; the weighted sum is not.
    return float(values.mean()) if by == "item" else float(weights @ values)


def _binary(values: Float) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _stderr(values: Float, weights: Float, tasks: Sequence[str], by: str) -> float | None:
    """Of a weighted mean of independent items; weighted by task, tasks are strata."""
    n = len(values)
    if n < 2:
        return None
    if by == "item":
        return float(values.std(ddof=1) / math.sqrt(n))
    total = 0.0
    for rows in _groups(tasks):
        if len(rows) < 2:
            return None
        total += float((weights[rows] ** 2).sum() * values[rows].var(ddof=1))
    return math.sqrt(total)


def _clustered(values: Float, weights: Float, labels: Labels) -> float:
    """√(C/(C − 1) Σ over clusters of (Σ w (d − mean))²): Miller 2024, eq. 4, with the small-sample factor."""
    residual = weights * (values - float(weights @ values))
    groups = _groups(labels)
    total = sum(float(residual[rows].sum()) ** 2 for rows in groups)
    return math.sqrt(total * len(groups) / (len(groups) - 1))


def _groups(tasks: Sequence[str] | Labels) -> list[npt.NDArray[np.int64]]:
    _, index = np.unique(np.asarray(tasks), return_inverse=True)
    order = np.argsort(index, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(index[order])) + 1)
