"""Throughputs, rates and counts of a trial, worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from swiftkv_bench.metrics import DEFINITIONS, Objective, in_flight, trial_metrics
from swiftkv_bench.schema.perf import Arrivals
from tests.synthetic import table, with_failures

AT_ONCE = Arrivals(process="all-at-once")
RATE = Arrivals(process="poisson", rate=1.0)


def test_a_batch_is_measured_from_first_send_to_last_response() -> None:
    given = table([0.0, 0.0], [1.0, 2.0], itl_s=0.5, tokens=5, prompt=95, lateness_s=0.25)
    m = trial_metrics(given, AT_ONCE, 0.0)
    assert m.measured_s == pytest.approx(4.0)
    assert m.output_throughput == pytest.approx(10 / 4)
    assert m.total_throughput == pytest.approx(200 / 4)
    assert m.request_throughput == pytest.approx(2 / 4)
    assert m.achieved_rate is None


def test_at_a_rate_only_tokens_delivered_inside_the_window_count() -> None:
    # The window ends at 2 s. Request 0: 4 chunks at 0.5 .. 0.8. Request 1: chunks at 1.9, 2.0 inside, 2.1, 2.2 outside.
    given = table([0.0, 1.5], [0.5, 0.4], itl_s=0.1, tokens=4, prompt=10)
    m = trial_metrics(given, RATE, 2.0 + 1e-9)
    assert m.output_throughput == pytest.approx((4 + 2) / 2)
    assert m.total_throughput == pytest.approx((6 + 20) / 2)
    assert m.request_throughput == pytest.approx(1 / 2)
    assert m.achieved_rate == pytest.approx(2 / 2)


def test_a_prompt_whose_first_token_comes_after_the_window_does_not_count() -> None:
    m = trial_metrics(table([0.0, 0.5], [0.2, 3.0], itl_s=0.01, tokens=2, prompt=10), RATE, 1.0)
    assert m.total_throughput == pytest.approx(12.0)


def test_failed_requests_are_counted_by_kind_and_bring_no_tokens() -> None:
    given = with_failures(table([0.0] * 4, [1.0] * 4, tokens=2, prompt=10), [0, 3], "stalled")
    m = trial_metrics(given, AT_ONCE, 0.0)
    assert (m.requests, m.ok, m.failures) == (4, 2, {"stalled": 2})
    assert (m.prompt_tokens, m.output_tokens) == (20, 4)


def test_throughput_is_none_when_nothing_finished() -> None:
    m = trial_metrics(with_failures(table([0.0], [1.0]), [0]), AT_ONCE, 0.0)
    assert (m.output_throughput, m.total_throughput, m.request_throughput) == (None, None, None)


def test_throughput_in_tokens_is_none_when_the_server_does_not_tell() -> None:
    given = replace(table([0.0], [1.0]), output_tokens=np.array([-1]), chunk_tokens=np.full(4, -1))
    m = trial_metrics(given, AT_ONCE, 0.0)
    assert (m.output_throughput, m.total_throughput, m.output_tokens) == (None, None, None)
    assert m.request_throughput == pytest.approx(1 / 1.03)


def test_goodput_counts_requests_that_meet_the_objective_over_the_window() -> None:
    m = trial_metrics(table([0.0, 1.0, 2.0], [0.1, 0.3, 0.1]), RATE, 4.0, Objective(ttft_s=0.2))
    assert (m.good, m.goodput) == (2, 0.5)
    assert trial_metrics(table([0.0], [0.1]), RATE, 4.0).goodput is None


def test_latencies_have_every_name() -> None:
    m = trial_metrics(table([0.0], [0.1]), RATE, 1.0)
    names = {"ttft_s", "ttft_from_schedule_s", "tpot_s", "e2e_latency_s", "lateness_s", "itl_s", "itl_per_token_s"}
    assert set(m.latencies) == names


def test_in_flight_counts_sent_and_not_ended() -> None:
    given = table([0.0, 1.0, 2.0], [1.5, 1.5, 1.5], tokens=1)
    assert in_flight(given, [0.5, 1.2, 1.6, 2.2, 9.0]).tolist() == [1, 2, 1, 2, 0]


def test_every_printed_name_is_defined_once() -> None:
    assert {"TTFT", "TPOT", "ITL", "E2E latency", "Goodput", "Total throughput"} <= set(DEFINITIONS)
