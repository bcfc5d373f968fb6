"""Steps of a series: found where planted, and rarely where there are none."""

import numpy as np
import pytest
from scipy import stats

from swiftkv_bench.stats.changes import largest_shift, steps


def test_a_step_is_found_where_it_is() -> None:
    found = steps([1.0, 1.01, 0.99, 1.0, 1.1, 1.11, 1.09, 1.1])
    assert [s.index for s in found] == [4]
    assert found[0].before == pytest.approx(1.0)
    assert found[0].after == pytest.approx(1.1)


def test_two_steps_are_found_one_after_the_other() -> None:
    rng = np.random.default_rng(3)
    levels = np.repeat([0.0, 10.0, 0.0], 8) + rng.normal(0, 0.5, 24)
    assert [s.index for s in steps(levels)] == [8, 16]


def test_the_statistic_is_the_largest_two_sample_t() -> None:
    x = np.random.default_rng(1).normal(size=5)
    by_scipy = {k: abs(stats.ttest_ind(x[:k], x[k:]).statistic) for k in (2, 3)}
    found = largest_shift(x)
    assert found is not None
    assert found[0] == max(by_scipy, key=by_scipy.__getitem__)


@pytest.mark.parametrize("n", [5, 8, 20])
def test_a_series_without_a_step_raises_an_alarm_at_the_stated_rate(n: int) -> None:
    rng = np.random.default_rng(n)
    alarms = sum(bool(steps(rng.normal(size=n), 0.05)) for _ in range(1000))
    # Binomial(1000, 0.05): outside 30 ... 72 with a chance of 0.2 %.
    assert 30 <= alarms <= 72


def test_a_short_or_constant_series_has_no_step() -> None:
    assert steps([1.0, 2.0, 1.0, 2.0]) == ()
    assert steps([0.8] * 9) == ()


def test_the_newest_value_alone_is_no_step() -> None:
    assert all(s.index <= 8 for s in steps([1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01, 0.99, 5.0]))
