"""Paired comparison of two arms' scores of the same items.

All of it works on scores between 0 and 1 and on differences candidate − reference. Sources: Miller 2024
(arXiv 2411.00640) for paired and clustered standard errors, McNemar 1947 for flips of 0/1 scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from swiftkv_bench.schema.perf import Float
from swiftkv_bench.stats.intervals import CONFIDENCE, Interval, bootstrap_interval, share_interval

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
        clusters: tasks that `stderr` is clustered by; None when it is not.
        bounded_by: what `bound` uses: `score` (Tango's score interval of paired 0/1 scores), `t`, or `wider` of both.
        bootstrap: of continuous scores only, seeded, items resampled, 95 %.
        lost, gained: items whose 0/1 score flipped from right to wrong, wrong to right; None for continuous scores.
        discordance: share of items that flipped (0/1), or share whose score differs (continuous).
        mcnemar_p: exact two-sided p that flips fall either way alike; None for continuous scores or without a flip.
        detectable_drop: drop found with 80 % power at a one-sided 5 % level, share of one.
        tail: one-sided level of each end of `interval`; below 2.5 % where data are looked at before they are complete.
    """

    n: int
    delta: float
    stderr: float | None
    stderr_items: float | None
    df: float
    clusters: int | None
    bounded_by: Literal["score", "t", "wider"]
    bootstrap: Interval | None
    lost: int | None
    gained: int | None
    discordance: float
    mcnemar_p: float | None
    detectable_drop: float | None
    tail: float = (1 - CONFIDENCE) / 2

    def bound(self, alpha: float = ALPHA) -> tuple[float, float] | None:
        """One-sided lower and upper bound at level `alpha` each; None without a standard error."""
        if self.stderr is None:
            return None
        half = float(special.stdtrit(self.df, 1 - alpha)) * self.stderr
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
        if ends is None:
            return None
        names = {"score": "paired score interval (Tango)", "t": "paired t"}
        method = names.get(self.bounded_by, "wider of score interval and clustered t")
        if self.clusters is not None and self.bounded_by == "t":
            method += f", clustered by {self.clusters} tasks"
        if self.tail < (1 - CONFIDENCE) / 2:
            method += ", repeated interval of a group-sequential design"
        return Interval(*ends, CONFIDENCE, method)

    def p_at_most(self, value: float) -> float | None:
        """One-sided p of "the true delta is at least `value`": small means it is below; None without an error."""
        if self.stderr is None:
            return None
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


def score(values: Float, tasks: Sequence[str], by: str = "item", confidence: float = CONFIDENCE) -> Score:
    """Mean score of one arm. 0/1 scores weighted by item get a Wilson interval, others a t interval.

    Raises:
        ValueError: there is no item.
    """
    if len(values) == 0:
        raise ValueError("a score needs at least one item")
    weights = item_weights(tasks, by)
    mean = _mean(values, weights, by)
    stderr = _stderr(values, weights, tasks, by)
    if stderr is None:
        return Score(len(values), mean, None, None)
    if by == "item" and _binary(values):
        return Score(len(values), mean, stderr, share_interval(round(values.sum()), len(values), confidence))
    half = float(special.stdtrit(len(values) - 1, (1 + confidence) / 2)) * stderr
    return Score(len(values), mean, stderr, Interval(mean - half, mean + half, confidence, f"t over {len(values)}"))


def compare_items(
    reference: Float, candidate: Float, tasks: Sequence[str], by: str = "item", *, seed: int = 0
) -> ItemDelta:
    """Compares two arms item by item.

    Args:
        reference: scores, shape (n,).
        candidate: scores of the same items in the same order, shape (n,).
        tasks: the task (subject) of each item; with several, the standard error is clustered by them.
        by: how the column is averaged, `item` or `task`.
        seed: of the bootstrap.

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
    clusters = len(set(tasks))
    stderr, df = (plain, n - 1.0) if clusters < 2 else (_clustered(difference, weights, tasks), clusters - 1.0)
    binary = _binary(reference) and _binary(candidate)
    discordance = float((difference != 0).mean())
    lost = int((difference < 0).sum()) if binary else None
    gained = int((difference > 0).sum()) if binary else None
    return ItemDelta(
        n=n,
        delta=delta,
        stderr=stderr if n > 1 else None,
        stderr_items=plain,
        df=df,
        clusters=None if clusters < 2 else clusters,
        bounded_by=_bounded_by(binary and by == "item", clusters, discordance),
        bootstrap=None if binary or by != "item" else bootstrap_interval(difference, seed),
        lost=lost,
        gained=gained,
        discordance=discordance,
        mcnemar_p=None if lost is None or gained is None else mcnemar(lost, gained),
        detectable_drop=None if stderr is None else detectable_drop(stderr or _no_flip_stderr(n)),
    )


def _bounded_by(binary: bool, clusters: int, discordance: float) -> Literal["score", "t", "wider"]:
    if discordance == 0:
        # No item differs: a t interval has no width, the score interval has.
        return "score"
    if not binary:
        return "t"
    return "score" if clusters < 2 else "wider"


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
    """Unweighted mean of columns that share no items (the macro average); None without a column.

    stderr = √Σ se² / C, degrees of freedom by Welch–Satterthwaite; a column without a flip enters with the standard
    error of its score bound. Flips are sums.
    """
    if not deltas:
        return None
    c = len(deltas)
    delta = sum(d.delta for d in deltas) / c
    n = sum(d.n for d in deltas)
    known = [(d.stderr or _no_flip_stderr(d.n), d.df) for d in deltas if d.stderr is not None]
    plain = [d.stderr_items for d in deltas if d.stderr_items is not None]
    stderr, df = None, 1.0
    if len(known) == c:
        variance = sum(se**2 for se, _ in known)
        stderr = math.sqrt(variance) / c
        df = variance**2 / sum(se**4 / d for se, d in known)
    flips = [(d.lost, d.gained) for d in deltas if d.lost is not None and d.gained is not None]
    whole = len(flips) == c
    return ItemDelta(
        n=n,
        delta=delta,
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


def _clustered(values: Float, weights: Float, tasks: Sequence[str]) -> float:
    """√(C/(C − 1) Σ over clusters of (Σ w (d − mean))²): Miller 2024, eq. 4, with the small-sample factor."""
    residual = weights * (values - float(weights @ values))
    groups = _groups(tasks)
    total = sum(float(residual[rows].sum()) ** 2 for rows in groups)
    return math.sqrt(total * len(groups) / (len(groups) - 1))


def _groups(tasks: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    _, index = np.unique(np.asarray(tasks), return_inverse=True)
    order = np.argsort(index, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(index[order])) + 1)
