"""Whole trials by client processes against the fake engine: the truth, every fault, several processes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.engines.fake.write_log import read_log
from swiftkv_bench.errors import InputError
from swiftkv_bench.load.driver import Options, TrialRun, run_trial
from swiftkv_bench.load.target import Target
from swiftkv_bench.metrics import trial_metrics
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.perf import STATUS, Arrivals, Float, Length, Point, Trial
from tests.fake_engine import fake_engine

TTFT_S, ITL_S, TOKENS = 0.05, 0.005, 16
CONSTANT = Arrivals(process="constant", rate=40.0)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with fake_engine("--ttft", TTFT_S, "--itl", ITL_S) as address:
        yield address


def trial(
    requests: int = 30, arrivals: Arrivals = CONSTANT, seed: int = 0, tokens: int = TOKENS, **fields: object
) -> Trial:
    size = {"requests": requests} if "duration_s" not in fields else {}
    point = Point.model_validate(
        {"input_len": Length(mean=12), "output_len": Length(mean=tokens), "arrivals": arrivals, **size, **fields}
    )
    return Trial(trial_id="t", point=point, arm="baseline", repeat=0, seed=seed)


def run(url: str, of: Trial, *, workers: int = 1, idle_timeout_s: float = 30.0, **target: object) -> TrialRun:
    where = Target(url, "fake", ((0, 256),), **target)  # type: ignore[arg-type]
    return run_trial(of, where, Silent(), options=Options(workers=workers, idle_timeout_s=idle_timeout_s))


def test_known_latencies_are_reported_within_a_millisecond(tmp_path: Path) -> None:
    # The truth is the log of the engine, so that its own lateness counts for nothing. Medians over the requests
    # of a trial, each figure at its best: where other work kept the client from a processor all are late, but a client
    # that measures something else is wrong in every trial.
    log = tmp_path / "writes.jsonl"
    with fake_engine("--ttft", TTFT_S, "--itl", ITL_S, "--log", log) as url:
        done = [(of, run(url, of)) for of in (trial(seed=seed, warmup_requests=2) for seed in range(5))]
    rows, best_s = read_log(log), dict[str, float]()
    for of, measured in done:
        found = trial_metrics(measured.table, of.point.arrivals, measured.window_s)
        assert found.ok == 30
        sent_s = measured.start_s + measured.table.sent_s
        written_s = np.array([row.written_s[:TOKENS] for row in rows if row.read_s >= sent_s[0]][:30])
        for name, true_s in _latencies(sent_s, measured.start_s + measured.table.scheduled_s, written_s).items():
            median = found.latencies[name].quantile(0.5)
            assert median is not None
            best_s[name] = min(best_s.get(name, np.inf), abs(median - float(np.median(true_s))))
    assert {name: off for name, off in best_s.items() if off >= 0.001} == {}


def _latencies(sent_s: Float, scheduled_s: Float, written_s: Float) -> dict[str, Float]:
    """By definition, of times on one clock; shapes (n,), (n,), (n, tokens)."""
    first_s, last_s = written_s[:, 0], written_s[:, -1]
    return {
        "ttft_s": first_s - sent_s,
        "ttft_from_schedule_s": first_s - scheduled_s,
        "tpot_s": (last_s - first_s) / (TOKENS - 1),
        "itl_s": np.diff(written_s, axis=1),
        "itl_per_token_s": np.diff(written_s, axis=1),
        "e2e_latency_s": last_s - sent_s,
    }


def test_nothing_arrives_before_the_truth(url: str) -> None:
    table = run(url, trial()).table
    chunks = table.chunk_s.reshape(30, TOKENS)
    due = table.sent_s[:, None] + TTFT_S + ITL_S * np.arange(TOKENS)
    assert (chunks >= due).all()
    assert table.chunk_tokens.tolist() == [1] * len(table.chunk_s)


def test_failures_are_counted_and_are_in_no_latency(url: str) -> None:
    of = trial(3)
    done = run(url, of, extra_body={"fault": "http-500"})
    found = trial_metrics(done.table, of.point.arrivals, done.window_s)
    assert (found.ok, found.failures, found.latencies["ttft_s"].n) == (0, {"http-error": 3}, 0)


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_processes_merge_into_the_one_schedule(url: str, workers: int) -> None:
    arrivals = Arrivals(process="poisson", rate=100.0)
    of = trial(31, arrivals, seed=3)
    one, several = run(url, of), run(url, of, workers=workers)
    # Due times are rounded to the clock's reading of the start, which differs.
    np.testing.assert_allclose(several.table.scheduled_s, one.table.scheduled_s, rtol=0, atol=1e-6)
    assert several.window_s == one.window_s
    for name in ("status", "prompt_tokens", "output_tokens", "prompt_tokens_asked", "chunk_start", "chunk_tokens"):
        assert getattr(several.table, name).tolist() == getattr(one.table, name).tolist(), name
    starts = several.table.chunk_start[:-1]
    assert (several.table.chunk_s[starts] - several.table.sent_s >= TTFT_S).all()
    assert (several.client.workers, one.client.workers) == (workers, 1)


def test_errors_of_several_processes_keep_their_request(url: str) -> None:
    lengths = Length(distribution="uniform", mean=20, low=10, high=30)
    of = trial(24, input_len=lengths)
    with fake_engine("--max-model-len", 20 + TOKENS) as small:
        table = run(small, of, workers=3).table
    too_long = table.prompt_tokens_asked > 20
    assert 0 < too_long.sum() < 24
    assert [STATUS[code] for code in table.status] == ["http-error" if long else "ok" for long in too_long]
    assert sorted(table.errors) == np.flatnonzero(too_long).tolist()
    for i, text in table.errors.items():
        assert f"contains {table.prompt_tokens_asked[i]} input tokens" in text


def test_every_request_is_sent_by_exactly_one_process(url: str) -> None:
    # Different input lengths tell requests apart.
    arrivals = Arrivals(process="constant", rate=200.0)
    of = trial(50, arrivals, input_len=Length(distribution="uniform", mean=500, low=1, high=999))
    one, three = run(url, of).table, run(url, of, workers=3).table
    assert three.prompt_tokens.tolist() == one.prompt_tokens.tolist()
    assert three.prompt_tokens.tolist() == three.prompt_tokens_asked.tolist()


def test_trials_of_different_seeds_have_different_times_and_prompts(url: str) -> None:
    arrivals = Arrivals(process="poisson", rate=200.0)
    with fake_engine("--prefix-cache") as caching:
        first, other, again = (
            run(caching, trial(20, arrivals, seed, input_len=Length(mean=64))).table for seed in (0, 1, 0)
        )
    assert not np.allclose(first.scheduled_s[1:], other.scheduled_s[1:])
    np.testing.assert_allclose(again.scheduled_s, first.scheduled_s, rtol=0, atol=1e-6)
    # The engine remembers: prompts of other seeds are new to it, those of the same seed are not.
    assert first.cached_tokens.tolist() == other.cached_tokens.tolist() == [-1] * 20
    assert again.cached_tokens.tolist() == [48] * 20


@pytest.mark.parametrize("workers", [1, 2])
def test_a_closed_loop_over_processes_never_exceeds_its_concurrency(url: str, workers: int) -> None:
    arrivals = Arrivals(process="closed-loop", concurrency=5)
    table = run(url, trial(40, arrivals, tokens=4), workers=workers).table
    edges = [(at, 1) for at in table.sent_s] + [(at, -1) for at in table.end_s]
    in_flight = np.cumsum([step for _, step in sorted(edges)])
    assert in_flight.max() == 5
    assert (table.status == 0).all()


def test_all_at_once_sends_everything_before_the_first_answer(url: str) -> None:
    done = run(url, trial(40, Arrivals(process="all-at-once")))
    assert done.window_s == 0.0
    assert done.table.scheduled_s.tolist() == pytest.approx([0.0] * 40, abs=1e-9)
    assert (done.table.status == 0).all()


def test_a_window_of_given_length_measures_what_is_due_in_it(url: str) -> None:
    done = run(url, trial(arrivals=CONSTANT, duration_s=0.5))
    assert done.window_s == 0.5
    assert done.table.scheduled_s.tolist() == pytest.approx([0.025 * i for i in range(20)], abs=1e-6)
    assert done.total_s >= 0.475 + TTFT_S + (TOKENS - 1) * ITL_S


def test_ids_for_the_chat_endpoint_are_the_users_error(url: str) -> None:
    with pytest.raises(InputError, match="the chat endpoint takes text, not token ids; give --prompts"):
        run(url, trial(), api="chat")


def test_a_server_that_is_gone_is_a_trial_of_connect_errors() -> None:
    with fake_engine() as address:
        pass
    table = run(address, trial(4)).table
    assert [STATUS[code] for code in table.status] == ["connect-error"] * 4
