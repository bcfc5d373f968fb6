"""How truly, how cheaply and how punctually the load client measures, beside `vllm bench serve`.

    python benchmarks/load_client.py [--rates 40,80,120,160,200,250,300] [--clients ours,vllm] [--repeats 1]

One fake engine answers every request with 256 tokens, the first 100 ms after it came, then one every 10 ms. The clients
take turns on one processor core against that engine on another, at Poisson arrivals. Each measurement waits until both
cores are idle and is repeated where other work took over 2 % of them meanwhile; the attempt with the least counts.
Prints a Markdown table; `--json` keeps the figures.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from process_samples import OtherWork, Sampler, wait_until_idle, worker_of
from scipy import stats

from swiftkv_bench.load.driver import run_trial
from swiftkv_bench.load.target import Target
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.perf import STATUS, Arrivals, Float, Length, Point, Trial

TTFT_S, ITL_S, TOKENS, PROMPT_TOKENS = 0.1, 0.01, 256, 100
CLIENT_CORE, SERVER_CORE = 0, 1
OTHER_WORK_MOST = 0.02
IDLE_WAIT_S = 60.0
WRITES_PER_REQUEST = TOKENS + 3
"""Tokens, usage, end marker, last chunk."""
_COLUMNS = (
    "client", "rate", "sent/s", "n", "TTFT error mean / p99, ms", "ITL error mean / p99, ms", "CPU-s per 1000 tokens",
    "send error p50 / p99, ms", "KS p", "RSS start / peak, MB", "engine late mean / p99, ms",
    "other work",
)  # fmt: skip
_VLLM = """
from vllm.benchmarks import serve
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
serve.add_cli_args(parser)
serve.main(parser.parse_args())
"""


@dataclass(frozen=True)
class Measured:
    """One client at one rate, once. Seconds; errors are measured minus true."""

    client: str
    rate: float
    requests: int
    failed: int
    achieved_rate: float
    ttft_error_mean_s: float
    ttft_error_p99_s: float
    itl_error_mean_s: float
    itl_error_p99_s: float
    cpu_s_per_1000_tokens: float
    send_error_p50_s: float | None
    """None: the client does not record its schedule."""
    send_error_p99_s: float | None
    arrivals_ks_p: float
    """Of the gaps between sends against Exp(rate)."""
    rss_start_bytes: int
    rss_peak_bytes: int
    engine_late_p99_s: float
    """Upper bound of the engine's own lateness for 99 % of its writes."""
    engine_late_mean_s: float
    other_work: float
    """Share of all cores that other processes used meanwhile."""


@dataclass(frozen=True)
class Engine:
    """The running fake engine."""

    url: str
    pid: int


def measure(client: str, rate: float, requests: int, engine: Engine, seed: int, attempts: int) -> Measured:
    """Runs one client until nothing else ran beside it, or `attempts` times; the least disturbed."""
    found: list[Measured] = []
    while len(found) < attempts and (not found or min(m.other_work for m in found) > OTHER_WORK_MOST):
        wait_until_idle(OTHER_WORK_MOST, 1.0, IDLE_WAIT_S if attempts > 1 else 0.0)
        found.append(_measure(client, rate, requests, engine, seed))
    return min(found, key=lambda m: m.other_work)


def _measure(client: str, rate: float, requests: int, engine: Engine, seed: int) -> Measured:
    others, url = OtherWork(engine.pid), engine.url
    before = _lateness(url)
    found = (_ours if client == "ours" else _vllm)(rate, requests, url, seed)
    other_work, after = others.share(), _lateness(url)
    writes = {bound: after[bound] - before[bound] for bound in after}
    late_p99 = next(float(b) for b in _bounds(writes) if writes[b] >= 0.99 * writes["+Inf"])
    sent, ttft, itl = found["sent_s"], found["ttft_s"], found["itl_s"]
    late = found.get("late_s")
    tokens = found["tokens"]
    return Measured(
        client=client,
        rate=rate,
        requests=requests,
        failed=requests - len(ttft),
        achieved_rate=(len(sent) - 1) / float(sent[-1] - sent[0]),
        ttft_error_mean_s=float(ttft.mean()) - TTFT_S,
        ttft_error_p99_s=float(np.quantile(ttft, 0.99)) - TTFT_S,
        itl_error_mean_s=float(itl.mean()) - ITL_S,
        itl_error_p99_s=float(np.quantile(itl, 0.99)) - ITL_S,
        cpu_s_per_1000_tokens=1000 * float(found["cpu_s"][0] / tokens[0]),
        send_error_p50_s=None if late is None else float(np.quantile(late, 0.5)),
        send_error_p99_s=None if late is None else float(np.quantile(late, 0.99)),
        arrivals_ks_p=float(stats.kstest(np.diff(np.sort(sent)), stats.expon(scale=1 / rate).cdf).pvalue),
        rss_start_bytes=int(found["rss_bytes"][0]),
        rss_peak_bytes=int(found["rss_bytes"][1]),
        engine_late_p99_s=late_p99,
        engine_late_mean_s=(after["sum"] - before["sum"]) / writes["+Inf"],
        other_work=other_work,
    )


class _Edges:
    """Counts what is streamed while the client's processor seconds are counted."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.sampler: Sampler | None = None
        self.tokens = 0.0

    def opens(self) -> None:
        """Before the window."""
        self.sampler = Sampler(worker_of(os.getpid(), "swiftkv_bench.load.worker"))
        self.tokens = -_lateness(self._url)["+Inf"]

    def closes(self) -> None:
        """After the last measured response."""
        self.tokens = (self.tokens + _lateness(self._url)["+Inf"]) * TOKENS / WRITES_PER_REQUEST


def _ours(rate: float, requests: int, url: str, seed: int) -> dict[str, Float]:
    point = Point(
        input_len=Length(mean=PROMPT_TOKENS),
        output_len=Length(mean=TOKENS),
        arrivals=Arrivals(process="poisson", rate=rate),
        requests=requests,
        warmup_requests=2,
    )
    trial = Trial(trial_id="benchmark", point=point, arm="baseline", repeat=0, seed=seed)
    edges = _Edges(url)
    run = run_trial(trial, Target(url, "fake", ((97, 123),)), Silent(), window=edges)
    table = run.table
    ok = np.flatnonzero(table.status == STATUS.index("ok"))
    if (np.diff(table.chunk_start)[ok] != TOKENS).any():
        raise SystemExit("a finished request does not have 256 chunks")
    rows = table.chunk_s[np.repeat(table.status == STATUS.index("ok"), np.diff(table.chunk_start))].reshape(-1, TOKENS)
    samples = [] if edges.sampler is None else edges.sampler.stop()
    return {
        "sent_s": table.sent_s,
        "late_s": table.sent_s - table.scheduled_s,
        "ttft_s": rows[:, 0] - table.sent_s[ok],
        "itl_s": np.diff(rows, axis=1).ravel(),
        "tokens": np.array([edges.tokens]),
        "cpu_s": np.array([run.client.cpu_s]),
        "rss_bytes": np.array([samples[0].rss_bytes, run.client.max_rss_bytes or 0]),
    }


def _vllm(rate: float, requests: int, url: str, seed: int) -> dict[str, Float]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_tokenizer(folder)
        command = [
            sys.executable, "-c", _VLLM, "--backend", "openai", "--base-url", url, "--model", "fake",
            "--tokenizer", scratch, "--dataset-name", "random", "--random-input-len", str(PROMPT_TOKENS),
            "--random-output-len", str(TOKENS), "--ignore-eos", "--request-rate", str(rate), "--num-prompts",
            str(requests), "--seed", str(seed), "--disable-tqdm", "--save-result", "--save-detailed",
            "--result-dir", scratch, "--result-filename", "result.json",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            sampler = Sampler(process.pid)
            _, said = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"vllm bench serve failed:\n{said[-2000:]}")
        found = json.loads((folder / "result.json").read_text())
    samples = sampler.stop()
    done = [i for i, error in enumerate(found["errors"]) if not error]
    start_s = np.array(found["start_times"])
    end_s = max(found["start_times"][i] + found["ttfts"][i] + sum(found["itls"][i]) for i in done)
    at_s, cpu_s = np.array([s.at_s for s in samples]), np.array([s.cpu_s for s in samples])
    rss = np.array([s.rss_bytes for s in samples])
    return {
        "sent_s": np.sort(start_s),
        "ttft_s": np.array([found["ttfts"][i] for i in done]),
        "itl_s": np.concatenate([found["itls"][i] for i in done]),
        "tokens": np.array([len(done) * TOKENS]),
        "cpu_s": np.diff(np.interp([start_s.min(), end_s], at_s, cpu_s)),
        "rss_bytes": np.array([np.interp(start_s.min(), at_s, rss), rss.max()]),
    }


def _write_tokenizer(folder: Path) -> None:
    """A tokenizer of 26 letters: random ids become a text of as many tokens."""
    from tokenizers import Tokenizer, decoders, models

    letters = {chr(ord("a") + i): i for i in range(26)}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "config.json").write_text('{"model_type": "llama"}')


@contextmanager
def _engine() -> Iterator[Engine]:
    command = [sys.executable, "-m", "swiftkv_bench.engines.fake", "--ttft", str(TTFT_S), "--itl", str(ITL_S)]
    pinned = ["taskset", "-c", str(SERVER_CORE), *command]
    with subprocess.Popen(pinned, stderr=subprocess.PIPE, text=True) as process:
        if process.stderr is None:
            raise RuntimeError("the fake engine was started without pipes")
        line = process.stderr.readline()
        print(line.strip(), file=sys.stderr)
        try:
            yield Engine(re.findall(r"http://\S+", line)[0], process.pid)
        finally:
            process.terminate()
            print(process.communicate()[1].strip(), file=sys.stderr)


def _lateness(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        page = answer.read().decode()
    found = {b: float(n) for b, n in re.findall(r'^fake:lateness_seconds_bucket\{le="(.+)"\} (\S+)$', page, re.M)}
    found["sum"] = float(re.findall(r"^fake:lateness_seconds_sum (\S+)$", page, re.M)[0])
    return found


def _bounds(writes: Mapping[str, float]) -> list[str]:
    return sorted((bound for bound in writes if bound != "sum"), key=float)


def _row(m: Measured) -> str:
    def ms(seconds: float | None, digits: int = 1) -> str:
        return "–" if seconds is None else f"{1000 * seconds:.{digits}f}"

    return (
        f"| {m.client} | {m.rate:g} | {m.achieved_rate:.1f} | {m.requests} | {ms(m.ttft_error_mean_s)} / "
        f"{ms(m.ttft_error_p99_s)} | {ms(m.itl_error_mean_s, 2)} / {ms(m.itl_error_p99_s)} | "
        f"{m.cpu_s_per_1000_tokens:.4f} | {ms(m.send_error_p50_s, 2)} / {ms(m.send_error_p99_s, 2)} | "
        f"{m.arrivals_ks_p:.2g} | {m.rss_start_bytes / 1e6:.0f} / {m.rss_peak_bytes / 1e6:.0f} | "
        f"{ms(m.engine_late_mean_s, 2)} / ≤ {ms(m.engine_late_p99_s)} | "
        f"{m.other_work:.0%} |"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="40,80,120,160,200,250,300", help="requests/s, comma-separated")
    parser.add_argument("--clients", default="ours,vllm", help="of ours and vllm")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--attempts", type=int, default=3, help="at each measurement, for one without other work")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the arrivals, where 700 take no longer")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    found = []
    with _engine() as engine:
        print(f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|", flush=True)
        for repeat in range(given.repeats):
            for rate in map(float, given.rates.split(",")):
                for client in given.clients.split(","):
                    n = max(700, round(rate * given.seconds))
                    found.append(measure(client, rate, n, engine, 1000 * repeat + round(rate), given.attempts))
                    print(_row(found[-1]), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(m) for m in found], indent=1))


if __name__ == "__main__":
    main()
