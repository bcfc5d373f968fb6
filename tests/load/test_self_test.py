"""The self-test: its judgement on tables with known lateness, and one run."""

import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.errors import EngineError
from swiftkv_bench.load.driver import TrialRun
from swiftkv_bench.load.self_test import TTFT_S, judge, self_test, sentence, token_lag_s
from swiftkv_bench.schema.perf import Arrivals, ClientTelemetry, Length, Point
from tests import synthetic
from tests.killing import below, killed_when_found

POINT = Point(
    input_len=Length(mean=64), output_len=Length(mean=4), arrivals=Arrivals(process="poisson", rate=10.0), requests=100
)


def measured(send_late_s: float = 0.0, token_late_s: float = 0.0) -> TrialRun:
    table = synthetic.table([0.1 * i for i in range(100)], [TTFT_S + token_late_s] * 100, lateness_s=send_late_s)
    return TrialRun(ClientTelemetry(cpu_s=0.008), table, 10.0, 10.2, "2026-01-01T00:00:00+00:00", 0.0)


@pytest.mark.parametrize(
    ("send_late_s", "token_late_s", "engine_late_s", "verdict"),
    [
        (0.0, 0.0005, 0.0002, "holds"),
        (0.0, 0.009, 0.0002, "holds"),
        (0.02, 0.0, 0.0002, "client-late"),
        (0.0, 0.02, 0.0002, "client-late"),
        (0.0, 0.02, 0.019, "engine-late"),
        (0.02, 0.02, 0.02, "client-late"),
    ],
)
def test_the_verdict_tells_client_and_engine_apart(
    send_late_s: float, token_late_s: float, engine_late_s: float, verdict: str
) -> None:
    found = judge(measured(send_late_s, token_late_s), POINT, 0.01, engine_late_s)
    assert found.verdict == verdict
    assert found.send_lateness_p50_s == pytest.approx(send_late_s)
    assert found.token_lag_p99_s == pytest.approx(token_late_s, abs=1e-9)
    assert found.cpu_s_per_1000_tokens == pytest.approx(0.02)
    assert ("holds" in sentence(found)) == (verdict == "holds")
    assert "\n" not in sentence(found)


def test_lag_is_counted_from_the_truth_of_every_token() -> None:
    run = measured()
    chunk_s = run.table.chunk_s.copy()
    chunk_s[5] += 0.25
    lag_s = token_lag_s(run._replace(table=replace(run.table, chunk_s=chunk_s)), 0.01)
    assert lag_s[5] == pytest.approx(0.25)
    assert np.delete(lag_s, 5) == pytest.approx(0.0, abs=1e-9)


def test_a_failed_request_is_no_success_of_the_client() -> None:
    run = measured()
    status = run.table.status.copy()
    status[7] = 3
    found = judge(run._replace(table=replace(run.table, status=status, errors={7: "x"})), POINT, 0.01, 0.0)
    assert (found.verdict, found.failed) == ("client-late", 1)
    assert sentence(found) == "1 of 100 requests of the self-test at 10 requests/s of 4 tokens failed; lower --rate"


def test_a_sparse_plan_is_tested_with_its_tokens_a_second() -> None:
    # 4 requests/s of 200 tokens: 64 requests in 1.5 s would be ten times its tokens at full length.
    found = self_test(4.0, 200)
    assert found.rate == pytest.approx(64 / 1.5)
    assert found.output_tokens == math.ceil(4.0 * 200 / found.rate) == 19


def test_it_runs_at_the_planned_rate_and_length() -> None:
    found = self_test(60.0, 8, workers=2)
    assert (found.rate, found.output_tokens, found.requests, found.failed) == (60.0, 8, 90, 0)
    assert found.token_lag_p50_s > 0
    assert found.cpu_s_per_1000_tokens > 0


FAKE_ENGINE = "swiftkv_bench.engines.fake "


@pytest.mark.parametrize(("place", "code"), [(0, -9), (1, 137), (2, 137)], ids=["outer guard", "inner guard", "engine"])
def test_a_fake_engine_that_dies_is_one_sentence_with_its_exit_code(place: int, code: int) -> None:
    def victim() -> int | None:
        chain = below(os.getpid(), FAKE_ENGINE)
        # Client processes are started once the engine has said where it listens.
        return chain[place] if len(chain) == 3 and below(os.getpid(), "swiftkv_bench.load.worker") else None

    with killed_when_found(victim), pytest.raises(EngineError) as found:
        self_test(60.0, 8)
    assert str(found.value) == f"the fake engine of the self-test ended with exit code {code}"
    assert below(os.getpid(), FAKE_ENGINE) == []


def test_a_fake_engine_that_does_not_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\necho no room >&2\nkill -9 $$\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(EngineError) as found:
        self_test(60.0, 8)
    assert str(found.value) == "the fake engine of the self-test did not start: no room"
