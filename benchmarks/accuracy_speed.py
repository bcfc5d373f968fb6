"""Accuracy columns against lm-eval's own HTTP client, on one CPU engine and the same prompts.

For every column both answer the same lm-eval instances, one after the other in alternating order, the engine's
prefix cache emptied before each. Printed, as medians over the repeats: wall seconds, processor
seconds of the client and of the engine, tokens and steps the engine computed, the ratio of wall seconds, and the
largest difference between the two log-likelihoods of an instance. The probes of the engine, once a run, are timed
apart. Of log-likelihood columns also the bound on the ratio: lm-eval's wall seconds over those of the least tokens
that give the answers (every distinct prefix of the column once) at the price of a token in `bare`, the first
context of each item with no log-probability asked.

    python benchmarks/accuracy_speed.py --data-dir DATA [--model FOLDER] [--column mmlu ...] [--repeats 3]

Needs the package tenacity besides (lm-eval's extra `api`). lm-eval's side is generous: its task index (19 s) and
its prompt building are left out, and it may have as many requests in flight.
"""

import argparse
import contextlib
import json
import logging
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from word_piece_model import write_checkpoint

from swiftkv_bench.accuracy.items import Continuation, Item, build_items, sample
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.scoring import loglikelihood
from swiftkv_bench.accuracy.session import Session, Tally
from swiftkv_bench.accuracy.suites import load_suite, plan_accuracy
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.accuracy.tasks import load_column
from swiftkv_bench.engines.client import Client
from swiftkv_bench.engines.process import free_port
from swiftkv_bench.observer import Silent
from swiftkv_bench.store import cache_dir

SUITE = Path(__file__).parent / "suites" / "speed"
ITEMS = {"mmlu": 400, "winogrande": 400, "hellaswag_activitynet_val": 100, "truthfulqa": 100, "gsm8k": 100}
CONTEXT = 16384


@dataclass(frozen=True)
class Cost:
    """What answering a column took: seconds, and what the engine counted."""

    wall_s: float
    client_cpu_s: float
    engine_cpu_s: float
    tokens: float
    steps: float


@contextmanager
def server(model: Path, port: int, block_size: int, log: Path) -> Iterator[psutil.Process]:
    """A vLLM CPU server with float32 weights and a prefix cache that can be emptied."""
    env = os.environ | {
        "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--host", "127.0.0.1",
        "--port", str(port), "--enforce-eager", "--max-model-len", str(CONTEXT), "--dtype", "float32",
        "--block-size", str(block_size),
    ]  # fmt: skip
    with log.open("wb") as out, subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            while process.poll() is None:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.5)
            else:
                sys.exit(f"the engine ended at start; see {log}")
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def measured(engine: psutil.Process, port: int, work: Callable[[], list[Any]]) -> tuple[Cost, list[Any]]:
    """Cost and result of some work that starts with an empty prefix cache."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/reset_prefix_cache", method="POST")
    urllib.request.urlopen(request).close()
    (tokens, steps), engine_before = _computed(port), _cpu_s(engine)
    client_before, wall_before = time.process_time(), time.perf_counter()
    result = work()
    wall, client = time.perf_counter() - wall_before, time.process_time() - client_before
    cpu, (tokens_after, steps_after) = _cpu_s(engine) - engine_before, _computed(port)
    return Cost(wall, client, cpu, tokens_after - tokens, steps_after - steps), result


def _computed(port: int) -> tuple[float, float]:
    """Tokens and steps the engine computed since its start."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        page = response.read().decode()
    tokens, steps = (
        re.search(rf"^vllm:iteration_tokens_total_{name}\S* (\S+)", page, re.M) for name in ("sum", "count")
    )
    return (float(tokens[1]) if tokens else 0.0), (float(steps[1]) if steps else 0.0)


def _cpu_s(engine: psutil.Process) -> float:
    times = [process.cpu_times() for process in (engine, *engine.children(recursive=True))]
    return float(sum(t.user + t.system for t in times))


def ours(session: Session, items: list[Item], repeat: int, concurrency: int) -> list[Any]:
    """Responses of all instances in order, by this package; each repeat is asked anew."""
    answered = {a.item.key: a for a in session.answer(items, repeat, concurrency, Tally())}
    generated = items[0].instances[0].request_type == "generate_until"
    return [
        answer[0] if generated else loglikelihood(answer) for item in items for answer in answered[item.key].answers
    ]


def bare(target: Target, items: list[Item], concurrency: int) -> list[Any]:
    """The first context of each item, one token generated."""
    with Client(target.base_url) as client, ThreadPoolExecutor(concurrency) as pool:
        bodies = [
            {"model": target.served_model, "prompt": list(q.context), "max_tokens": 1}
            for q in (item.questions[0] for item in items)
            if isinstance(q, Continuation)
        ]
        return list(pool.map(partial(client.post, "/v1/completions"), bodies))


def least_tokens(items: list[Item]) -> int:
    """Distinct prefixes whose next token is asked about or that lead there: what any way must compute."""
    prefixes = set()
    for question in (q for item in items for q in item.questions):
        if isinstance(question, Continuation):
            prefix = 0
            for token in question.context + question.tokens[:-1]:
                prefix = hash((prefix, token))
                prefixes.add(prefix)
    return len(prefixes)


def theirs(peer: Any, items: list[Item]) -> list[Any]:
    """The same by lm-eval's `local-completions`."""
    instances = [instance for item in items for instance in item.instances]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):  # its progress bar
        responses: list[Any] = getattr(peer, instances[0].request_type)(instances, disable_tqdm=True)
    return responses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="checkpoint folder; default: see word_piece_model.py")
    parser.add_argument("--column", action="append", choices=list(ITEMS))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the items")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--block-size", type=int, default=32, help="tokens a block of the engine's prefix cache")
    parser.add_argument("--port", type=int, default=None, help="default: a free one")
    arguments = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    arguments.port = arguments.port or free_port()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the engine is stopped
    if arguments.model is None:
        arguments.model = write_checkpoint(cache_dir() / "benchmark-word-pieces", arguments.data_dir, CONTEXT)
    model = arguments.model
    log = Path(tempfile.gettempdir()) / f"accuracy_speed-{os.getpid()}.log"
    with server(model, arguments.port, arguments.block_size, log) as engine:
        for name in arguments.column or list(ITEMS):
            print(json.dumps(compare(name, max(1, round(ITEMS[name] * arguments.scale)), model, engine, arguments)))


def compare(
    name: str, limit: int, model: Path, engine: psutil.Process, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Medians over the repeats of one column."""
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    suite = load_suite(str(SUITE))
    plan = plan_accuracy(suite, ["baseline"], file=SUITE / "suite.yaml")
    [column] = [c for c in suite.columns if c.name == name]
    column_tasks = load_column(plan, column, arguments.data_dir)
    prompter, chosen = Prompter(str(model)), sample(column_tasks, limit, 0)
    items = build_items(column_tasks, chosen, prompter, max_model_len=CONTEXT, max_gen_tokens=suite.max_gen_tokens)
    target = Target(f"http://127.0.0.1:{arguments.port}", str(model), str(model), "benchmark", CONTEXT)
    peer = LocalCompletionsAPI(
        base_url=f"{target.base_url}/v1/completions", model=str(model), tokenizer=str(model),
        tokenizer_backend="huggingface", num_concurrent=arguments.concurrency, max_length=CONTEXT,
        add_bos_token=True, max_gen_toks=64,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        session = Session("baseline", target, Path(folder), threading.Event(), Silent())
        try:
            return _compare(name, items, session, peer, engine, arguments)
        finally:
            session.close()


def _compare(
    name: str, items: list[Item], session: Session, peer: Any, engine: psutil.Process, arguments: argparse.Namespace
) -> dict[str, Any]:
    started = time.perf_counter()
    _ = session.abilities
    probe_s = time.perf_counter() - started
    ours(session, items[:4], -1, 4)  # warm-up: compiles what the engine compiles on first use
    least = least_tokens(items)
    arms = ["ours", "lm-eval", *(["bare"] if least else [])]
    costs: dict[str, list[Cost]] = {arm: [] for arm in arms}
    results: dict[str, list[Any]] = {}
    for repeat in range(arguments.repeats):
        for who in list(costs) if repeat % 2 == 0 else reversed(costs):
            work = {
                "ours": partial(ours, session, items, repeat, arguments.concurrency),
                "lm-eval": partial(theirs, peer, items),
                "bare": partial(bare, session.target, items, arguments.concurrency),
            }[who]
            cost, results[who] = measured(engine, arguments.port, work)
            costs[who].append(cost)
    ratios = [t.wall_s / o.wall_s for o, t in zip(costs["ours"], costs["lm-eval"], strict=True)]
    medians = {
        f"{who} {field}": round(statistics.median(getattr(cost, field) for cost in of_one), 2)
        for who, of_one in costs.items()
        for field in ("wall_s", "client_cpu_s", "engine_cpu_s", "tokens", "steps")
    }
    if least:
        price_s = statistics.median(cost.wall_s / cost.tokens for cost in costs["bare"])
        medians |= {"least tokens": least, "bound": round(medians["lm-eval wall_s"] / (least * price_s), 2)}
    return {
        "column": name,
        "items": len(items),
        "instances": len(results["ours"]),
        "repeats": arguments.repeats,
        "probe_s": round(probe_s, 2),
        **medians,
        "speed-up": round(statistics.median(ratios), 2),
        "speed-ups": [round(r, 2) for r in ratios],
        "agreement": _agreement(results["ours"], results["lm-eval"]),
    }


def _agreement(a: list[Any], b: list[Any]) -> dict[str, float]:
    if isinstance(a[0], str):
        return {"same text, share": sum(x == y for x, y in zip(a, b, strict=True)) / len(a)}
    return {
        "largest difference, nat": max(abs(x[0] - y[0]) for x, y in zip(a, b, strict=True)),
        "same greedy flag, share": sum(x[1] == y[1] for x, y in zip(a, b, strict=True)) / len(a),
    }


if __name__ == "__main__":
    main()
