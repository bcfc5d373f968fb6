"""Intervals against second computations from their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.stats.intervals import (
    bootstrap_interval,
    mean_interval,
    quantile_interval,
    rate_interval,
    share_interval,
)  # fmt: skip

Z = 1.959963984540054


def test_t_interval_of_three_values() -> None:
    # mean 2, s = 1, t(2) at 97.5 % = 4.302653 (tables)
    found = mean_interval([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.low, found.high) == pytest.approx(
        (2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), rel=1e-6
    )


def test_one_value_has_no_interval() -> None:
    assert mean_interval([1.0]) is None
    assert bootstrap_interval([1.0], seed=0) is None


@given(st.integers(1, 400), st.data())
def test_wilson_ends_are_where_the_score_test_just_rejects(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    found = share_interval(k, n)
    assert found is not None
    for end, edge in ((found.low, 0.0), (found.high, 1.0)):
        if end != edge:
            assert abs(k / n - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(Z, rel=1e-6)
    assert (found.low == 0) == (k == 0)
    assert (found.high == 1) == (k == n)


def test_share_of_nothing_has_no_interval() -> None:
    assert share_interval(0, 0) is None


def test_poisson_ends_have_tail_probability_of_two_and_a_half_percent() -> None:
    found = rate_interval(7, 2.0)
    assert found is not None

    def at_most(k: int, mean: float) -> float:
        return sum(math.exp(-mean) * mean**i / math.factorial(i) for i in range(k + 1))

    assert 1 - at_most(6, 2 * found.low) == pytest.approx(0.025, rel=1e-9)
    assert at_most(7, 2 * found.high) == pytest.approx(0.025, rel=1e-9)


def test_poisson_interval_of_no_event_starts_at_zero() -> None:
    found = rate_interval(0, 10.0)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.0, -math.log(0.025) / 10))
    assert rate_interval(3, 0.0) is None


@given(st.integers(1, 200), st.sampled_from([0.1, 0.5, 0.9, 0.99]))
def test_quantile_interval_covers_at_least_its_confidence(n: int, q: float) -> None:
    found = quantile_interval(np.arange(1, n + 1, dtype=float), q)
    if found is None:
        return
    low, high = int(found.low), int(found.high)
    # The interval [x(low), x(high)] misses when fewer than low or at least high values lie below the quantile.
    covered = sum(math.comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(low, high))
    assert covered >= 0.95 - 1e-12


def test_quantile_interval_is_none_when_no_value_bounds_it() -> None:
    assert quantile_interval([float(i) for i in range(100)], 0.99) is None
    assert quantile_interval([], 0.5) is None


def test_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    values = np.random.default_rng(3).normal(size=400)
    found = bootstrap_interval(values, seed=1)
    assert found == bootstrap_interval(values, seed=1)
    assert found != bootstrap_interval(values, seed=2)
    assert found is not None
    half = Z * values.std() / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
