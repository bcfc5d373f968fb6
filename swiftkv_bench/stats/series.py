"""Tests of a series: does it follow a process, does it grow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from swiftkv_bench.schema.perf import Float


@dataclass(frozen=True)
class Fit:
    """Kolmogorov-Smirnov distance from an assumed distribution, and its p."""

    n: int
    d: float
    p: float


def gamma_gaps_fit(times_s: Float, rate: float, shape: float = 1.0) -> Fit | None:
    """Do gaps between arrivals follow Gamma(shape, mean 1/rate)? Shape 1 is exponential; None below two gaps."""
    gaps = np.diff(np.sort(times_s))
    if len(gaps) < 2:
        return None
    found = stats.kstest(gaps, stats.gamma(shape, scale=1 / (rate * shape)).cdf)
    return Fit(len(gaps), float(found.statistic), float(found.pvalue))


@dataclass(frozen=True)
class Trend:
    """Kendall's rank correlation of a series with time.

    Attributes:
        tau: -1 to 1.
        p: one-sided p of "it does not grow".
        growth: mean of the last third / mean of the first third; None when the latter is 0.
    """

    tau: float
    p: float
    growth: float | None


def growth(values: Sequence[float] | Float) -> Trend | None:
    """Does a series grow? None below six values. Neighbouring values count as independent: look at `growth` too."""
    x = np.asarray(values, dtype=float)
    if len(x) < 6:
        return None
    third = len(x) // 3
    first, last = float(x[:third].mean()), float(x[-third:].mean())
    ratio = last / first if first > 0 else None
    if np.ptp(x) == 0:
        return Trend(0.0, 1.0, ratio)
    found = stats.kendalltau(np.arange(len(x)), x, alternative="greater")
    return Trend(float(found.statistic), float(found.pvalue), ratio)
