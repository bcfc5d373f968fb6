"""Schedules: their distributions, their seeds, and traces."""

import json
import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.arrivals import continuation, gaps, ramp, schedule
from swiftkv_bench.schema.perf import Arrivals

POISSON = Arrivals(process="poisson", rate=50.0)
N = 20_000


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("rate", [0.5, 50.0, 300.0])
def test_poisson_gaps_are_exponential(rate: float) -> None:
    found = np.diff(schedule(Arrivals(process="poisson", rate=rate), N, rng()))
    assert stats.kstest(found, stats.expon(scale=1 / rate).cdf).pvalue > 0.01


def test_poisson_counts_in_a_window_vary_as_poisson_counts_do() -> None:
    # A schedule rescaled to last exactly n / rate would have no variance at all.
    counts = [len(schedule(POISSON, 1.0, rng(seed))) for seed in range(2000)]
    # 2000 (variance / mean) of independent Poisson counts is chi-squared with 1999 degrees of freedom.
    dispersion = (len(counts) - 1) * np.var(counts, ddof=1) / 50.0
    assert stats.chi2(len(counts) - 1).sf(dispersion) > 0.001
    assert stats.chi2(len(counts) - 1).cdf(dispersion) > 0.001


@pytest.mark.parametrize("burstiness", [0.25, 0.5, 1.0, 4.0])
def test_gamma_gaps_have_their_mean_and_coefficient_of_variation(burstiness: float) -> None:
    found = gaps(Arrivals(process="gamma", rate=50.0, burstiness=burstiness), N, rng())
    assert stats.kstest(found, stats.gamma(burstiness, scale=1 / (50.0 * burstiness)).cdf).pvalue > 0.01
    assert found.std() / found.mean() == pytest.approx(1 / np.sqrt(burstiness), rel=0.03)
    assert found.mean() == pytest.approx(1 / 50, rel=0.04)


@given(st.integers(1, 1000), st.floats(0.01, 1000))
def test_constant_arrivals_are_exact(n: int, rate: float) -> None:
    found = schedule(Arrivals(process="constant", rate=rate), n, rng())
    np.testing.assert_allclose(found, np.arange(n) / rate, rtol=1e-9, atol=1e-9)


def test_constant_arrivals_of_a_window_leave_its_end_out() -> None:
    assert schedule(Arrivals(process="constant", rate=4.0), 1.0, rng()).tolist() == [0.0, 0.25, 0.5, 0.75]


@given(st.sampled_from(["poisson", "constant", "gamma"]), st.integers(0, 2**32), st.integers(1, 500))
def test_a_schedule_starts_at_zero_and_ascends(process: str, seed: int, n: int) -> None:
    arrivals = Arrivals.model_validate({"process": process, "rate": 10.0, "burstiness": 0.3})
    found = schedule(arrivals, n, rng(seed))
    assert (len(found), found[0]) == (n, 0.0)
    assert (np.diff(found) >= 0).all()


def test_a_longer_schedule_begins_with_the_shorter_one() -> None:
    assert np.array_equal(schedule(POISSON, 1000, rng())[:100], schedule(POISSON, 100, rng()))
    long = schedule(POISSON, 500.0, rng())
    assert np.array_equal(long[long < 5.0], schedule(POISSON, 5.0, rng()))


def test_the_seed_decides_the_schedule() -> None:
    assert np.array_equal(schedule(POISSON, 100, rng(5)), schedule(POISSON, 100, rng(5)))
    assert not np.array_equal(schedule(POISSON, 100, rng(5))[1:], schedule(POISSON, 100, rng(6))[1:])


def test_load_kept_on_after_the_window_is_the_same_process() -> None:
    found = np.fromiter(islice(continuation(POISSON, 7.0, rng()), N), dtype=float)
    assert found[0] == 7.0
    assert stats.kstest(np.diff(found), stats.expon(scale=1 / 50).cdf).pvalue > 0.01


@pytest.mark.parametrize("process", ["all-at-once", "closed-loop"])
def test_what_has_no_times_is_due_at_once_and_has_no_window(process: str) -> None:
    arrivals = Arrivals.model_validate({"process": process, "concurrency": 2})
    assert schedule(arrivals, 3, rng()).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(InputError, match=f"{process} arrivals have no schedule to cut at 5 s; give a number"):
        schedule(arrivals, 5.0, rng())


def write_trace(path: Path, *stamps_ms: float) -> Arrivals:
    """A trace with a request at each of these times."""
    rows = [{"timestamp": at, "input_length": 9, "output_length": 3} for at in stamps_ms]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Arrivals(process="trace", trace=str(path))


def test_a_trace_is_replayed_at_its_times(tmp_path: Path) -> None:
    arrivals = write_trace(tmp_path / "t.jsonl", 27_000, 27_482, 30_482.5)
    assert schedule(arrivals, 2, rng()).tolist() == pytest.approx([0.0, 0.482])
    assert schedule(arrivals, 3.0, rng()).tolist() == pytest.approx([0.0, 0.482])
    with pytest.raises(InputError, match="the trace has 3 requests, 4 are asked for; lower --requests"):
        schedule(arrivals, 4, rng())


def test_a_trace_plays_so_many_times_faster(tmp_path: Path) -> None:
    arrivals = write_trace(tmp_path / "t.jsonl", 0, 1000, 5000).model_copy(update={"speedup": 4.0})
    assert schedule(arrivals, 3, rng()).tolist() == [0.0, 0.25, 1.25]
    assert schedule(arrivals, 1.0, rng()).tolist() == [0.0, 0.25]


def test_a_constant_rate_ramps_up_as_the_square_root() -> None:
    # The rate grows from 0 to 10/s in 4 s: 20 requests, the k-th after sqrt(2 * 4 * k / 10) s.
    found = ramp(Arrivals(process="constant", rate=10.0, ramp_up_s=4.0), rng())
    assert found.tolist() == pytest.approx([math.sqrt(0.8 * k) - 4 for k in range(1, 20)])


def test_a_poisson_ramp_has_half_the_requests_of_the_full_rate_and_is_uniform_in_its_own_time() -> None:
    found = ramp(Arrivals(process="poisson", rate=200.0, ramp_up_s=100.0), rng())
    assert len(found) == pytest.approx(10_000, abs=4 * 100)
    assert stats.kstest(((found + 100) / 100) ** 2, stats.uniform.cdf).pvalue > 0.01
    assert (found < 0).all()


def test_without_a_ramp_nothing_comes_before_the_window() -> None:
    assert len(ramp(POISSON, rng())) == 0
