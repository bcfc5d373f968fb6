"""`perf` against every fault mode of the fake engine: the right figure, or none and the reason.

First token after 50 ms, then one every 10 ms; four requests of 12 tokens at a time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import get_args

import pytest

from swiftkv_bench.checks import check_trial
from swiftkv_bench.engines.fake.faults import Kind
from swiftkv_bench.load.driver import Options, run_trial
from swiftkv_bench.load.job import Slice
from swiftkv_bench.load.target import Target
from swiftkv_bench.metrics import server_metrics, trial_metrics
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.perf import STATUS, Arrivals, Trial, TrialRecord
from tests.fake_engine import fake_engine
from tests.load.scripted import job, prompts, run
from tests.synthetic import point

TTFT_S, ITL_S, TOKENS, REQUESTS = 0.05, 0.01, 12, 4
SLACK_S = 0.025
"""Less than what a wrong first token would be off by."""
PAGE = (Path(__file__).resolve().parents[1] / "docs/faults.md").read_text()


@dataclass(frozen=True)
class Said:
    """What is said of a trial against a fault: times of the fastest request, in steps of its tokens."""

    failed: str | None = None
    """Kind of failure of every request."""
    findings: frozenset[str] = frozenset()
    first: int | None = 1
    """The token whose time TTFT is; None where none is given."""
    itl: float | None = ITL_S
    """TPOT, seconds."""
    output: int = TOKENS


def said(*findings: str, **changes: object) -> Said:
    return Said(findings=frozenset(findings), **changes)  # type: ignore[arg-type]


RIGHT = said()
FAILED = {"first": None, "itl": None, "output": 0}
MODES: dict[str, Said] = {
    "coalesce:n=4": said(first=4),
    "split": RIGHT,
    "buffered": said("no-stream", first=None, itl=None),
    "whole": said("no-stream", first=None, itl=None),
    "multi-token:n=4": said(first=4),
    "uncounted:n=4": said("tokens-per-chunk", first=4),
    "empty-first": RIGHT,
    "empty-text": RIGHT,
    "comments": RIGHT,
    "crlf": RIGHT,
    "bom": RIGHT,
    "fields": RIGHT,
    "spaces": RIGHT,
    "reasoning": RIGHT,
    "no-done": RIGHT,
    "bare-done": RIGHT,
    "no-usage": said("no-usage", itl=None, output=0),
    "usage-sums": said("usage-differs"),
    "usage-lags:n=2": said("usage-differs"),
    "usage-ones": said("usage-differs"),
    # 110 ms over 16 tokens in 12 chunks taken as equal.
    "usage-more:n=4": said("long-answers", "usage-differs", "tokens-per-chunk", itl=0.0075, output=TOKENS + 4),
    "no-length": RIGHT,
    "plain-type": RIGHT,
    "http-201": RIGHT,
    "finish:after=8,reason=stop": said("short-answers", output=8),
    "finish:after=3,reason=abort": said("failed-requests", failed="engine-error", **FAILED),
    "finish:after=3,reason=content_filter": said("failed-requests", failed="engine-error", **FAILED),
    "finish:after=3,reason=null": said("failed-requests", failed="truncated", **FAILED),
    "page": said("failed-requests", failed="malformed", **FAILED),
    "redirect": said("failed-requests", failed="http-error", **FAILED),
    "http-500": said("failed-requests", failed="http-error", **FAILED),
    "http-429": said("failed-requests", failed="http-error", **FAILED),
    "reset": said("failed-requests", failed="reset", **FAILED),
    "eof": said("failed-requests", failed="truncated", **FAILED),
    "stall": said("failed-requests", failed="stalled", **FAILED),
    "malformed": said("failed-requests", failed="malformed", **FAILED),
    **{
        kind: said("failed-requests", failed="engine-error", **FAILED)
        for kind in ("error", "error-event", "error-field", "error-object", "detail", "neither")
    },
}
ELSEWHERE = {"drop-idle", "pings", "busy", "no-finish", "no-text"}
"""Tested where they matter: on connections that are used again, on stalls, and in accuracy."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with fake_engine("--ttft", TTFT_S, "--itl", ITL_S) as address:
        yield address


def asked(
    url: str,
    fault: str,
    n: int = 1,
    output_tokens: int = TOKENS,
    idle_timeout_s: float = 20.0,
    request_timeout_s: float = 60.0,
) -> Slice:
    target = Target(url, "fake", extra_body={"fault": fault})
    of = prompts(n, output_tokens)
    return run(job(target, of=of, idle_timeout_s=idle_timeout_s, request_timeout_s=request_timeout_s))


@pytest.mark.parametrize("fault", MODES)
def test_every_fault_mode_gives_the_right_figures_or_none(fault: str, url: str) -> None:
    wanted = MODES[fault]
    at = point(20, Arrivals(process="all-at-once"), REQUESTS, output_len=TOKENS)
    trial = Trial(trial_id="t", point=at, arm="baseline", repeat=0, seed=7)
    target = Target(url, "fake", ((0, 512),), extra_body={"fault": fault})
    done = run_trial(trial, target, Silent(), options=Options(idle_timeout_s=1.0))
    record = TrialRecord(
        trial=trial, status="complete", started_utc=done.started_utc, window_s=done.window_s, total_s=done.total_s
    )  # fmt: skip
    m = trial_metrics(done.table, at.arrivals, done.window_s)
    codes = {f.code for f in check_trial(record, done.table, m, server_metrics({}, {})).findings}
    assert codes - {"late-client", "client-starved"} == wanted.findings
    assert m.failures == ({} if wanted.failed is None else {wanted.failed: REQUESTS})
    assert (m.output_tokens or 0) == REQUESTS * wanted.output
    ttft, tpot = m.latencies["ttft_s"], m.latencies["tpot_s"]
    if wanted.first is None:
        assert ttft.mean is None
    else:
        # A busy machine makes an answer late, never early.
        assert ttft.low is not None
        assert 0 <= ttft.low - TTFT_S - (wanted.first - 1) * ITL_S < SLACK_S
    if wanted.itl is None:
        assert tpot.mean is None
    else:
        assert tpot.mean == pytest.approx(wanted.itl, rel=0.2)


def test_comments_are_no_movement(url: str) -> None:
    found = asked(url, "pings:after=3,delay_s=0.05", idle_timeout_s=1.0)
    assert [STATUS[code] for code in found.status] == ["stalled"]
    assert (found.errors, found.chunk_count.tolist()) == ({0: "no content arrived for 1 s"}, [3])
    assert 1.0 <= found.end_s[0] - found.chunk_s[-1] < 2.0


def test_content_is_movement_however_long_it_takes(url: str) -> None:
    found = asked(url, "comments", output_tokens=150, idle_timeout_s=0.5)
    assert [STATUS[code] for code in found.status] == ["ok"]
    assert found.end_s[0] - found.sent_s[0] > 1.5


def test_a_request_has_a_time_as_a_whole(url: str) -> None:
    found = asked(url, "comments", output_tokens=1000, request_timeout_s=0.5)
    assert [STATUS[code] for code in found.status] == ["stalled"]
    assert found.errors == {0: "it was not finished after 0.5 s (--request-timeout)"}
    assert 0.5 <= found.end_s[0] - found.sent_s[0] < 1.0


def test_a_request_that_met_a_closed_connection_is_sent_once_more_and_stamped_anew(url: str) -> None:
    found = asked(url, "drop-idle", n=4)
    assert [STATUS[code] for code in found.status] == ["ok"] * 4
    assert found.sent_again == 3
    first_s = found.chunk_s[found.chunk_begin] - found.sent_s
    assert (first_s >= TTFT_S).all()
    assert (first_s < TTFT_S + SLACK_S).any()


def test_a_trial_is_cut_at_its_deadline(url: str) -> None:
    at = point(20, Arrivals(process="all-at-once"), 2, output_len=500)
    trial = Trial(trial_id="t", point=at, arm="baseline", repeat=0, seed=7)
    begun = perf_counter()
    options = Options(deadline_s=begun + 2.5)
    done = run_trial(trial, Target(url, "fake", ((0, 512),)), Silent(), options=options)
    assert done.cut
    assert 2.5 <= perf_counter() - begun < 4.5
    assert [STATUS[code] for code in done.table.status] == ["cancelled"] * 2
    assert set(done.table.errors.values()) == {"the time budget was used up first"}


def test_every_fault_mode_is_tested() -> None:
    assert {fault.partition(":")[0] for fault in MODES} | ELSEWHERE == set(get_args(Kind))


def test_every_fault_mode_is_documented() -> None:
    named = re.findall(r"^\| `([\w-]+)", PAGE, re.MULTILINE)
    assert sorted(set(named)) == sorted(get_args(Kind))
