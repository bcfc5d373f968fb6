"""What paired items say of a difference against a margin: bounds, p and the n that would decide."""

import math
from collections.abc import Callable

from scipy import special

from swiftkv_bench.judge.lines import Flips, Measured
from swiftkv_bench.stats.items import POWER, ItemDelta
from swiftkv_bench.stats.missing import Missing
from swiftkv_bench.stats.sequential import nominal_level, overall_level


def measured(
    delta: ItemDelta, margin: float, alpha: float, *, means: tuple[float | None, float | None] = (None, None),
    sign: int = 1, share: float | None = None, claimed: ItemDelta | None = None, missing: Missing | None = None,
    noise: ItemDelta | None = None, withheld: str | None = None, published: float | None = None,
    why_open: str | None = None, flips: Flips | None = None,
) -> Measured:  # fmt: skip
    """A drop of at most `margin`, held against what the items say.

    Args:
        delta: of scores of which more is better.
        means: the reference's and the candidate's figure.
        sign: −1 where the metric itself is better when lower; effect and bounds are then turned round.
        share: of the planned items, where there were looks before their end.
        claimed: what bounds are made from, where it is not `delta`; see `mean_with_missing`.
        missing: claims hold whatever these items would have scored.
        noise: two answers of the original model. A margin within it allows no PASS, and no FAIL within it.
        withheld: the rule that forbids both.
        published: candidate − baseline as published, in the metric's direction; taken off, and taken as exact.
    """
    off = sign * (published or 0.0)
    low, high, p = _bounds(claimed or delta, off - margin, alpha, missing, share)
    no_pass = no_fail = withheld
    width = None if noise is None or noise.interval is None else noise.interval.half_width
    if width is not None and width >= margin:
        within = f"the margin is within the noise of two runs of the baseline (±{width * 100:.1f} points)"
        no_pass = withheld or within
        if high is None or high - off >= -width:
            no_fail = withheld or within
    method = "" if delta.stderr is None else delta.method
    ends = [None if x is None else sign * (x - off) for x in (low, high)][::sign]
    return Measured(
        effect=sign * (delta.delta - off), low=ends[0], high=ends[1], n=delta.n, p_fail=p,
        method=method if published is None else f"{method}; the published difference taken as exact",
        reference_value=means[0], candidate_value=means[1], no_pass=no_pass, no_fail=no_fail,
        why_open="one independent item has no standard error" if low is None else why_open,
        needed=None if missing is not None else _needed(delta, margin - off, share), published_delta=published,
        flips=flips,
    )  # fmt: skip


def _bounds(
    delta: ItemDelta, limit: float, alpha: float, missing: Missing | None, share: float | None
) -> tuple[float | None, float | None, float | None]:
    """(low, high, p of "the true difference is at least `limit`")."""
    ends, p = delta.bound(level(alpha, share)), delta.p_at_most(limit)
    if ends is None:
        return None, None, None
    if missing is not None:
        ends, at = missing.widen(*ends), missing.needed(limit)
        p = 1.0 if at <= -1 else delta.p_at_most(at)
    return ends[0], ends[1], over_looks(p, share)


def _needed(delta: ItemDelta, margin: float, share: float | None) -> Callable[[float], int | None]:
    """Level -> items that would decide with 80 % power if the true difference were the one seen."""

    def needed(alpha: float) -> int | None:
        at = level(alpha, None if share is None else 1.0)
        distance, z = delta.delta + margin, float(special.ndtri(1 - at) + special.ndtri(POWER))
        if not distance or delta.stderr is None:
            return None
        if delta.stderr > 0:
            return max(math.ceil(delta.n * (z * delta.stderr / distance) ** 2), delta.n + 1)
        return max(math.ceil(special.ndtri(1 - at) ** 2 * (1 - margin) / margin), delta.n + 1) if margin > 0 else None

    return needed


def level(alpha: float, share: float | None) -> float:
    """Level of the bounds of one look, so that all looks together err with `alpha`; `share` None: the only look."""
    return alpha if share is None else nominal_level(share, alpha)


def over_looks(p: float | None, share: float | None) -> float | None:
    """What a p value of one look is worth over all of them."""
    return p if p is None or share is None else overall_level(p, share)
