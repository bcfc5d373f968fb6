"""Findings about what was sent: the cache, caps, lengths, and what is left to the server."""

from dataclasses import replace

import numpy as np
import pytest

from swiftkv_bench.checks import check_trial
from swiftkv_bench.checks.finding import Finding
from swiftkv_bench.checks.traffic import hit_share, left_to_the_server
from swiftkv_bench.metrics import server_metrics, trial_metrics
from swiftkv_bench.schema.perf import Arrivals, Point, RequestTable
from tests.synthetic import point, table, trial_record

N = 100
EVEN = Arrivals(process="constant", rate=10.0)
AT = point(100, EVEN, N, output_len=4)
DUE_S = np.arange(N) / 10


def found(given: RequestTable, at: Point = AT, server: dict[str, float] | None = None) -> list[Finding]:
    record = trial_record(at, window_s=N / 10)
    m = trial_metrics(given, at.arrivals, record.window_s)
    return list(check_trial(record, given, m, server_metrics({}, server or {})).findings)


def codes(given: RequestTable, at: Point = AT) -> list[tuple[str, str]]:
    return [(f.code, f.severity) for f in found(given, at)]


def plain() -> RequestTable:
    return table(DUE_S, np.full(N, 0.05))


def cached(*tokens: int) -> RequestTable:
    return replace(plain(), cached_tokens=np.resize(np.array(tokens), N))


@pytest.mark.parametrize(
    ("tokens", "code"),
    [(50, None), (48, None), (40, "prefix-cache-unused"), (0, "prefix-cache-unused"), (60, "prefix-cache")],
)
def test_hits_are_held_against_what_was_chosen(tokens: int, code: str | None) -> None:
    at = AT.model_copy(update={"shared_prefix": 0.5, "prefix_groups": 4, "expected_hits": 0.5})
    assert [name for name, _ in codes(cached(tokens), at)] == ([] if code is None else [code])


def test_an_answer_that_tells_of_no_hit_had_none_where_others_tell() -> None:
    # Servers leave the count out where it is 0: 3 of 4 with 64 of 100 tokens are 48 %.
    assert hit_share(cached(-1, 64, 64, 64), server_metrics({}, {})) == pytest.approx(0.48)
    counters = {"prefix_cache_queries_total": 1000.0, "prefix_cache_hits_total": 250.0}
    assert hit_share(cached(-1), server_metrics({}, counters)) == 0.25
    assert hit_share(cached(-1), server_metrics({}, {})) is None


def test_a_server_that_tells_no_hits_is_named_where_some_were_chosen() -> None:
    at = AT.model_copy(update={"shared_prefix": 0.5})
    assert codes(cached(-1), at) == [("prefix-cache-unknown", "note")]
    assert codes(cached(-1)) == []


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({}, "Restart the engine or switch prefix caching off"),
        ({"prompts": "p.jsonl"}, "it does not honour `cache_salt`"),
        ({"turns": {"count": 2}}, "it does not honour `cache_salt`"),
    ],
)
def test_the_next_step_knows_why_prompts_were_found(change: dict[str, object], step: str) -> None:
    at = Point.model_validate(AT.model_dump() | change)
    (finding,) = found(cached(90), at)
    assert (finding.code, finding.severity) == ("prefix-cache", "invalid")
    assert step in finding.next_step


def test_who_waits_for_a_place_under_a_cap_is_no_late_client() -> None:
    # 10/s, 300 ms each, two at a time: every request but the first two is sent when one ends.
    sent = np.sort(np.concatenate([np.arange(N // 2) * 0.33, 0.1 + np.arange(N // 2) * 0.33]))
    late = table(sent, np.full(N, 0.3), itl_s=0.01)
    given = replace(late, scheduled_s=DUE_S)
    capped = AT.model_copy(update={"arrivals": EVEN.model_copy(update={"concurrency": 2})})
    names = [name for name, _ in codes(given, capped)]
    assert "capped" in names
    assert not {"late-client", "rate-not-reached"} & set(names)
    assert {"late-client", "rate-not-reached"} <= {name for name, _ in codes(given)}
    (note,) = [f for f in found(given, capped) if f.code == "capped"]
    assert note.message.startswith("98 of 100 requests waited, ")


def test_nobody_waits_under_a_cap_that_is_not_reached() -> None:
    assert codes(plain(), AT.model_copy(update={"arrivals": EVEN.model_copy(update={"concurrency": 2})})) == []


def test_a_chat_template_is_a_note_with_its_length() -> None:
    given = plain()
    given.prompt_tokens[:] = 117
    chat = Point.model_validate(AT.model_dump() | {"form": {"endpoint": "chat", "prompt": "text"}})
    (finding,) = found(given, chat)
    assert (finding.code, finding.severity) == ("chat-template", "note")
    assert "adds 17 tokens to each prompt" in finding.message
    (other,) = found(given)
    assert (other.code, other.severity) == ("prompt-length", "warning")
    assert "(+17 tokens)" in other.message


def test_what_a_request_leaves_to_the_server_is_named() -> None:
    form = {"ignore_eos": False, "extra_body": '{"top_k": 5, "top_p": 0.9}'}
    given = left_to_the_server(Point.model_validate(AT.model_dump() | {"form": form}))
    assert [(f.code, f.severity) for f in given] == [("output-length-free", "warning"), ("extra-body", "note")]
    assert "`top_k`, `top_p`" in given[1].message
    assert left_to_the_server(AT) == []


def test_a_missing_tpot_has_its_reason() -> None:
    (one,) = found(table(DUE_S, np.full(N, 0.05), tokens=1))
    assert (one.code, one.message) == ("no-tpot", "There is no TPOT: no answer has two tokens.")
    assert "no-tpot" not in [f.code for f in found(plain())]


def test_answers_that_may_end_are_not_short() -> None:
    given = replace(plain(), output_tokens_asked=np.full(N, 9))
    free = Point.model_validate(AT.model_dump() | {"form": {"ignore_eos": False}})
    assert [f.code for f in found(given)] == ["short-answers"]
    assert found(given, free) == []


def test_a_tokenizer_that_does_not_fit_is_the_likely_cause() -> None:
    given = plain()
    given.status[:50] = 1
    given.errors.update(dict.fromkeys(range(50), "HTTP 400: Token id 128256 is out of vocabulary"))
    failed = next(f for f in found(given) if f.code == "failed-requests")
    assert failed.next_step.startswith("The tokenizer is probably not that of the served model")
