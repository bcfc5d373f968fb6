"""How truly, how cheaply and how punctually the load client measures, beside `vllm bench serve`.

    python benchmarks/load_client.py [--rates 40,80,120,160,200,250,300] [--clients ours,vllm] [--repeats 1]

A fake engine answers every request with 256 tokens, the first 100 ms after it came, then one every 10 ms, and logs when
it handed each to the kernel: the truth, for a client on the same clock. Error = measured - true, of first tokens and of
gaps; how late the engine itself was stands in columns of its own. The k-th request sent is taken for the k-th read: two
that come within the same moment may change places, which can only add to the error.

The clients take turns on one processor core against an engine on another, at Poisson arrivals. Each measurement waits
until both cores are idle and is repeated where other work took over 2 % of them meanwhile; the attempt with the least
counts. Prints a Markdown table, of several repeats the median of each figure and its range; `--json` keeps the figures.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from process_samples import OtherWork, Sampler, read, wait_until_idle, worker_of
from scipy import stats

from swiftkv_bench.engines.fake.write_log import read_log
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
    """Of the error's size, as below."""
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
    engine_read_p99_s: float
    """From send to the engine having read the request: its own time counts from there."""
    engine_late_p99_s: float
    engine_late_mean_s: float
    """The engine's writes against its plan."""
    other_work: float
    """Share of all cores that other processes used meanwhile."""


@dataclass(frozen=True)
class Engine:
    """The running fake engine."""

    url: str
    pid: int


def measure(client: str, rate: float, requests: int, seed: int, attempts: int) -> Measured:
    """Runs one client until nothing else ran beside it, or `attempts` times; the least disturbed."""
    found: list[Measured] = []
    while len(found) < attempts and (not found or min(m.other_work for m in found) > OTHER_WORK_MOST):
        wait_until_idle(OTHER_WORK_MOST, 1.0, IDLE_WAIT_S if attempts > 1 else 0.0)
        found.append(_measure(client, rate, requests, seed))
    return min(found, key=lambda m: m.other_work)


def _measure(client: str, rate: float, requests: int, seed: int) -> Measured:
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "writes.jsonl"
        with _engine(log) as engine:
            others = OtherWork(engine.pid)
            found = (_ours if client == "ours" else _vllm)(rate, requests, engine.url, seed)
            other_work = others.share()
        sent, chunks = found["sent_s"], found["chunk_s"]
        came, written = _truth(log, sent)
    ttft_error, itl_error = chunks[:, 0] - written[:, 0], np.diff(chunks, axis=1) - np.diff(written, axis=1)
    plan = came[:, None] + TTFT_S + ITL_S * np.arange(TOKENS)
    late = found.get("late_s")
    return Measured(
        client=client,
        rate=rate,
        requests=requests,
        failed=requests - len(sent),
        achieved_rate=(len(sent) - 1) / float(np.ptp(sent)),
        ttft_error_mean_s=float(ttft_error.mean()),
        ttft_error_p99_s=_p99(np.abs(ttft_error)),
        itl_error_mean_s=float(itl_error.mean()),
        itl_error_p99_s=_p99(np.abs(itl_error)),
        cpu_s_per_1000_tokens=1000 * float(found["cpu_s"][0] / found["tokens"][0]),
        send_error_p50_s=None if late is None else float(np.quantile(late, 0.5)),
        send_error_p99_s=None if late is None else _p99(late),
        arrivals_ks_p=float(stats.kstest(np.diff(np.sort(sent)), stats.expon(scale=1 / rate).cdf).pvalue),
        rss_start_bytes=int(found["rss_bytes"][0]),
        rss_peak_bytes=int(found["rss_bytes"][1]),
        engine_read_p99_s=_p99(came - sent),
        engine_late_p99_s=_p99(written - plan),
        engine_late_mean_s=float((written - plan).mean()),
        other_work=other_work,
    )


def _p99(values: Float) -> float:
    return float(np.quantile(values, 0.99))


def _truth(log: Path, sent_s: Float) -> tuple[Float, Float]:
    """When the engine had read each request, shape (n,), and written each of its tokens, shape (n, tokens).

    Requests before the first one sent warmed up, those after the last were load around the window.
    """
    rows = [row for row in read_log(log) if row.read_s >= sent_s.min()][: len(sent_s)]
    place = np.argsort(np.argsort(sent_s))
    came, written = np.array([row.read_s for row in rows]), np.array([row.written_s[:TOKENS] for row in rows])
    return came[place], written[place]


class _Edges:
    """Counts what is streamed while the client's processor seconds are counted."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.rss_bytes = 0
        self.tokens = 0.0

    def opens(self) -> None:
        """Before the window."""
        worker = worker_of(os.getpid(), "swiftkv_bench.load.worker")
        self.rss_bytes = read(Path(f"/proc/{worker}")).rss_bytes
        self.tokens = -_writes(self._url)

    def closes(self) -> None:
        """After the last measured response."""
        self.tokens = (self.tokens + _writes(self._url)) * TOKENS / WRITES_PER_REQUEST


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
    if (table.status != STATUS.index("ok")).any() or (np.diff(table.chunk_start) != TOKENS).any():
        raise SystemExit("a request failed or does not have 256 chunks")
    return {
        "sent_s": run.start_s + table.sent_s,
        "late_s": table.sent_s - table.scheduled_s,
        "chunk_s": run.start_s + table.chunk_s.reshape(-1, TOKENS),
        "tokens": np.array([edges.tokens]),
        "cpu_s": np.array([run.client.cpu_s]),
        "rss_bytes": np.array([edges.rss_bytes, run.client.max_rss_bytes or 0]),
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
    if any(found["errors"]):
        raise SystemExit("a request of vllm bench serve failed")
    start_s = np.array(found["start_times"])
    gaps_s = np.column_stack([found["ttfts"], [itls[: TOKENS - 1] for itls in found["itls"]]])
    chunk_s = start_s[:, None] + np.cumsum(gaps_s, axis=1)
    end_s = chunk_s.max()
    at_s, cpu_s = np.array([s.at_s for s in samples]), np.array([s.cpu_s for s in samples])
    rss = np.array([s.rss_bytes for s in samples])
    return {
        "sent_s": start_s,
        "chunk_s": chunk_s,
        "tokens": np.array([chunk_s.size]),
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
def _engine(log: Path) -> Iterator[Engine]:
    command = [sys.executable, "-m", "swiftkv_bench.engines.fake", "--log", str(log)]
    pinned = ["taskset", "-c", str(SERVER_CORE), *command, "--ttft", str(TTFT_S), "--itl", str(ITL_S)]
    with subprocess.Popen(pinned, stderr=subprocess.PIPE, text=True) as process:
        if process.stderr is None:
            raise RuntimeError("the fake engine was started without pipes")
        try:
            yield Engine(re.findall(r"http://\S+", process.stderr.readline())[0], process.pid)
        finally:
            process.terminate()
            process.communicate()


def _writes(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        page = answer.read().decode()
    return float(re.findall(r'^fake:lateness_seconds_bucket\{le="\+Inf"\} (\S+)$', page, re.M)[0])


def _ms(value_s: float) -> str:
    return f"{1000 * value_s:.2f}"


_COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "ttft_error_p99_s": ("TTFT error p99, ms", _ms),
    "itl_error_p99_s": ("ITL error p99, ms", _ms),
    "cpu_s_per_1000_tokens": ("CPU-s per 1000 tokens", "{:.4f}".format),
    "send_error_p50_s": ("send error p50, ms", _ms),
    "send_error_p99_s": ("send error p99, ms", _ms),
    "arrivals_ks_p": ("arrivals: KS p", "{:.2g}".format),
    "rss_peak_bytes": ("resident peak, MB", lambda size: f"{size / 1e6:.0f}"),
    "engine_read_p99_s": ("engine reads after p99, ms", _ms),
    "engine_late_p99_s": ("engine writes late p99, ms", _ms),
    "other_work": ("other work", "{:.0%}".format),
}


def _table(found: Sequence[Measured]) -> str:
    """Markdown; a row a client and rate: the median over its repeats, and the range where there are several."""
    lines = [f"| client | requests/s | n | {' | '.join(title for title, _ in _COLUMNS.values())} |"]
    lines.append("|---" * (len(_COLUMNS) + 3) + "|")
    for client, rate in dict.fromkeys((m.client, m.rate) for m in found):
        of = [m for m in found if (m.client, m.rate) == (client, rate)]
        cells = [_cell([getattr(m, name) for m in of], show) for name, (_, show) in _COLUMNS.items()]
        n = f"{len(of)} × {of[0].requests}" if len(of) > 1 else str(of[0].requests)
        lines.append(f"| {client} | {rate:g} | {n} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float | None], show: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    middle = show(float(np.median(known)))
    return middle if len(known) == 1 else f"{middle} ({show(min(known))} … {show(max(known))})"


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
    for repeat in range(given.repeats):
        for rate in map(float, given.rates.split(",")):
            for client in given.clients.split(","):
                n = max(700, round(rate * given.seconds))
                found.append(measure(client, rate, n, 1000 * repeat + round(rate), given.attempts))
                print(f"{client} {rate:g}/s: {asdict(found[-1])}", file=sys.stderr, flush=True)
                if given.json is not None:
                    given.json.write_text(json.dumps([asdict(m) for m in found], indent=1))
    print(_table(found))


if __name__ == "__main__":
    main()
