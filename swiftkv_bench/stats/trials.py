"""Ratio of a candidate's trials to a reference's: an interval, and one-sided bounds and p against a limit.

Works on logs of trial means, so that a ratio and its inverse are treated alike. With three to five trials a bootstrap
of them undercovers (it cannot leave their range) and the smallest p of a permutation test is 1/20 (three against
three) or 1/32 (five signs): both too coarse for a corrected claim. Student's t on the logs has the right error rate
when log-ratios are near normal; `benchmarks/gate_calibration.py` measures it on recorded trials.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from swiftkv_bench.schema.perf import Float
from swiftkv_bench.stats.intervals import CONFIDENCE, Interval
from swiftkv_bench.stats.items import ALPHA, POWER


@dataclass(frozen=True)
class LogRatio:
    """Mean of log(candidate / reference).

    Attributes:
        value: on the log scale; exp(value) is a ratio of geometric means.
        stderr: None with one trial on a side.
        n: pairs, or trials of the smaller side; over several load points the fewest of a point.
        df: degrees of freedom of `stderr`.
    """

    value: float
    stderr: float | None
    n: int
    df: float
    paired: bool

    @property
    def ratio(self) -> float:
        """candidate / reference."""
        return math.exp(self.value)

    def bounds(self, alpha: float = ALPHA) -> tuple[float, float] | None:
        """One-sided bounds of the ratio, level `alpha` each; None without a standard error."""
        if self.stderr is None:
            return None
        half = float(special.stdtrit(self.df, 1 - alpha)) * self.stderr
        return math.exp(self.value - half), math.exp(self.value + half)

    def interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """Two-sided interval of the ratio; None without a standard error."""
        bounds = self.bounds((1 - confidence) / 2)
        return None if bounds is None else Interval(*bounds, confidence, self.method)

    @property
    def method(self) -> str:
        """How value and interval were made, one phrase."""
        of = "pairs of trials" if self.paired else "trials a side, Welch"
        if self.stderr is None:
            return f"{self.n} {of}: no interval"
        return f"t of the log-ratio, {self.n} {of}, {self.df:.3g} degrees of freedom"

    @property
    def p_equal(self) -> float | None:
        """Two-sided p of "the true ratio is 1"; None without an error or without any spread."""
        return None if not self.stderr else float(2 * special.stdtr(self.df, -abs(self.value) / self.stderr))

    def p_at_most(self, ratio: float) -> float | None:
        """One-sided p of "the true ratio is at most `ratio`": small means it is above; None without an error."""
        return self._tail(math.log(ratio) - self.value)

    def p_at_least(self, ratio: float) -> float | None:
        """One-sided p of "the true ratio is at least `ratio`": small means it is below; None without an error."""
        return self._tail(self.value - math.log(ratio))

    def _tail(self, away: float) -> float | None:
        if self.stderr is None:
            return None
        return float(special.stdtr(self.df, away / self.stderr)) if self.stderr > 0 else float(away >= 0)

    def n_to_decide(self, limit: float, alpha: float = ALPHA, power: float = POWER) -> int | None:
        """Trials a side that decide against `limit` if the ratio is the one seen; None above 1,000 or without error."""
        return self._n_for(abs(self.value - math.log(limit)), alpha, power, self.n + 1)

    def n_to_find(self, ratio: float, alpha: float = ALPHA, power: float = 0.9) -> int | None:
        """Trials a side that show a true ratio of `ratio` to differ from 1; None above 1,000 or without error."""
        return self._n_for(abs(math.log(ratio)), alpha, power, 2)

    def _n_for(self, distance: float, alpha: float, power: float, least: int) -> int | None:
        """The smallest n with (t(1 − α) + t(power)) · stderr · √(n now / n) within the distance."""
        if not self.stderr or distance == 0:
            return None
        each = self.stderr * math.sqrt(self.n)
        for n in range(max(2, least), 1001):
            df = self.df / max(1, self.n - 1) * (n - 1)
            if float(special.stdtrit(df, 1 - alpha) + special.stdtrit(df, power)) * each / math.sqrt(n) <= distance:
                return n
        return None


def paired_log_ratio(candidate: Sequence[float], reference: Sequence[float]) -> LogRatio | None:
    """Of trials that share schedule and prompts pair by pair; None without a pair or with a value <= 0.

    Raises:
        ValueError: the sides differ in length.
    """
    if len(candidate) != len(reference):
        raise ValueError(f"{len(candidate)} candidate trials cannot pair with {len(reference)} reference trials")
    logs = _logs(candidate, reference)
    if logs is None:
        return None
    x, n = logs[0] - logs[1], len(candidate)
    stderr = float(x.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return LogRatio(float(x.mean()), no_dust(stderr), n, n - 1.0, paired=True)


def unpaired_log_ratio(candidate: Sequence[float], reference: Sequence[float]) -> LogRatio | None:
    """Of trials that do not pair, Welch; None without a trial on a side or with a value <= 0."""
    logs = _logs(candidate, reference)
    if logs is None:
        return None
    c, r = logs
    value, n = float(c.mean() - r.mean()), min(len(c), len(r))
    if n < 2:
        return LogRatio(value, None, n, 0.0, paired=False)
    of_c, of_r = ((float(side.var(ddof=1)) / len(side), len(side) - 1.0) for side in (c, r))
    return welch(value, n, of_c, of_r)


def welch(value: float, n: int, candidate: tuple[float, float], reference: tuple[float, float]) -> LogRatio:
    """Of sides that do not pair: degrees of freedom by Welch and Satterthwaite.

    Args:
        candidate, reference: (variance of the side's mean, its degrees of freedom).
    """
    sides = (candidate, reference)
    total = sum(variance for variance, _ in sides)
    spent = sum(variance**2 / df for variance, df in sides)
    df = total**2 / spent if spent > 0 else sum(df for _, df in sides)
    return LogRatio(value, no_dust(math.sqrt(total)), n, df, paired=False)


def _logs(candidate: Sequence[float], reference: Sequence[float]) -> list[Float] | None:
    sides = [np.asarray(side, dtype=float) for side in (candidate, reference)]
    if any(len(side) == 0 or (side <= 0).any() for side in sides):
        return None
    return [np.log(side) for side in sides]


def no_dust(stderr: float | None) -> float | None:
    """Rounding of equal values is no spread."""
    return 0.0 if stderr is not None and stderr < 1e-12 else stderr
