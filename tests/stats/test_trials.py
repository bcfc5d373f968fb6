"""Ratios of trials against a limit: worked by hand, and a second computation by scipy's own tests."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from swiftkv_bench.stats.trials import LogRatio, paired_log_ratio, unpaired_log_ratio

FIVE = [1.10, 1.12, 1.08, 1.11, 1.09]
ONES = [1.0] * 5
POSITIVE = st.floats(0.01, 100)


def _found(ratio: LogRatio | None) -> LogRatio:
    assert ratio is not None
    return ratio


def test_a_ratio_is_of_geometric_means() -> None:
    found = _found(paired_log_ratio([2.0, 8.0], [1.0, 1.0]))
    assert found.ratio == pytest.approx(4.0)
    assert (found.n, found.df, found.paired) == (2, 1.0, True)


def test_p_of_a_paired_ratio_is_that_of_a_one_sided_t_test_of_logs() -> None:
    found = _found(paired_log_ratio(FIVE, ONES))
    expected = stats.ttest_1samp(np.log(FIVE), math.log(1.05), alternative="greater").pvalue
    assert found.p_at_most(1.05) == pytest.approx(expected)
    assert found.p_at_least(1.05) == pytest.approx(1 - expected)


def test_p_of_an_unpaired_ratio_is_that_of_welchs_test_of_logs() -> None:
    other = [0.97, 1.04, 1.0, 0.99, 1.02, 1.01]
    found = _found(unpaired_log_ratio(FIVE, other))
    shifted = np.log(other) + math.log(1.05)
    expected = stats.ttest_ind(np.log(FIVE), shifted, equal_var=False, alternative="greater").pvalue
    assert found.p_at_most(1.05) == pytest.approx(expected)


def test_a_bound_lies_on_the_limit_where_p_equals_its_level() -> None:
    found = _found(paired_log_ratio(FIVE, ONES))
    low, high = found.bounds(0.05) or (0.0, 0.0)
    assert found.p_at_most(low) == pytest.approx(0.05)
    assert found.p_at_least(high) == pytest.approx(0.05)


def test_equal_trials_have_bounds_without_width_and_a_certain_p() -> None:
    found = _found(paired_log_ratio(FIVE, FIVE))
    assert found.bounds() == (1.0, 1.0)
    assert (found.p_at_most(1.05), found.p_at_least(0.95)) == (1.0, 1.0)
    assert _found(paired_log_ratio([1.1] * 3, [1.0] * 3)).p_at_most(1.05) == 0.0


def test_one_trial_has_no_bounds() -> None:
    for found in (paired_log_ratio([1.1], [1.0]), unpaired_log_ratio([1.1], [1.0, 1.1])):
        assert _found(found).bounds() is None
        assert _found(found).p_at_most(1.05) is None


def test_a_value_that_is_not_positive_gives_no_ratio() -> None:
    assert paired_log_ratio([0.0, 1.0], [1.0, 1.0]) is None
    assert unpaired_log_ratio([], [1.0]) is None


def test_trials_to_decide_give_the_power_asked_for() -> None:
    found = _found(paired_log_ratio([1.02, 1.10, 0.98], [1.0] * 3))
    n = found.n_to_decide(1.08)
    assert n is not None
    assert n > 3
    sd = (found.stderr or 0.0) * math.sqrt(3)
    shift = abs(found.value - math.log(1.08)) / sd * math.sqrt(n)
    power = float(stats.nct.sf(stats.t.ppf(0.95, n - 1), n - 1, shift))
    assert 0.78 < power < 0.86


def test_sides_of_different_length_cannot_pair() -> None:
    with pytest.raises(ValueError, match="cannot pair"):
        paired_log_ratio([1.0], [1.0, 2.0])


def test_the_interval_is_the_exponential_of_students_of_the_mean_log_ratio() -> None:
    # log-ratios log 2, log 2, log 8 = (1, 1, 3) log 2: mean 5/3, s = 2/sqrt 3, t(2) = 4.302653
    found = _found(paired_log_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 1.0]))
    interval = found.interval()
    assert interval is not None
    half = 4.302653 * (2 / math.sqrt(3)) / math.sqrt(3)
    assert found.ratio == pytest.approx(2 ** (5 / 3))
    assert interval.low == pytest.approx(2 ** (5 / 3 - half), rel=1e-5)
    assert interval.high == pytest.approx(2 ** (5 / 3 + half), rel=1e-5)
    # t = (5/3)/(2/3) = 2.5 with 2 degrees of freedom: p = 1 - t/sqrt(t^2 + 2)
    assert found.p_equal == pytest.approx(1 - 2.5 / math.sqrt(2.5**2 + 2))


def test_one_pair_has_no_interval_and_says_so() -> None:
    found = _found(paired_log_ratio([3.0], [2.0]))
    assert found.ratio == pytest.approx(1.5)
    assert (found.interval(), found.p_equal, found.n) == (None, None, 1)
    assert "no interval" in found.method


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=2, max_size=8))
def test_swapping_the_sides_inverts_the_ratio(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    one, other = _found(paired_log_ratio(a, b)), _found(paired_log_ratio(b, a))
    ends, inverse = one.interval(), other.interval()
    assert ends is not None
    assert inverse is not None
    assert one.ratio * other.ratio == pytest.approx(1)
    assert ends.low * inverse.high == pytest.approx(1)
