"""Whole trials by client processes against the fake engine: the truth, every fault, several processes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.engines.fake.write_log import read_log
from swiftkv_bench.errors import InputError
from swiftkv_bench.load.driver import Options, TrialRun, run_trial
from swiftkv_bench.load.target import Target
from swiftkv_bench.load.texts import Texts, load_texts
from swiftkv_bench.metrics import trial_metrics
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.perf import STATUS, Arrivals, Float, Length, Point, Trial
from tests.byte_tokenizer import write_byte_tokenizer
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


def run(url: str, of: Trial, *, workers: int = 1, texts: Texts | None = None, **target: object) -> TrialRun:
    where = Target(url, "fake", ((0, 256),), **target)  # type: ignore[arg-type]
    return run_trial(of, where, Silent(), options=Options(workers=workers, idle_timeout_s=30.0, texts=texts))


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
    with pytest.raises(InputError, match="the chat endpoint takes text, not token ids; send text with --tokenizer"):
        run(url, trial(form={"endpoint": "chat"}))


def test_a_server_that_is_gone_is_a_trial_of_connect_errors() -> None:
    with fake_engine() as address:
        pass
    table = run(address, trial(4)).table
    assert [STATUS[code] for code in table.status] == ["connect-error"] * 4


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rate_with_a_cap_waits_for_its_place(url: str, workers: int) -> None:
    # Two at a time, 50 ms each: the requests of a tenth of a second take half a second.
    table = run(
        url, trial(20, Arrivals(process="constant", rate=200.0, concurrency=2), tokens=1), workers=workers
    ).table
    edges = [(at, 1) for at in table.sent_s] + [(at, -1) for at in table.end_s]
    assert np.cumsum([step for _, step in sorted(edges)]).max() == 2
    assert (table.status == 0).all()
    assert table.scheduled_s.tolist() == pytest.approx([0.005 * i for i in range(20)], abs=1e-6)
    assert table.end_s.max() >= 10 * TTFT_S


def test_requests_of_a_ramp_are_sent_before_the_window_and_not_measured(tmp_path: Path) -> None:
    # 10 requests within a second while the rate grows to 20/s; the first measured one follows.
    log = tmp_path / "writes.jsonl"
    with fake_engine("--ttft", 0.01, "--log", log) as url:
        done = run(url, trial(4, Arrivals(process="constant", rate=20.0, ramp_up_s=1.0), tokens=1))
    read_s = np.array([row.read_s for row in read_log(log)]) - done.start_s
    assert (read_s < -0.001).sum() == 9
    assert done.table.scheduled_s.tolist() == pytest.approx([0.0, 0.05, 0.1, 0.15], abs=1e-6)
    assert done.window_s == pytest.approx(0.2)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_turn_follows_the_answer_and_the_time_to_think(url: str, workers: int) -> None:
    of = trial(6, Arrivals(process="constant", rate=50.0), tokens=4, turns={"count": 3, "think_s": 0.03})
    done = run(url, of, workers=workers)
    table = done.table
    assert table.turn is not None
    assert (table.status == 0).all()
    assert sorted(table.turn.tolist()) == [0] * 6 + [1] * 6 + [2] * 6
    # 12 tokens a turn and the 4 of each answer before.
    assert [sorted(set(table.prompt_tokens[table.turn == k].tolist())) for k in range(3)] == [[12], [28], [44]]
    firsts = table.scheduled_s[table.turn == 0]
    assert firsts.tolist() == pytest.approx([0.02 * i for i in range(6)], abs=1e-6)
    for earlier, later in ((0, 1), (1, 2)):
        ends, starts = np.sort(table.end_s[table.turn == earlier]), np.sort(table.sent_s[table.turn == later])
        # The event loop's timer has a grain of a millisecond.
        assert (starts - ends >= 0.029).all()


def test_a_conversation_ends_with_its_first_failure(url: str) -> None:
    done = run(url, trial(2, tokens=4, turns={"count": 3}), extra_body={"fault": "http-500"})
    assert done.table.turn is not None
    assert {(int(k), STATUS[code]) for k, code in zip(done.table.turn, done.table.status, strict=True)} == {
        (0, "http-error"), (1, "cancelled"), (2, "cancelled"),
    }  # fmt: skip
    assert set(done.table.errors.values()) > {"an earlier turn of its conversation failed"}


SHARED = {"shared_prefix": 0.75, "input_len": Length(mean=64), "tokens": 1}


def test_a_trial_finds_in_the_cache_what_it_put_there_itself_and_nothing_else(tmp_path: Path) -> None:
    # The first of a group finds nothing, the others the whole blocks of 48 shared tokens.
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "{i:064}"}}\n' for i in range(8)))
    of_file = trial(8, tokens=1, prompts=str(prompts), form={"prompt": "text"})
    with fake_engine("--prefix-cache") as caching:
        for _ in range(2):
            shared = run(caching, trial(8, **SHARED)).table  # type: ignore[arg-type]
            assert sorted(shared.cached_tokens.tolist()) == [-1] + [48] * 7
            # Eight numbers of 64 digits begin with 48 zeros, which the first brings.
            found = run(caching, of_file).table
            assert sorted(found.cached_tokens.tolist()) == [-1] + [48] * 7


def test_prompts_as_text_and_of_a_chat_have_the_tokens_asked_for(url: str, tmp_path: Path) -> None:
    texts = load_texts(write_byte_tokenizer(tmp_path / "bytes") / "tokenizer.json")
    as_text = run(url, trial(4, form={"prompt": "text"}), texts=texts).table
    assert as_text.prompt_tokens.tolist() == [12] * 4
    chat = run(url, trial(4, form={"prompt": "text", "endpoint": "chat"}), texts=texts).table
    # The fake engine's template: "user: ", a line end, "assistant:".
    assert chat.prompt_tokens.tolist() == [12 + len("user: \nassistant:")] * 4
    assert chat.output_tokens.tolist() == [TOKENS] * 4


def test_answers_end_where_they_are_not_told_to_go_on(tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    answers.write_text('{"?": "yes"}')
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "really?"}\n{"prompt": "sure?"}\n')
    with fake_engine("--answers", answers) as answering:
        for ignore_eos, tokens in ((True, TOKENS), (False, 3)):
            form = {"prompt": "text", "ignore_eos": ignore_eos}
            table = run(answering, trial(2, prompts=str(prompts), form=form)).table
            assert table.output_tokens.tolist() == [tokens] * 2
