"""Losses against the noise floor: exact tests computed a second way, bounds at known values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from swiftkv_bench.stats.flips import NetLoss, flip_test
from swiftkv_bench.stats.items import score_bounds


def test_p_against_an_assumed_floor_is_binomial() -> None:
    # An engine that flips 2 % of its answers loses 1 % by noise, whatever is won.
    found = flip_test(9, 4, 200, None, 0.02)
    assert found.p_more == pytest.approx(stats.binomtest(9, 200, 0.01, alternative="greater").pvalue)
    assert found.effect == pytest.approx(0.035)


@given(st.integers(0, 60), st.integers(0, 60))
def test_p_against_a_measured_floor_is_fishers_with_two_chances_an_item(lost: int, floor: int) -> None:
    found = flip_test(lost, 0, 200, (floor, 300), None)
    table = [[lost, 200 - lost], [floor, 600 - floor]]
    assert found.p_more == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue, rel=1e-9)


def test_no_flip_is_no_excess() -> None:
    assert flip_test(0, 0, 200, None, 0.0).p_more == 1.0
    assert flip_test(0, 0, 200, (0, 200), 0.01).p_more == 1.0


def test_any_flip_is_too_many_where_none_is_assumed() -> None:
    assert flip_test(1, 0, 200, None, 0.0).p_more == 0.0


def test_bounds_without_a_flip_are_wilsons() -> None:
    # z²/(n + z²) with z = 1.645 and n = 200.
    low, high = flip_test(0, 0, 200, None, 0.0).bounds()
    assert low == 0.0
    assert high == pytest.approx(1.6449**2 / (200 + 1.6449**2), rel=1e-4)


def test_bounds_against_a_measured_floor_are_newcombes() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table II, method 10, case a (56/70 and 48/80): 0.0524 ... 0.3339.
    # 48 flips of 40 items answered twice stand for 48 of 80 chances; no engine flips so often.
    low, high = flip_test(56, 0, 70, (48, 40), 0.0).bounds(0.025)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_items_to_decide_shrink_the_bound_to_the_margin() -> None:
    found = flip_test(0, 0, 200, None, 0.0)
    n = found.n_to_decide(0.01)
    assert n is not None
    assert flip_test(0, 0, n, None, 0.0).bounds()[1] <= 0.01 < flip_test(0, 0, n - 2, None, 0.0).bounds()[1]
    assert flip_test(20, 0, 200, None, 0.01).n_to_decide(0.01) is None


def test_items_to_decide_count_a_measured_floor_that_grows_with_them() -> None:
    # One lost of 200, nothing flipped in 200 answered twice: variance of 1 + 1/2 shares, room of 1 − 0.5 points.
    z = stats.norm.ppf(0.95) + stats.norm.ppf(0.8)
    expected = 1.5 * 0.005 * 0.995 * (z / 0.005) ** 2
    assert flip_test(1, 0, 200, (0, 200), None).n_to_decide(0.01) == pytest.approx(expected, abs=1)


def test_without_a_known_rate_only_the_direction_of_flips_counts() -> None:
    found = flip_test(12, 3, 200, None, None)
    assert isinstance(found, NetLoss)
    assert found.p_more == pytest.approx(stats.binomtest(12, 15, 0.5, alternative="greater").pvalue)
    assert found.effect == pytest.approx(0.045)
    low, high = score_bounds(3, 12, 200, 0.05)
    assert found.bounds() == (-high, -low)
    assert flip_test(10, 10, 200, None, None).p_more > 0.5
    assert flip_test(0, 5, 200, None, None).p_more == 1.0


def test_items_to_decide_a_net_loss() -> None:
    n = flip_test(0, 0, 50, None, None).n_to_decide(0.01)
    assert n is not None
    assert flip_test(0, 0, n, None, None).bounds()[1] <= 0.01
    assert flip_test(9, 0, 200, None, None).n_to_decide(0.01) is None


def test_no_item_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        flip_test(0, 0, 0, None, 0.01)
    assert flip_test(1, 0, 10, (0, 0), 0.02).floor_rate == 0.02
