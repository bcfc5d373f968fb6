"""Confidence intervals of one quantity: means, shares, rates, quantiles.

Every function names its assumption. Two-sided, 95 % unless told. A value is None where the data allow no interval:
the caller prints the reason, never a zero-width bar.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from swiftkv_bench.schema.perf import Float

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval and how it was made."""

    low: float
    high: float
    confidence: float
    method: str

    @property
    def half_width(self) -> float:
        """Half the distance of its ends."""
        return (self.high - self.low) / 2


def mean_interval(values: Sequence[float] | Float, confidence: float = CONFIDENCE) -> Interval | None:
    """Student t interval of the mean of independent values; None below two.

    mean ± t(n − 1) s / √n. Assumes the mean is near normal.
    """
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return None
    half = float(special.stdtrit(len(x) - 1, (1 + confidence) / 2) * x.std(ddof=1) / math.sqrt(len(x)))
    mean = float(x.mean())
    return Interval(mean - half, mean + half, confidence, f"t over {len(x)} values")


def share_interval(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval | None:
    """Wilson score interval of a share; None when n is 0. Assumes independent trials (Wilson 1927)."""
    if n == 0:
        return None
    z = float(special.ndtri((1 + confidence) / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low, high, confidence, f"Wilson over {n}")


def rate_interval(events: int, seconds: float, confidence: float = CONFIDENCE) -> Interval | None:
    """Exact interval of a Poisson rate, events/s, from a count (Garwood 1936); None when no time passed."""
    if seconds <= 0:
        return None
    tail = (1 - confidence) / 2
    low = 0.0 if events == 0 else float(stats.chi2.ppf(tail, 2 * events)) / 2
    high = float(stats.chi2.ppf(1 - tail, 2 * events + 2)) / 2
    return Interval(low / seconds, high / seconds, confidence, f"Poisson over {events} events")


def quantile_interval(values: Sequence[float] | Float, q: float, confidence: float = CONFIDENCE) -> Interval | None:
    """Distribution-free interval of the q-quantile between two order statistics; None when n is too small.

    The ranks l < u are the innermost with P(l <= Binomial(n, q) < u) >= confidence, equal tails. Assumes
    independent values: too narrow for requests that queue behind each other.
    """
    x = np.sort(np.asarray(values, dtype=float))
    n, tail = len(x), (1 - confidence) / 2
    low = int(stats.binom.ppf(tail, n, q)) if n else 0
    high = int(stats.binom.ppf(1 - tail, n, q)) + 1 if n else 0
    if low < 1 or high > n:
        return None
    return Interval(float(x[low - 1]), float(x[high - 1]), confidence, f"order statistics of {n} values")


def bootstrap_interval(
    values: Sequence[float] | Float, seed: int, confidence: float = CONFIDENCE, resamples: int = 10_000
) -> Interval | None:
    """Percentile bootstrap interval of the mean of independent values (Efron 1979); None below two."""
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, 4_000_000 // len(x))
    for first in range(0, resamples, block):
        last = min(first + block, resamples)
        means[first:last] = x[rng.integers(0, len(x), (last - first, len(x)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), confidence, f"bootstrap, {resamples:,} resamples, seed {seed}")
