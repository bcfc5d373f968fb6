"""Mean of log-ratios over the load points of a grid, of which some repeats may be missing.

Trials that a disturbance spoilt leave holes in a grid of points and repeats. To use only the repeats that every point
has would throw most of the rest away: with 4 points, 5 repeats and 30 % of trials spoilt at random, two such repeats
exist in a third of simulated runs, and the interval from them is over twice as wide as the one made here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swiftkv_bench.schema.perf import Float
from swiftkv_bench.stats.trials import LogRatio, no_dust, welch


@dataclass(frozen=True)
class _Mean:
    """Mean over points; `variance` is of that mean, None when a point has a single repeat."""

    value: float
    variance: float | None
    df: float
    fewest: int


def grid_log_ratio(points: Sequence[Mapping[int, float]]) -> LogRatio | None:
    """Unweighted mean over points of each point's mean log-ratio; None when a point has none.

    What moves a whole repeat, at every point, counts once: the variance is cluster-robust with the repeat as cluster.
    With x the log-ratio of point p (of P) in repeat r (of its n_p), repeat r contributes

        u_r = Σ_p (x_pr − mean_p) · √(n_p / (n_p − 1)) / (P · n_p),    variance = Σ_r u_r²,

    and Student's t has (tr G)² / tr G² degrees of freedom, G = B·Bᵀ for u = B·x (Bell and McCaffrey 2002; errors are
    taken as equal and independent for that count alone). On a grid without holes this is Student's t over the repeats'
    means, exactly.

    Args:
        points: of each point, repeat -> log(candidate / reference) of trials that share schedule and prompts.

    Returns:
        `n` is the fewest repeats of a point; without standard error when that is one.
    """
    found = _mean(points)
    if found is None:
        return None
    stderr = None if found.variance is None else no_dust(math.sqrt(found.variance))
    return LogRatio(found.value, stderr, found.fewest, found.df, paired=True)


def unpaired_grid_log_ratio(
    candidate: Sequence[Mapping[int, float]], reference: Sequence[Mapping[int, float]]
) -> LogRatio | None:
    """Of trials that do not pair: the difference of both sides' means over points, Welch; None as above.

    Args:
        candidate, reference: of each point, repeat -> log of the figure.
    """
    c, r = _mean(candidate), _mean(reference)
    if c is None or r is None:
        return None
    value, n = c.value - r.value, min(c.fewest, r.fewest)
    if c.variance is None or r.variance is None:
        return LogRatio(value, None, n, 0.0, paired=False)
    return welch(value, n, (c.variance, c.df), (r.variance, r.df))


def _mean(points: Sequence[Mapping[int, float]]) -> _Mean | None:
    if not points or not all(points):
        return None
    value = float(np.mean([np.mean(list(point.values())) for point in points]))
    fewest = min(len(point) for point in points)
    if fewest == 1:
        return _Mean(value, None, 0.0, 1)
    repeats = sorted(set[int]().union(*points))
    weights = np.concatenate([_weights(point, repeats, len(points)) for point in points], axis=1)
    logs = np.concatenate([list(point.values()) for point in points])
    gram = weights @ weights.T
    variance = float(((weights @ logs) ** 2).sum())
    df = float(np.trace(gram) ** 2 / (gram**2).sum())
    return _Mean(value, variance, df, fewest)


def _weights(point: Mapping[int, float], repeats: Sequence[int], points: int) -> Float:
    """The point's columns of B, shape (repeats, n_p)."""
    n = len(point)
    mine = np.array([[float(repeat == own) for own in point] for repeat in repeats])
    present = mine.sum(axis=1, keepdims=True)
    return np.asarray((mine - present / n) * math.sqrt(n / (n - 1)) / (points * n))
