"""The highest rate under an objective, from attained shares at the rates measured."""

from collections.abc import Mapping

import numpy as np
import pytest

from swiftkv_bench.analysis.limits import rate_limits
from swiftkv_bench.analysis.values import PointArm, PointResult, RateLimit, RateLimits
from swiftkv_bench.evidence.trials import Sample
from swiftkv_bench.metrics import Objective
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Arrivals
from swiftkv_bench.stats.intervals import share_interval
from tests.synthetic import point

OBJECTIVE = Objective(ttft_s=1.0, share=0.9)


def _arm(arm: Arm, share: float, *, valid: bool = True) -> PointArm:
    none, interval = np.zeros(0), share_interval(round(100 * share), 100)
    assert interval is not None
    return PointArm(
        arm=arm, valid=valid, saturated=False, trials=1, trials_left_out=0, requests=100, ok=100, failures={},
        estimates={}, goodput_share=(share, interval), breakdown=None, sample=Sample(none, none, none, none, none, 0),
    )  # fmt: skip


def _point(rate: float | None, arms: Mapping[Arm, PointArm]) -> PointResult:
    arrivals = Arrivals(process="all-at-once") if rate is None else Arrivals(process="poisson", rate=rate)
    return PointResult(point(2000, arrivals, 100), dict(arms), {}, None, None)


def _limits(shares: Mapping[float, tuple[float, float]]) -> RateLimits:
    points = [
        _point(r, {"baseline": _arm("baseline", b), "swiftkv": _arm("swiftkv", s)}) for r, (b, s) in shares.items()
    ]
    (found,) = rate_limits(points, OBJECTIVE)
    return found


def test_the_rate_is_interpolated_between_the_last_that_met_it_and_the_first_that_did_not() -> None:
    found = _limits({4.0: (0.5, 0.95), 1.0: (1.0, 1.0), 2.0: (0.94, 1.0), 8.0: (0.1, 0.65)})
    # Baseline: 0.94 at 2/s, 0.50 at 4/s: 0.90 lies a share of 4/44 between. SwiftKV: 0.95 at 4/s, 0.65 at 8/s: 5/30.
    assert found.arms["baseline"] == RateLimit(found.arms["baseline"].rate, 2.0, 4.0, 4)
    assert found.arms["swiftkv"] == RateLimit(found.arms["swiftkv"].rate, 4.0, 8.0, 4)
    assert found.arms["baseline"].rate == pytest.approx(2 + 2 * 4 / 44)
    assert found.arms["swiftkv"].rate == pytest.approx(4 + 4 * 5 / 30)
    assert found.gain == pytest.approx((4 + 4 / 6) / (2 + 8 / 44))
    assert found.gain_ends == (1.0, 4.0)


def test_beyond_the_rates_measured_there_is_an_end_and_no_rate() -> None:
    found = _limits({1.0: (0.5, 1.0), 2.0: (0.2, 1.0)})
    assert found.arms == {"baseline": RateLimit(None, None, 1.0, 2), "swiftkv": RateLimit(None, 2.0, None, 2)}
    assert (found.gain, found.gain_ends) == (None, None)


def test_a_rate_that_misses_ends_the_search_though_a_higher_one_meets_it() -> None:
    found = _limits({1.0: (1.0, 1.0), 2.0: (0.8, 0.8), 3.0: (1.0, 1.0)})
    assert (found.arms["baseline"].low, found.arms["baseline"].high) == (1.0, 2.0)


def test_invalid_points_and_points_without_a_rate_are_passed_over() -> None:
    points = [
        _point(None, {"baseline": _arm("baseline", 0.0)}),
        _point(1.0, {"baseline": _arm("baseline", 1.0)}),
        _point(2.0, {"baseline": _arm("baseline", 0.0, valid=False)}),
        _point(3.0, {"baseline": _arm("baseline", 0.8)}),
    ]
    (found,) = rate_limits(points, OBJECTIVE)
    assert found.arms == {"baseline": RateLimit(found.arms["baseline"].rate, 1.0, 3.0, 2)}
    assert found.arms["baseline"].rate == pytest.approx(2.0)


def test_without_an_objective_there_is_no_limit() -> None:
    assert rate_limits([_point(1.0, {"baseline": _arm("baseline", 1.0)})], None) == ()
