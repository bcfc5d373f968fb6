"""Three-valued verdicts: an interval against a margin, and the correction over several claims."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from scipy import special

from swiftkv_bench.stats.items import ALPHA, POWER, ItemDelta
from swiftkv_bench.stats.missing import Missing, mean_with_missing
from swiftkv_bench.stats.sequential import nominal_level, overall_level


class Verdict(StrEnum):
    """Outcome of a comparison."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class NonInferiority:
    """Whether a drop is within a margin.

    Attributes:
        verdict: PASS when the lower bound is above −margin, FAIL when the upper bound is below it, else INCONCLUSIVE.
        margin: share of one, positive.
        alpha: one-sided level of this look; below 5 % where data are looked at before they are complete.
        low, high: one-sided bounds at `alpha` each, over all planned items; None without a standard error.
        p_fail: one-sided p of "the drop is at most the margin": small means a drop beyond it. Input to Holm.
        n_to_decide: items that would decide with 80 % power if the true delta were the one seen; None when decided,
            when it sits on the margin, without a standard error, or where planned items have no answer.
    """

    verdict: Verdict
    margin: float
    alpha: float
    low: float | None
    high: float | None
    p_fail: float | None
    n_to_decide: int | None


def non_inferiority(
    delta: ItemDelta, margin: float, alpha: float = ALPHA, missing: Missing | None = None
) -> NonInferiority:
    """Verdict on a paired difference against a margin, whatever the `missing` items would have scored."""
    bounds = delta.bound(alpha)
    if bounds is None or delta.stderr is None:
        return NonInferiority(Verdict.INCONCLUSIVE, margin, alpha, None, None, None, None)
    low, high = bounds if missing is None else missing.widen(*bounds)
    if low > -margin:
        verdict = Verdict.PASS
    elif high < -margin:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.INCONCLUSIVE
    distance = delta.delta + margin
    needed = None
    if verdict is Verdict.INCONCLUSIVE and distance != 0 and missing is None:
        z = float(special.ndtri(1 - alpha) + special.ndtri(POWER))
        if delta.stderr > 0:
            needed = math.ceil(delta.n * (z * delta.stderr / distance) ** 2)
        elif margin > 0:
            needed = math.ceil(float(special.ndtri(1 - alpha)) ** 2 * (1 - margin) / margin)
        needed = None if needed is None else max(needed, delta.n + 1)
    p_fail = _p_fail(delta, margin, missing)
    return NonInferiority(verdict, margin, alpha, low, high, p_fail, needed)


def _p_fail(delta: ItemDelta, margin: float, missing: Missing | None) -> float | None:
    if missing is None:
        return delta.p_at_most(-margin)
    at = missing.needed(-margin)
    return 1.0 if at <= -1 else delta.p_at_most(at)


def average_non_inferiority(
    mean: ItemDelta,
    deltas: Sequence[ItemDelta],
    missing: Sequence[Missing | None],
    margin: float,
    alpha: float = ALPHA,
) -> tuple[NonInferiority, Missing | None]:
    """Verdict on the `mean` of columns, whatever their `missing` items would have scored, and what these add to it."""
    judged = mean_with_missing(deltas, missing)
    claimed, rest = (mean, None) if judged is None else judged
    return non_inferiority(claimed, margin, alpha, rest), rest


def sequential_non_inferiority(
    delta: ItemDelta, margin: float, share: float, alpha: float = ALPHA, missing: Missing | None = None
) -> NonInferiority:
    """Verdict on a share of the planned items, of which every earlier tenth was looked at too.

    All looks together err with `alpha` at most; see `sequential`. `p_fail` is worth what it says over all looks.
    """
    found = non_inferiority(delta, margin, nominal_level(share, alpha), missing)
    return replace(found, p_fail=None if found.p_fail is None else overall_level(found.p_fail, share))


def both(one: NonInferiority, other: NonInferiority) -> NonInferiority:
    """Two claims about the same thing as one: PASS needs both, FAIL either at half the level (Bonferroni).

    Bounds and n are those of the first.
    """
    p_values = [v.p_fail for v in (one, other) if v.p_fail is not None]
    p_fail = min(1.0, 2 * min(p_values)) if len(p_values) == 2 else None
    if one.verdict is other.verdict is Verdict.PASS:
        return replace(one, p_fail=p_fail)
    if p_fail is not None and p_fail <= ALPHA and Verdict.FAIL in (one.verdict, other.verdict):
        return replace(one, verdict=Verdict.FAIL, p_fail=p_fail, n_to_decide=None)
    counts = [v.n_to_decide for v in (one, other) if v.n_to_decide is not None]
    return replace(one, verdict=Verdict.INCONCLUSIVE, p_fail=p_fail, n_to_decide=max(counts, default=None))


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> tuple[float, ...]:
    """Holm's step-down adjusted p values, in the order given (Holm 1979, weighted form in section 3.3).

    A claim with adjusted p <= α is made; the chance of any false claim is then at most α, whatever the dependence.

    Args:
        weights: positive shares of α, one a value; None for equal ones. Only their ratios matter.
    """
    w = [1.0] * len(p_values) if weights is None else list(weights)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i] / w[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        remaining = math.fsum(w[i] for i in order[rank:])
        running = max(running, min(1.0, remaining / w[index] * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """FAIL if any fails, else INCONCLUSIVE if any is or there is none, else PASS."""
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    if not verdicts or Verdict.INCONCLUSIVE in verdicts:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS
