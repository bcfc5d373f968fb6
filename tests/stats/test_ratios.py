"""Ratios over trials, worked by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.stats.ratios import geometric_mean, paired_ratio, unpaired_ratio

POSITIVE = st.floats(0.01, 100)


def test_paired_ratio_is_the_exponential_of_the_mean_log_ratio() -> None:
    # log-ratios log 2, log 2, log 8 = (1, 1, 3) log 2: mean 5/3, s = 2/sqrt 3, t(2) = 4.302653
    found = paired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 1.0])
    assert found is not None
    assert found.interval is not None
    half = 4.302653 * (2 / math.sqrt(3)) / math.sqrt(3)
    assert found.value == pytest.approx(2 ** (5 / 3))
    assert found.interval.low == pytest.approx(2 ** (5 / 3 - half), rel=1e-5)
    assert found.interval.high == pytest.approx(2 ** (5 / 3 + half), rel=1e-5)
    # t = (5/3)/(2/3) = 2.5 with 2 degrees of freedom: p = 1 - t/sqrt(t^2 + 2)
    assert found.p == pytest.approx(1 - 2.5 / math.sqrt(2.5**2 + 2))


def test_one_pair_has_no_interval_and_no_p() -> None:
    found = paired_ratio([3.0], [2.0])
    assert found is not None
    assert found.value == pytest.approx(1.5)
    assert (found.interval, found.p, found.n) == (None, None, 1)
    assert "no interval" in found.method


def test_a_value_of_zero_has_no_ratio() -> None:
    assert paired_ratio([0.0, 1.0], [1.0, 1.0]) is None
    assert paired_ratio([], []) is None
    assert unpaired_ratio([1.0], []) is None


def test_sides_of_different_length_do_not_pair() -> None:
    with pytest.raises(ValueError, match="2 candidate trials cannot pair with 1"):
        paired_ratio([1.0, 2.0], [1.0])


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=2, max_size=8))
def test_swapping_the_sides_inverts_the_ratio(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    one, other = paired_ratio(a, b), paired_ratio(b, a)
    assert one is not None
    assert other is not None
    assert one.interval is not None
    assert other.interval is not None
    assert one.value * other.value == pytest.approx(1)
    assert one.interval.low * other.interval.high == pytest.approx(1)


def test_unpaired_ratio_is_welch_on_logs() -> None:
    # Logs: (0, 2) and (0, 1): means 1, 0.5; variances of the means 1, 0.25; df = 1.25^2 / (1 + 0.0625) = 1.470588
    found = unpaired_ratio([1.0, math.e**2], [1.0, math.e])
    assert found is not None
    assert found.interval is not None
    assert found.value == pytest.approx(math.e**0.5)
    log_half = (math.log(found.interval.high) - math.log(found.interval.low)) / 2
    # t at 97.5 % with 1.470588 degrees of freedom, integrated numerically below
    assert _t_cdf(log_half / math.sqrt(1.25), 1.25**2 / (1 + 0.0625)) == pytest.approx(0.975, abs=1e-5)


def _t_cdf(x: float, df: float, steps: int = 200_000) -> float:
    """Trapezium rule over Student's density."""
    scale = math.gamma((df + 1) / 2) / (math.sqrt(df * math.pi) * math.gamma(df / 2))
    h = x / steps
    ys: list[float] = [(1 + (i * h) ** 2 / df) ** (-(df + 1) / 2) for i in range(steps + 1)]
    return 0.5 + scale * h * (math.fsum(ys) - (ys[0] + ys[-1]) / 2)


def test_geometric_mean() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([]) is None
