"""Ratio of two positive quantities measured in trials: the trial is the unit of independence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from swiftkv_bench.stats.intervals import CONFIDENCE, Interval, mean_interval


@dataclass(frozen=True)
class Ratio:
    """candidate / reference over trials.

    Attributes:
        value: geometric mean of the ratios.
        interval: None with one trial.
        n: pairs, or trials of the smaller side when unpaired.
        p: two-sided p of "the ratio is 1"; None with one trial or without any spread.
        method: how value and interval were made, one phrase.
    """

    value: float
    interval: Interval | None
    n: int
    p: float | None
    method: str


def paired_ratio(
    candidate: Sequence[float], reference: Sequence[float], confidence: float = CONFIDENCE
) -> Ratio | None:
    """Of trials that share schedule and prompts pair by pair; None without a pair or with a value <= 0.

    exp of the t interval of the mean of log(candidate_i / reference_i). Assumes the log-ratios are near normal. A
    bootstrap over the three to five trials of a run would be too narrow (its interval cannot leave their range).

    Raises:
        ValueError: the sides differ in length.
    """
    if len(candidate) != len(reference):
        raise ValueError(f"{len(candidate)} candidate trials cannot pair with {len(reference)} reference trials")
    c, r = np.asarray(candidate, dtype=float), np.asarray(reference, dtype=float)
    if len(c) == 0 or (c <= 0).any() or (r <= 0).any():
        return None
    logs = np.log(c / r)
    value = float(np.exp(logs.mean()))
    if len(logs) == 1:
        return Ratio(value, None, 1, None, "one pair of trials: no interval")
    inner = mean_interval(logs, confidence)
    spread = float(logs.std(ddof=1))
    p = (
        None
        if spread == 0
        else float(2 * stats.t.sf(abs(logs.mean()) / (spread / math.sqrt(len(logs))), len(logs) - 1))
    )
    return Ratio(value, _exp(inner), len(logs), p, f"t of the log-ratio over {len(logs)} pairs of trials")


def unpaired_ratio(
    candidate: Sequence[float], reference: Sequence[float], confidence: float = CONFIDENCE
) -> Ratio | None:
    """Of trials that do not pair: Welch's t on the logs; None without a trial on each side or a value <= 0."""
    c, r = np.asarray(candidate, dtype=float), np.asarray(reference, dtype=float)
    if len(c) == 0 or len(r) == 0 or (c <= 0).any() or (r <= 0).any():
        return None
    lc, lr = np.log(c), np.log(r)
    delta = float(lc.mean() - lr.mean())
    n = min(len(c), len(r))
    if n == 1:
        return Ratio(math.exp(delta), None, 1, None, "one trial on a side: no interval")
    vc, vr = lc.var(ddof=1) / len(lc), lr.var(ddof=1) / len(lr)
    se = math.sqrt(vc + vr)
    method = f"Welch t of the logs over {len(c)} and {len(r)} trials"
    if se == 0:
        return Ratio(math.exp(delta), Interval(math.exp(delta), math.exp(delta), confidence, method), n, None, method)
    df = (vc + vr) ** 2 / (vc**2 / (len(lc) - 1) + vr**2 / (len(lr) - 1))
    half = float(stats.t.ppf((1 + confidence) / 2, df)) * se
    interval = Interval(math.exp(delta - half), math.exp(delta + half), confidence, method)
    return Ratio(math.exp(delta), interval, n, float(2 * stats.t.sf(abs(delta) / se, df)), method)


def geometric_mean(ratios: Sequence[float]) -> float | None:
    """Of positive ratios; None without one."""
    return float(np.exp(np.mean(np.log(ratios)))) if len(ratios) else None


def _exp(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    return Interval(math.exp(interval.low), math.exp(interval.high), interval.confidence, interval.method)
