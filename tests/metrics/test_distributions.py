"""Percentiles, the n they need, and pooled gaps."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.metrics import QUANTILES, Distribution, GapHistogram, distribution, gaps, requests_needed
from tests.synthetic import table, with_failures


@pytest.mark.parametrize("q", QUANTILES)
def test_requests_needed_is_the_smallest_n_with_two_above_at_99_percent(q: float) -> None:
    def short(n: int) -> float:
        return q**n + n * (1 - q) * q ** (n - 1)

    n = requests_needed(q)
    assert short(n) <= 0.01 < short(n - 1)


def test_requests_needed_are_those_of_loadgen() -> None:
    # MLPerf LoadGen's early stopping: 64 queries for p90 (single stream), 662 for p99 (multi stream).
    assert [requests_needed(q) for q in QUANTILES] == [11, 64, 130, 662, 6636]


def test_percentiles_below_their_n_are_none() -> None:
    values = np.arange(63, dtype=float)
    assert distribution(values) == Distribution(63, 31.0, 0.0, 62.0, (31.0, None, None, None, None))
    assert distribution(np.arange(64, dtype=float)).quantile(0.9) == pytest.approx(56.7)


def test_a_distribution_of_nothing_is_none_everywhere() -> None:
    assert distribution(np.array([np.nan])) == Distribution(0, None, None, None, (None,) * 5)


def test_values_that_are_not_defined_do_not_count() -> None:
    assert distribution(np.array([1.0, np.nan, 3.0])) == Distribution(2, 2.0, 1.0, 3.0, (None,) * 5)


@given(st.lists(st.floats(1e-6, 1e4), min_size=2, max_size=300), st.floats(0, 1))
def test_a_histogram_quantile_lies_within_half_a_bucket_of_an_order_statistic(values: list[float], q: float) -> None:
    histogram = GapHistogram()
    histogram.add(np.array(values))
    rank = q * (len(values) - 1)
    exact = sorted(values)[math.floor(rank)]
    assert histogram.quantile(q) == pytest.approx(exact, rel=0.0005)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_merged_histograms_equal_one_of_all_values(a: list[float], b: list[float]) -> None:
    parts, whole = [GapHistogram(), GapHistogram()], GapHistogram()
    for part, values in zip(parts, (a, b), strict=True):
        part.add(np.array(values))
    whole.add(np.array(a + b))
    parts[0].merge(parts[1])
    assert [parts[0].quantile(q) for q in QUANTILES] == [whole.quantile(q) for q in QUANTILES]
    assert (parts[0].n, parts[0].total_s) == pytest.approx((whole.n, whole.total_s))


def test_gaps_of_zero_stay_zero() -> None:
    histogram = GapHistogram()
    histogram.add(np.array([0.0, 0.0, 0.01]))
    assert histogram.quantile(0.5) == 0.0


def test_an_empty_histogram_has_no_quantile() -> None:
    assert GapHistogram().quantile(0.5) is None
    assert GapHistogram().distribution(1000).mean is None


def test_gaps_do_not_cross_requests_and_leave_failed_ones_out() -> None:
    given = with_failures(table([0.0, 10.0, 20.0], [1.0, 1.0, 1.0], itl_s=0.02, tokens=3), [1])
    found = gaps(given)
    assert (found.chunks.n, found.chunks.total_s) == pytest.approx((4, 0.08))
    assert (found.chunks.low_s, found.chunks.high_s) == pytest.approx((0.02, 0.02))


def test_gaps_per_token_divide_by_the_chunk_that_ends_them_and_count_once_a_token() -> None:
    given = replace(table([0.0], [1.0], itl_s=0.06, tokens=3), chunk_tokens=np.array([1, 1, 3]))
    found = gaps(given)
    assert (found.chunks.n, found.tokens.n, found.several) == (2, 4, 1)
    assert found.tokens.total_s == pytest.approx(0.06 + 3 * 0.02)


def test_gaps_per_token_are_absent_when_a_chunk_does_not_tell() -> None:
    given = replace(table([0.0], [1.0], tokens=3), chunk_tokens=np.array([1, -1, 1]))
    assert gaps(given).tokens.n == 0


def test_gaps_of_requests_without_chunks_are_none() -> None:
    given = replace(
        table([0.0, 1.0], [1.0, 1.0], tokens=2),
        chunk_start=np.array([0, 4, 4]),
        chunk_s=np.array([1.0, 1.5, 2.0, 2.5]),
    )
    assert gaps(given).chunks.n == 3
