"""What this client measures on this machine, now, of a server whose times are known: the fake engine.

Run before a load run at its rate and output length, so that a machine too slow or too busy for the plan is known
before an engine is measured with it. The load lasts about two seconds.
"""

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from swiftkv_bench import units
from swiftkv_bench.engines.client import Client
from swiftkv_bench.engines.guarded import Guarded
from swiftkv_bench.errors import EngineError
from swiftkv_bench.load.driver import Options, TrialRun, run_trial
from swiftkv_bench.load.target import Target
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.perf import STATUS, Arrivals, Float, Length, Point, SelfTest, Trial

LIMIT_S = 0.01
"""Above it the client, or the fake engine, is too late for the plan."""
TTFT_S = 0.1
_ITL_MOST_S = 0.01
_STREAM_S = 0.5
"""A stream lasts at most so long, so that a short test reaches the planned tokens per second."""
_WINDOW_S = 1.5
_REQUESTS_LEAST = 64
_TOKENS_LEAST = 8
"""A median lag needs answers of some tokens, however few the plan has a second."""
_PROMPT_TOKENS = 64
_IDLE_TIMEOUT_S = 10.0
_ENDED_S = 1.0
"""From the moment an engine does not answer to the end of its guards."""
_MODULE = "swiftkv_bench.engines.fake"
_ADDRESS = re.compile(r"https?://\S+")
_BUCKET = re.compile(r'^fake:lateness_seconds_bucket\{le="([^"]+)"\} (\d+)$', re.MULTILINE)
_WORST = re.compile(r"^fake:lateness_seconds_worst (\S+)$", re.MULTILINE)


def self_test(rate: float, output_tokens: int, *, workers: int = 1) -> SelfTest:
    """Sends Poisson arrivals at `rate` requests/s, each answered by `output_tokens` tokens, to a fake engine.

    At least 64 requests are sent, at no less than 43 requests/s; a sparser plan is tested with as many tokens/s, in
    shorter answers. The time between tokens is 10 ms, or less where a stream would last over half a second: what a
    client can carry is decided by tokens/s.

    Args:
        workers: client processes, as in the run to come.

    Raises:
        EngineError: the fake engine does not start, or a client process ended before its time.
    """
    requests = max(_REQUESTS_LEAST, round(rate * _WINDOW_S))
    tested_rate = max(rate, _REQUESTS_LEAST / _WINDOW_S)
    tokens = min(output_tokens, max(_TOKENS_LEAST, math.ceil(output_tokens * rate / tested_rate)))
    point = Point(
        input_len=Length(mean=_PROMPT_TOKENS),
        output_len=Length(mean=tokens),
        arrivals=Arrivals(process="poisson", rate=tested_rate),
        requests=requests,
        warmup_requests=2,
    )
    trial = Trial(trial_id="self-test", point=point, arm="baseline", repeat=0, seed=0)
    itl_s = min(_ITL_MOST_S, _STREAM_S / tokens)
    options = Options(workers=workers, idle_timeout_s=_IDLE_TIMEOUT_S)
    with _fake_engine(itl_s, _PROMPT_TOKENS + tokens) as url:
        run = run_trial(trial, Target(url, "fake", ((0, 256),)), Silent(), options=options)
        engine_late_s = _lateness_p99_s(url)
    return judge(run, point, itl_s, engine_late_s)


def judge(run: TrialRun, point: Point, itl_s: float, engine_late_s: float) -> SelfTest:
    """What a trial against a fake engine says of the client; `engine_late_s` is the engine's own lateness at p99."""
    table = run.table
    ok = table.status == STATUS.index("ok")
    late_s, lag_s = (table.sent_s - table.scheduled_s)[ok], token_lag_s(run, itl_s)
    send_p50, send_p90 = np.quantile(late_s, (0.5, 0.9)) if ok.any() else (np.inf, np.inf)
    lag_p50, lag_p99 = np.quantile(lag_s, (0.5, 0.99)) if len(lag_s) else (np.inf, np.inf)
    client_late_s = max(float(send_p90), float(lag_p99) - engine_late_s)
    failed = int((~ok).sum())
    if not ok.any():
        raise EngineError(f"the self-test of the client failed: {next(iter(table.errors.values()))}")
    verdict = "holds" if max(send_p90, lag_p99) <= LIMIT_S and not failed else "client-late"
    if verdict != "holds" and client_late_s <= LIMIT_S and not failed:
        verdict = "engine-late"
    return SelfTest.model_validate(
        {
            "rate": point.arrivals.rate,
            "output_tokens": round(point.output_len.mean),
            "requests": len(table),
            "failed": failed,
            "send_lateness_p50_s": float(send_p50),
            "send_lateness_p90_s": float(send_p90),
            "token_lag_p50_s": float(lag_p50),
            "token_lag_p99_s": float(lag_p99),
            "engine_lateness_p99_s": engine_late_s,
            "cpu_s_per_1000_tokens": 1000 * run.client.cpu_s / len(table.chunk_s),
            "run_queue_delay_s": run.client.run_queue_delay_s,
            "limit_s": LIMIT_S,
            "verdict": verdict,
        }
    )


def token_lag_s(run: TrialRun, itl_s: float, ttft_s: float = TTFT_S) -> Float:
    """How much later than its true time each token of a finished request was stamped; shape (tokens,).

    The truth for token k (from 0) of a request is send + ttft_s + k itl_s. What it is short of the stamp holds the
    engine's own lateness, the way there and back, and the client's.
    """
    table = run.table
    counts = np.diff(table.chunk_start)
    number = np.arange(len(table.chunk_s)) - np.repeat(table.chunk_start[:-1], counts)
    due_s = np.repeat(table.sent_s, counts) + ttft_s + number * itl_s
    return np.asarray((table.chunk_s - due_s)[np.repeat(table.status == STATUS.index("ok"), counts)])


def sentence(found: SelfTest) -> str:
    """The outcome in one sentence, with what to do about it."""
    load = f"{found.rate:.3g} requests/s of {found.output_tokens} tokens"
    if found.verdict == "holds":
        lag = units.duration(found.token_lag_p99_s)
        return f"the client holds {load}: 99 % of tokens are stamped within {lag} of the truth"
    if found.verdict == "engine-late":
        return (
            f"the self-test at {load} says nothing: the fake engine itself was "
            f"{units.duration(found.engine_lateness_p99_s)} late at p99; free a processor core for it"
        )
    if found.failed:
        return f"{found.failed} of {found.requests} requests of the self-test at {load} failed; lower --rate"
    late = units.duration(max(found.send_lateness_p90_s, found.token_lag_p99_s))
    return f"the client is {late} late at {load}; raise --workers, lower --rate or run it on a machine with a free core"


@contextmanager
def _fake_engine(itl_s: float, max_model_len: int) -> Iterator[str]:
    """A fake engine for as long as the context lasts; its address.

    Raises:
        EngineError: it does not start, or ends while the context lasts and that is why something failed.
    """
    command = [sys.executable, "-m", _MODULE, "--ttft", str(TTFT_S), "--itl", str(itl_s)]
    command += ["--max-model-len", str(max_model_len)]
    engine = Guarded(command, stderr=subprocess.PIPE)
    try:
        address = _ADDRESS.search(line := engine.stderr.readline().decode(errors="replace"))
        if address is None:
            raise EngineError(f"the fake engine of the self-test did not start: {line.strip() or 'no message'}")
        try:
            yield address.group(0)
        except EngineError as e:
            if (code := engine.exit_code(_ENDED_S)) is not None:
                raise EngineError(f"the fake engine of the self-test ended with exit code {code}") from e
            raise
    finally:
        engine.stop()


def _lateness_p99_s(url: str) -> float:
    """Upper bound of the fake engine's own lateness for 99 % of its writes.

    Raises:
        EngineError: the engine does not answer, or its page has no such figures.
    """
    with Client(url, timeout_s=_IDLE_TIMEOUT_S, patient=False) as client:
        page = client.get("/metrics")
    buckets = [(bound, int(seen)) for bound, seen in _BUCKET.findall(page)]
    found = next((bound for bound, seen in buckets if seen >= 0.99 * buckets[-1][1]), None)
    worst = _WORST.search(page)
    if found is None or worst is None:
        raise EngineError("the fake engine of the self-test does not say how late it was")
    return float(worst.group(1)) if found == "+Inf" else float(found)
