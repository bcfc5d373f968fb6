"""Per-request latencies against times worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from swiftkv_bench.metrics import Objective, request_metrics
from swiftkv_bench.schema.perf import RequestTable
from tests.synthetic import table, with_failures

NAN = float("nan")


def _chunks(given: RequestTable, chunk_s: list[float], tokens: list[int]) -> RequestTable:
    """A single request with these chunks."""
    return replace(
        given,
        chunk_start=np.array([0, len(chunk_s)]),
        chunk_s=np.array(chunk_s),
        chunk_tokens=np.array(tokens),
    )


def test_ttft_is_first_content_minus_send() -> None:
    m = request_metrics(table([1.0, 2.0], [0.25, 0.5], lateness_s=0.125))
    assert m.ttft_s.tolist() == pytest.approx([0.25, 0.5])
    assert m.ttft_from_schedule_s.tolist() == pytest.approx([0.375, 0.625])
    assert m.lateness_s.tolist() == pytest.approx([0.125, 0.125])


def test_tpot_excludes_first_token() -> None:
    m = request_metrics(table([0.0], [3.0], itl_s=0.01, tokens=5))
    assert m.tpot_s.tolist() == pytest.approx([0.01])
    assert m.e2e_latency_s.tolist() == pytest.approx([3.04])


def test_tpot_excludes_every_token_of_the_first_chunk() -> None:
    one = replace(table([0.0], [1.0]), output_tokens=np.array([9]))
    m = request_metrics(_chunks(one, [1.0, 1.3, 1.6], [3, 3, 3]))
    assert m.tpot_s.tolist() == pytest.approx([0.6 / 6])


def test_chunks_that_do_not_tell_their_tokens_are_taken_as_equal_and_tpot_is_bounded() -> None:
    # 12 tokens, 10 ms apart, four a chunk: the first chunk comes with the fourth token.
    one = replace(table([0.0], [1.0]), output_tokens=np.array([12]))
    m = request_metrics(_chunks(one, [1.0, 1.04, 1.08], [-1, -1, -1]))
    assert m.tpot_s.tolist() == pytest.approx([0.01])
    assert (m.tpot_least_s.tolist(), m.tpot_most_s.tolist()) == (
        pytest.approx([0.08 / 11]), pytest.approx([0.08 / 2]),
    )  # fmt: skip
    assert m.counted.tolist() == [False]


def test_one_token_a_chunk_needs_nobody_to_tell_it() -> None:
    one = replace(table([0.0], [1.0]), output_tokens=np.array([3]))
    m = request_metrics(_chunks(one, [1.0, 1.1, 1.4], [-1, -1, -1]))
    for values in (m.tpot_s, m.tpot_least_s, m.tpot_most_s):
        assert values.tolist() == pytest.approx([0.2])


def test_tokens_that_came_with_the_first_in_one_read_are_no_part_of_tpot() -> None:
    # Four tokens, 10 ms apart, of which a slow reader got the first three at once.
    one = replace(table([0.0], [1.0]), output_tokens=np.array([4]))
    m = request_metrics(_chunks(one, [1.02, 1.02, 1.02, 1.03], [1, 1, 1, 1]))
    assert m.tpot_s.tolist() == pytest.approx([0.01])


@pytest.mark.parametrize("told", [[1, 2, 3, 4], [0, 0, 1, 1], [1, 0, 0, 0]])
def test_a_running_count_that_is_not_the_usage_is_not_believed(told: list[int]) -> None:
    one = replace(table([0.0], [1.0]), output_tokens=np.array([4]))
    m = request_metrics(_chunks(one, [1.0, 1.01, 1.02, 1.03], told))
    assert (m.counted.tolist(), m.tpot_s.tolist()) == ([False], pytest.approx([0.01]))


def test_answers_that_come_in_one_read_have_no_latency_of_tokens() -> None:
    given = table([0.0] * 3, [0.2] * 3, itl_s=0.0)
    m = request_metrics(given)
    assert (m.streamed, m.at_once.tolist()) == (False, [True] * 3)
    for values in (m.ttft_s, m.ttft_from_schedule_s, m.tpot_s):
        assert np.isnan(values).all()
    assert m.e2e_latency_s.tolist() == pytest.approx([0.2] * 3)
    assert not Objective(ttft_s=1.0).told(m)
    assert Objective(e2e_latency_s=1.0).told(m)


def test_a_few_answers_in_one_read_leave_the_others_their_latencies() -> None:
    chunk_s = table([0.0] * 4, [0.2] * 4, itl_s=0.01).chunk_s
    chunk_s[:8] = 0.2
    m = request_metrics(replace(table([0.0] * 4, [0.2] * 4), chunk_s=chunk_s))
    assert (m.streamed, m.ttft_s.tolist()) == (True, pytest.approx([0.2] * 4))
    assert m.tpot_s[2:].tolist() == pytest.approx([0.01] * 2)
    assert np.isnan(m.tpot_s[:2]).all()


def test_single_tokens_are_streamed_by_definition() -> None:
    assert request_metrics(table([0.0], [0.2], tokens=1)).ttft_s.tolist() == pytest.approx([0.2])


@pytest.mark.parametrize(
    ("chunk_s", "tokens", "usage"),
    [([1.0], [1], 1), ([1.0], [-1], 5), ([1.0, 1.2], [2, 1], 2), ([], [], 0)],
    ids=["one token", "one chunk of unknown tokens", "usage below its chunks", "nothing"],
)
def test_tpot_is_none_without_a_second_token_in_a_second_chunk(
    chunk_s: list[float], tokens: list[int], usage: int
) -> None:
    one = replace(table([0.0], [1.0]), output_tokens=np.array([usage]))
    assert np.isnan(request_metrics(_chunks(one, chunk_s, tokens)).tpot_s).all()


def test_output_tokens_come_from_usage_else_from_chunks_that_all_tell() -> None:
    given = table([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], tokens=2)
    told = replace(given, output_tokens=np.array([7, -1, -1]), chunk_tokens=np.array([1, 1, 2, 3, 1, -1]))
    m = request_metrics(told)
    assert m.output_tokens.tolist()[:2] == [7, 5]
    assert np.isnan(m.output_tokens[2])


def test_prompt_tokens_come_from_usage_else_as_asked() -> None:
    given = replace(table([0.0, 0.0], [1.0, 1.0], prompt=100), prompt_tokens=np.array([101, -1]))
    assert request_metrics(given).prompt_tokens.tolist() == [101, 100]


def test_a_failed_request_has_no_latency() -> None:
    m = request_metrics(with_failures(table([0.0, 1.0], [0.25, 0.25]), [1]))
    assert m.ok.tolist() == [True, False]
    for values in (m.ttft_s, m.ttft_from_schedule_s, m.tpot_s, m.e2e_latency_s):
        assert np.isnan(values).tolist() == [False, True]


def test_an_objective_is_met_only_by_finished_requests_within_every_limit() -> None:
    m = request_metrics(with_failures(table([0.0, 1.0, 2.0], [0.2, 0.4, 0.2], itl_s=0.01), [2]))
    assert Objective(ttft_s=0.3).met(m).tolist() == [True, False, False]
    assert Objective(ttft_s=0.5, tpot_s=0.005).met(m).tolist() == [False, False, False]
    assert Objective(e2e_latency_s=0.3).met(m).tolist() == [True, False, False]
    assert Objective(ttft_s=2, tpot_s=0.05).text == "TTFT ≤ 2 s and TPOT ≤ 0.05 s"


def test_a_single_token_meets_any_tpot_limit() -> None:
    m = request_metrics(table([0.0], [0.2], tokens=1))
    assert Objective(tpot_s=0.001).met(m).tolist() == [True]
