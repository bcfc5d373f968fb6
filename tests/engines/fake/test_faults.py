"""What the client records of every fault that the fake engine can be told."""

from collections.abc import Iterator

import numpy as np
import pytest

from swiftkv_bench.engines.fake.faults import Fault
from swiftkv_bench.errors import InputError
from swiftkv_bench.load.job import Slice
from swiftkv_bench.load.target import Target
from swiftkv_bench.load.workload import Prompt
from swiftkv_bench.schema.perf import STATUS
from tests.fake_engine import fake_engine
from tests.load.scripted import job, prompts, run

TTFT_S, ITL_S, TOKENS = 0.02, 0.002, 16
ALL = (1,) * TOKENS


@pytest.fixture(scope="module", params=["auto", "python"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An engine whose other streams are written in C, and one without it: faults must not differ."""
    with fake_engine("--ttft", TTFT_S, "--itl", ITL_S, "--writer", request.param) as address:
        yield address


def asked(url: str, fault: str | None, n: int = 3, idle_timeout_s: float = 20.0) -> Slice:
    target = Target(url, "fake", extra_body={} if fault is None else {"fault": fault})
    return run(job(target, of=prompts(n, TOKENS), idle_timeout_s=idle_timeout_s))


FAILED = "the engine answered with an error: the fake engine was told to fail"
FAULTS: dict[str, tuple[str, tuple[int, ...], str]] = {
    "coalesce:n=4": ("ok", ALL, ""),
    "split": ("ok", ALL, ""),
    "multi-token:n=3": ("ok", (3, 3, 3, 3, 3, 1), ""),
    "empty-first": ("ok", ALL, ""),
    "empty-text:n=2": ("ok", ALL, ""),
    "comments": ("ok", ALL, ""),
    "crlf": ("ok", ALL, ""),
    "spaces": ("ok", ALL, ""),
    "no-length": ("ok", ALL, ""),
    "no-usage": ("ok", (-1,) * TOKENS, ""),
    "no-done": ("ok", ALL, ""),
    "bare-done": ("ok", ALL, ""),
    "bom": ("ok", ALL, ""),
    "fields": ("ok", ALL, ""),
    "plain-type": ("ok", ALL, ""),
    "http-201": ("ok", ALL, ""),
    "buffered": ("ok", ALL, ""),
    "whole": ("ok", (TOKENS,), ""),
    "uncounted:n=4": ("ok", (-1,) * 4, ""),
    "usage-sums": ("ok", tuple(range(1, TOKENS + 1)), ""),
    "usage-lags:n=2": ("ok", (0, 0, *(1,) * (TOKENS - 2)), ""),
    "usage-ones": ("ok", (1, *(0,) * (TOKENS - 1)), ""),
    "usage-more:n=4": ("ok", ALL, ""),
    "finish:after=3,reason=length": ("ok", (1,) * 3, ""),
    "finish:after=3": ("engine-error", (1,) * 3, "the engine ended the answer with finish_reason 'abort'"),
    "finish:after=3,reason=null": ("truncated", (1,) * 3, "the stream ended without a finish_reason"),
    "redirect": ("http-error", (), "HTTP 307: the server redirects to http://elsewhere:8000/v1/completions; give"),
    "page": ("malformed", (), "the server answered text/html and no event stream: <html><h1>Welcome to the fake"),
    "http-500": ("http-error", (), "HTTP 500: the fake engine was told to refuse"),
    "http-429": ("http-error", (), "HTTP 429: the fake engine was told to refuse"),
    "eof:after=5": ("truncated", (1,) * 5, "the stream broke off before its end"),
    "stall:after=5": ("stalled", (1,) * 5, "nothing arrived for 1.5 s"),
    "malformed": ("malformed", (), "an event is no JSON"),
    "error:after=2": ("engine-error", (1,) * 2, FAILED),
    "error-event:after=2": ("engine-error", (1,) * 2, FAILED),
    "error-field:after=2": ("engine-error", (1,) * 2, FAILED),
    "error-object:after=2": ("engine-error", (1,) * 2, FAILED),
    "detail:after=2": ("engine-error", (1,) * 2, FAILED),
    "neither:after=2": (
        "engine-error",
        (1,) * 2,
        "the engine answered with an error: an event with neither choices nor usage: ",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_told_apart(url: str, fault: str) -> None:
    status, tokens, error = FAULTS[fault]
    stalls = fault.startswith("stall")
    n = 1 if stalls else 3
    found = asked(url, fault, n, idle_timeout_s=1.5 if stalls else 20.0)
    assert [STATUS[code] for code in found.status] == [status] * n
    assert [tuple(row) for row in found.chunk_tokens.reshape(n, -1)] == [tokens] * n
    assert all(text.startswith(error) for text in found.errors.values())
    assert len(found.errors) == (0 if status == "ok" else n)


def test_a_reset_is_told_from_an_end(url: str) -> None:
    found = asked(url, "reset:after=5")
    assert [STATUS[code] for code in found.status] == ["reset"] * 3
    assert all("broke (ConnectionResetError)" in text for text in found.errors.values())


def test_events_of_one_write_have_one_time(url: str) -> None:
    times = asked(url, "coalesce:n=4").chunk_s.reshape(3, 4, 4)
    # The kernel may cut a write in two, but not one of this size.
    assert (times == times[:, :, :1]).all()


def test_an_empty_first_event_is_not_the_first_token(url: str) -> None:
    found = asked(url, "empty-first")
    assert (found.chunk_s[::TOKENS] - found.sent_s >= TTFT_S).all()


def test_reasoning_of_a_chat_is_content(url: str) -> None:
    target = Target(url, "fake", api="chat", extra_body={"fault": "reasoning"})
    found = run(job(target, of=[Prompt(None, 5, texts=("why?",))]))
    assert (found.status.tolist(), found.chunk_tokens.tolist()) == ([0], [1] * 5)


@pytest.mark.parametrize("fault", ["usage-sums", "usage-lags", "usage-ones", "no-done", "bare-done"])
def test_the_last_usage_event_tells_the_tokens(url: str, fault: str) -> None:
    assert asked(url, fault).output_tokens.tolist() == [TOKENS] * 3


def test_a_usage_event_that_says_too_much_is_recorded_as_it_is(url: str) -> None:
    assert asked(url, "usage-more:n=4").output_tokens.tolist() == [TOKENS + 4] * 3


def test_a_server_that_buffers_sends_all_tokens_at_once(url: str) -> None:
    times = asked(url, "buffered").chunk_s.reshape(3, TOKENS)
    assert (times == times[:, :1]).all()


def test_no_fault_is_no_failure(url: str) -> None:
    found = asked(url, None)
    assert (found.status.tolist(), found.chunk_count.tolist()) == ([0] * 3, [TOKENS] * 3)
    due = found.sent_s[:, None] + TTFT_S + ITL_S * np.arange(TOKENS)
    assert (found.chunk_s.reshape(3, TOKENS) >= due).all()


@pytest.mark.parametrize("text", ["explode", "coalesce:x=3", "coalesce:n=many", "stall:after=1.5"])
def test_a_fault_that_is_not_known_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError) as raised:
        Fault.parse(text)
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)
