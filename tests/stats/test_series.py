"""Arrival processes that fit or do not, series that grow or do not."""

import numpy as np
import pytest

from swiftkv_bench.stats.series import gamma_gaps_fit, growth


def test_exponential_gaps_fit_poisson_and_constant_gaps_do_not() -> None:
    rng = np.random.default_rng(1)
    good = gamma_gaps_fit(np.cumsum(rng.exponential(0.1, 500)), 10.0)
    bad = gamma_gaps_fit(np.cumsum(np.full(500, 0.1)), 10.0)
    assert good is not None
    assert bad is not None
    assert good.p > 0.05
    assert bad.p < 1e-6


def test_distance_is_the_largest_gap_between_the_two_distribution_functions() -> None:
    times = np.array([0.0, 0.5, 2.0])
    found = gamma_gaps_fit(times, 1.0)
    # gaps 0.5 and 1.5: F = 1 - e^-x
    low, high = 1 - np.exp(-0.5), 1 - np.exp(-1.5)
    assert found is not None
    assert found.d == pytest.approx(max(low, 0.5 - low, high - 0.5, 1 - high))


def test_burstier_gamma_gaps_fit_their_own_shape_only() -> None:
    times = np.cumsum(np.random.default_rng(2).gamma(0.25, 0.4, 800))
    fits = [gamma_gaps_fit(times, 10.0, shape) for shape in (0.25, 1.0)]
    assert [fit is not None and fit.p > 0.01 for fit in fits] == [True, False]


def test_two_arrivals_are_too_few() -> None:
    assert gamma_gaps_fit(np.array([0.0, 1.0]), 1.0) is None


def test_growth_of_a_rising_series() -> None:
    found = growth([1.0, 2, 3, 4, 5, 6, 7, 8, 9])
    assert found is not None
    assert (found.tau, found.growth) == pytest.approx((1.0, 8 / 2))
    # all 9! orders are alike without growth, and one is fully rising
    assert found.p == pytest.approx(1 / 362_880)


def test_a_flat_or_short_series_does_not_grow() -> None:
    flat = growth([3.0] * 8)
    assert flat is not None
    assert (flat.tau, flat.p, flat.growth) == (0.0, 1.0, 1.0)
    assert growth([1.0, 2, 3]) is None
