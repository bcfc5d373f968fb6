"""The highest request rate at which each arm meets the latency objective, at each input length."""

from collections.abc import Sequence

from swiftkv_bench.analysis.values import PointResult, RateLimit, RateLimits
from swiftkv_bench.metrics import Objective
from swiftkv_bench.schema.engine import Arm


def rate_limits(points: Sequence[PointResult], objective: Objective | None) -> tuple[RateLimits, ...]:
    """One value an input and output length that has points at a rate; none without an objective."""
    if objective is None:
        return ()
    groups: dict[tuple[object, ...], list[PointResult]] = {}
    for p in points:
        if p.point.arrivals.rate is not None:
            key = (p.point.input_len, p.point.output_len, p.point.arrivals.process, p.point.arrivals.burstiness)
            groups.setdefault(key, []).append(p)
    return tuple(_limits(group, objective) for group in groups.values())


def _limits(points: Sequence[PointResult], objective: Objective) -> RateLimits:
    arms = {arm: _limit(points, arm, objective) for arm in dict.fromkeys(arm for p in points for arm in p.arms)}
    base, swift = arms.get("baseline"), arms.get("swiftkv")
    gain = ends = None
    if base is not None and swift is not None and base.rate is not None and swift.rate is not None:
        gain = swift.rate / base.rate
        if base.low and base.high and swift.low and swift.high:
            ends = (swift.low / base.high, swift.high / base.low)
    return RateLimits(points[0].point, arms, gain, ends)


def _limit(points: Sequence[PointResult], arm: Arm, objective: Objective) -> RateLimit:
    """Between the highest rate up to which every rate met the objective, and the next, which did not.

    Invalid points are passed over. The rate itself is interpolated on the attained share; None where it lies beyond
    the rates measured.
    """
    shares = {}
    for p in sorted(points, key=lambda p: p.point.arrivals.rate or 0.0):
        measured = p.arms.get(arm)
        if measured is not None and measured.valid and measured.goodput_share is not None:
            shares[p.point.arrivals.rate or 0.0] = measured.goodput_share[0]
    low = high = None
    for rate, share in shares.items():
        if share < objective.share:
            high = rate
            break
        low = rate
    if low is None or high is None:
        return RateLimit(None, low, high, len(shares))
    above, below = shares[low] - objective.share, objective.share - shares[high]
    return RateLimit(low + (high - low) * above / (above + below), low, high, len(shares))
