"""Each finding under load: what raises it, what does not, how severe it is."""

from dataclasses import replace

import numpy as np
import pytest

from swiftkv_bench.checks import TrialCheck, check_samples, check_self_test, check_spread, check_trial
from swiftkv_bench.metrics import server_metrics, trial_metrics
from swiftkv_bench.schema.perf import Arrivals, Float, Point, RequestTable, SelfTest, TrialRecord
from tests.synthetic import point, table, trial_record, with_failures

POISSON = Arrivals(process="poisson", rate=10.0)
AT = point(100, POISSON, 300, output_len=4)


def _arrivals(n: int = 300, rate: float = 10.0) -> Float:
    return np.cumsum(np.random.default_rng(8).exponential(1 / rate, n))


def _check(
    given: RequestTable, at: Point = AT, record: TrialRecord | None = None, server: dict[str, float] | None = None
) -> TrialCheck:
    window_s = float(given.scheduled_s.max()) if at.arrivals.rate is not None else 0.0
    record = trial_record(at, window_s=window_s) if record is None else record
    m = trial_metrics(given, at.arrivals, record.window_s)
    return check_trial(record, given, m, server_metrics({}, server or {}))


def _found(check: TrialCheck) -> list[tuple[str, str]]:
    return [(f.code, f.severity) for f in check.findings]


def test_a_clean_trial_has_no_finding() -> None:
    check = _check(table(_arrivals(), np.full(300, 0.05)))
    assert (check.findings, check.valid, check.saturated) == ((), True, False)


def test_every_finding_names_point_and_arm() -> None:
    check = _check(with_failures(table(_arrivals(), np.full(300, 0.05)), [3]))
    assert [(f.point, f.arm) for f in check.findings] == [(AT.point_id, "baseline")]


@pytest.mark.parametrize(("late_s", "severity"), [(0.0004, None), (0.003, "warning"), (0.006, "invalid")])
def test_a_client_late_by_a_tenth_of_ttft_spoils_the_trial(late_s: float, severity: str | None) -> None:
    given = table(_arrivals(), np.full(300, 0.05), lateness_s=late_s)
    assert _found(_check(given)) == ([] if severity is None else [("late-client", severity)])


def test_a_few_late_requests_are_a_warning() -> None:
    given = table(_arrivals(), np.full(300, 0.05))
    sent = given.sent_s.copy()
    sent[:6] += 0.01
    assert _found(_check(replace(given, sent_s=sent))) == [("late-client", "warning")]


def test_lateness_has_no_meaning_in_a_closed_loop() -> None:
    at = point(100, Arrivals(process="closed-loop", concurrency=4), 300, output_len=4)
    assert _check(table(_arrivals(), np.full(300, 0.05), lateness_s=1.0), at).findings == ()


def test_a_batch_that_took_long_to_send_is_no_batch() -> None:
    at = point(100, Arrivals(process="all-at-once"), 300, output_len=4)
    given = table(np.zeros(300), np.full(300, 1.0))
    assert _check(replace(given, sent_s=np.full(300, 0.3)), at).findings == ()
    spread = replace(given, sent_s=np.linspace(0, 0.1, 300))
    assert _found(_check(spread, at)) == [("late-client", "warning")]


def test_unsent_requests_shrink_the_rate() -> None:
    given = table(_arrivals(), np.full(300, 0.05))
    sent = given.sent_s.copy()
    sent[250:] = np.nan
    assert ("rate-not-reached", "invalid") in _found(_check(replace(given, sent_s=sent)))


def test_constant_gaps_are_no_poisson_process() -> None:
    assert _found(_check(table(np.arange(300) / 10, np.full(300, 0.05)))) == [("arrivals-off", "warning")]


def test_a_client_without_a_processor_is_named() -> None:
    given = table(_arrivals(), np.full(300, 0.05))
    record = trial_record(AT, window_s=30.0)
    assert record.client is not None
    starved = record.model_copy(update={"client": record.client.model_copy(update={"run_queue_delay_s": 3.0})})
    assert _found(_check(given, record=starved)) == [("client-starved", "warning")]


@pytest.mark.parametrize(("cached", "meant", "expected"), [(0, 0.0, False), (2, 0.0, True), (50, 0.5, False)])
def test_prefix_hits_beyond_the_shared_share_spoil_the_trial(cached: int, meant: float, expected: bool) -> None:
    at = AT.model_copy(update={"shared_prefix": meant})
    given = replace(table(_arrivals(), np.full(300, 0.05)), cached_tokens=np.full(300, cached))
    assert _found(_check(given, at)) == ([("prefix-cache", "invalid")] if expected else [])


def test_prefix_hits_are_read_from_the_server_where_usage_does_not_tell() -> None:
    given = replace(table(_arrivals(), np.full(300, 0.05)), cached_tokens=np.full(300, -1))
    hits = {"prefix_cache_hits_total": 300.0, "prefix_cache_queries_total": 3000.0}
    assert _found(_check(given, server=hits)) == [("prefix-cache", "invalid")]


def test_in_flight_that_keeps_growing_is_past_saturation() -> None:
    scheduled = _arrivals()
    finished = np.maximum.accumulate(scheduled) * 1.5 + 0.1
    check = _check(table(scheduled, finished - scheduled))
    assert ("past-saturation", "warning") in _found(check)
    assert check.saturated
    assert check.valid


def test_a_busy_but_stable_server_is_not_past_saturation() -> None:
    scheduled = _arrivals(2000)
    rng = np.random.default_rng(4)
    free, ttft = 0.0, np.empty(2000)
    for i, at in enumerate(scheduled):
        free = max(free, at) + rng.exponential(0.06)
        ttft[i] = free - at
    assert not _check(table(scheduled, ttft)).saturated


def test_failed_requests_are_shown_and_spoil_the_trial_from_five_percent_on() -> None:
    given = table(_arrivals(), np.full(300, 0.05))
    assert _found(_check(with_failures(given, range(15)))) == [("failed-requests", "warning")]
    assert _found(_check(with_failures(given, range(16)))) == [("failed-requests", "invalid")]


def test_answers_without_a_token_spoil_the_trial() -> None:
    given = table(_arrivals(), np.full(300, 0.05))
    given.output_tokens[7] = 0
    assert ("zero-tokens", "invalid") in _found(_check(given))


def test_answers_shorter_than_asked_are_named() -> None:
    given = table(_arrivals(), np.full(300, 0.05))
    given.output_tokens_asked[:3] = 6
    check = _check(given)
    assert _found(check) == [("short-answers", "warning")]
    assert "3 of 300" in check.findings[0].message


def test_a_server_without_usage_is_named() -> None:
    given = replace(
        table(_arrivals(), np.full(300, 0.05)), output_tokens=np.full(300, -1), chunk_tokens=np.full(1200, -1)
    )
    assert _found(_check(given)) == [("no-usage", "warning")]


def test_answers_longer_than_asked_are_named() -> None:
    given = table(_arrivals(), np.full(300, 0.05))
    given.output_tokens[:3] = 5
    assert _found(_check(given)) == [("long-answers", "warning")]


def test_a_running_count_that_is_not_the_usage_is_named() -> None:
    given = table(_arrivals(), np.full(300, 0.05))
    given.chunk_tokens[:4] = [1, 2, 3, 4]
    check = _check(given)
    assert _found(check) == [("usage-differs", "warning")]
    assert check.findings[0].message == (
        "For 1 of 300 answers the running count of tokens ends at 10.0 on average and the usage event at 4.0; "
        "the usage event counts."
    )


def test_tokens_that_nobody_tells_apart_are_named_with_the_bounds_of_tpot() -> None:
    # Chunks come 10 ms apart: 16 tokens in 4 of them.
    given = table(_arrivals(), np.full(300, 0.05))
    asked = replace(given, output_tokens=np.full(300, 16), output_tokens_asked=np.full(300, 16))
    check = _check(replace(asked, chunk_tokens=np.full(1200, -1)))
    assert _found(check) == [("tokens-per-chunk", "warning")]
    assert check.findings[0].message == (
        "4,800 tokens came in 1,200 chunks and the server does not tell how many in each: TPOT, 2.50 ms, takes them as "
        "equal and lies between 2.00 ms and 10.0 ms."
    )


def test_a_stream_that_comes_in_one_piece_is_named() -> None:
    check = _check(table(_arrivals(), np.full(300, 0.05), itl_s=0.0))
    assert _found(check) == [("no-stream", "warning")]
    assert check.findings[0].message.startswith("All tokens of 300 of 300 answers came in one read: ")


def test_requests_that_were_sent_once_more_are_counted() -> None:
    record = trial_record(AT, window_s=30.0)
    assert record.client is not None
    again = record.model_copy(update={"client": record.client.model_copy(update={"sent_again": 2})})
    check = _check(table(_arrivals(), np.full(300, 0.05)), record=again)
    assert ("sent-again", "note") in _found(check)


def test_a_server_that_counts_another_prompt_is_named() -> None:
    given = table(_arrivals(), np.full(300, 0.05))
    given.prompt_tokens[:] = 101
    assert _found(_check(given)) == [("prompt-length", "warning")]


def test_a_text_that_nobody_counted_has_no_wrong_length() -> None:
    given = table(_arrivals(), np.full(300, 0.05))
    given.prompt_tokens_asked[:] = -1
    assert _found(_check(given)) == []


def test_prompts_of_a_file_that_come_from_the_cache_spoil_the_trial_too() -> None:
    at = AT.model_copy(update={"prompts": "prompts.jsonl"})
    given = replace(table(_arrivals(), np.full(300, 0.05)), cached_tokens=np.full(300, 90))
    assert _found(_check(given, at)) == [("prefix-cache", "invalid")]


@pytest.mark.parametrize(
    ("counted", "ttft_s", "found"), [(300, 0.0495, False), (300, 0.02, True), (320, 0.0495, True), (301, 0.0495, False)]
)
def test_client_and_server_are_held_against_each_other(counted: int, ttft_s: float, found: bool) -> None:
    server = {"time_to_first_token_seconds_count": float(counted), "time_to_first_token_seconds_sum": ttft_s * counted}
    check = _check(table(_arrivals(), np.full(300, 0.05)), server=server)
    assert _found(check) == ([("server-disagrees", "warning")] if found else [])


@pytest.mark.parametrize(("tail", "found"), [(20, False), (10, True), (None, False)])
def test_requests_after_the_window_may_be_among_those_the_server_counts(tail: int | None, found: bool) -> None:
    record = trial_record(AT)
    assert record.client is not None
    record = record.model_copy(update={"client": record.client.model_copy(update={"tail_requests": tail})})
    server = {"time_to_first_token_seconds_count": 320.0, "time_to_first_token_seconds_sum": 0.0495 * 320}
    check = _check(table(_arrivals(), np.full(300, 0.05)), record=record, server=server)
    assert ("server-disagrees" in [f.code for f in check.findings]) == found


def test_preemptions_are_named() -> None:
    check = _check(table(_arrivals(), np.full(300, 0.05)), server={"num_preemptions_total": 4.0})
    assert _found(check) == [("preempted", "warning")]


def test_a_trial_that_did_not_complete_is_invalid() -> None:
    record = trial_record(AT, window_s=30.0).model_copy(update={"status": "failed", "reason": "the engine died"})
    check = _check(table(_arrivals(), np.full(300, 0.05)), record=record)
    assert _found(check) == [("trial-incomplete", "invalid")]
    assert check.findings[0].message == "The trial failed: the engine died."


@pytest.mark.parametrize(("values", "found"), [([1.0, 1.1, 1.19], False), ([1.0, 1.3], True), ([1.0], False)])
def test_trials_of_one_arm_that_differ_by_a_fifth_drift(values: list[float], found: bool) -> None:
    assert (check_spread("TTFT mean", values, "p", "swiftkv") is not None) == found


def test_percentiles_that_n_does_not_support_are_named_with_their_n() -> None:
    found = check_samples(100, "p")
    assert found is not None
    assert found.message == "100 requests an arm are too few for p99 (662)."
    assert check_samples(662, "p") is None


SELF_TEST = SelfTest(
    rate=300.0, output_tokens=256, requests=450, failed=0, send_lateness_p50_s=0.0001, send_lateness_p90_s=0.0003,
    token_lag_p50_s=0.0002, token_lag_p99_s=0.002, engine_lateness_p99_s=0.001, cpu_s_per_1000_tokens=0.01,
    limit_s=0.01, verdict="holds",
)  # fmt: skip


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, None),
        (SELF_TEST, None),
        (SELF_TEST.model_copy(update={"verdict": "engine-late"}), ("self-test", "note")),
        (SELF_TEST.model_copy(update={"verdict": "client-late"}), ("self-test", "warning")),
    ],
)
def test_a_client_that_was_late_before_the_run_is_a_warning(
    found: SelfTest | None, expected: tuple[str, str] | None
) -> None:
    finding = check_self_test(found)
    assert (None if finding is None else (finding.code, finding.severity)) == expected


def test_a_self_test_that_could_not_be_made_is_a_note_with_its_reason() -> None:
    finding = check_self_test(None, "the fake engine of the self-test ended with exit code 137")
    assert finding is not None
    assert (finding.code, finding.severity) == ("self-test", "note")
    assert "not tested before the run: the fake engine of the self-test ended with exit code 137." in finding.message


def test_the_warning_says_how_late_the_client_was() -> None:
    finding = check_self_test(SELF_TEST.model_copy(update={"verdict": "client-late", "token_lag_p99_s": 0.025}))
    assert finding is not None
    assert finding.message == (
        "Against the fake engine at 300 requests/s of 256 tokens the client was 25.0 ms late, before any engine ran."
    )
