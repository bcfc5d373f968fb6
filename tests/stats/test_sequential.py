"""Group-sequential looks: published critical values, and error rates by simulation."""

import numpy as np
import pytest
from scipy import stats

from swiftkv_bench.stats.sequential import (
    LOOKS,
    boundary,
    nominal_level,
    overall_level,
    shares_looked_at,
    spent,
)

TENTHS = tuple(k / 10 for k in range(1, 11))


def test_critical_values_are_those_of_lan_and_demets() -> None:
    # Five equal looks, one-sided 2.5 %: e.g. Reboussin, DeMets, Kim and Lan 2000, table of the program `bounds`.
    assert boundary((0.2, 0.4, 0.6, 0.8, 1.0), 0.025) == pytest.approx((4.877, 3.357, 2.680, 2.290, 2.031), abs=1e-3)


def test_a_single_look_is_the_plain_test() -> None:
    assert nominal_level(1.0, 0.05, looks=1) == pytest.approx(0.05)
    assert boundary((1.0,), 0.025) == pytest.approx((1.959964,), abs=1e-5)


def test_all_of_the_level_is_spent_at_the_end_and_almost_none_at_first() -> None:
    assert spent(1.0, 0.05) == 0.05
    assert spent(0.1, 0.05) < 1e-8
    assert [spent(t, 0.05) for t in TENTHS] == sorted(spent(t, 0.05) for t in TENTHS)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 7])
def test_ten_looks_err_with_the_level_asked_for(alpha: float) -> None:
    rng = np.random.default_rng(1)
    runs = 200_000
    walk = rng.normal(size=(runs, LOOKS)).cumsum(axis=1)
    z = walk / np.sqrt(np.arange(1, LOOKS + 1))
    crossed = (z > np.array(boundary(TENTHS, alpha))).any(axis=1).mean()
    assert crossed == pytest.approx(alpha, abs=4 * np.sqrt(alpha * (1 - alpha) / runs))


def test_looks_so_far_are_the_tenths_before_the_present_share() -> None:
    assert shares_looked_at(1.0) == TENTHS
    assert shares_looked_at(0.3) == pytest.approx((0.1, 0.2, 0.3))
    assert shares_looked_at(0.302) == pytest.approx((0.1, 0.2, 0.302))
    assert shares_looked_at(0.04) == (0.04,)


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_the_overall_level_of_a_p_value_is_where_the_look_would_just_claim_it(share: float) -> None:
    for alpha in (0.05, 0.001):
        p = nominal_level(share, alpha)
        if p > 1e-12:
            assert overall_level(p, share) == pytest.approx(alpha, rel=0.01)


def test_the_overall_level_is_never_below_the_p_value_of_the_look() -> None:
    for share in (0.2, 0.6, 1.0):
        for p in (1e-6, 0.01, 0.2, 0.9):
            assert overall_level(p, share) >= p


def test_the_last_look_costs_a_tenth_of_the_width() -> None:
    width = boundary(TENTHS, 0.05)[-1] / float(stats.norm.ppf(0.95))
    assert width == pytest.approx(1.091, abs=0.001)
