"""What SwiftKV gains under one of vLLM's model runners: throughput, time to first token, cost of a decode step.

A Llama of 8B dimensions and its SwiftKV model ("dummy" weights) stand on one card, each in a process of its own, and
are measured in turns, never at the same moment. A window sends all prompts at once and ends with the last token; a
decode block steps requests that were all decoding before.

    python benchmarks/gpu_gains.py --runner v1 --json gains.jsonl
    python benchmarks/gpu_gains.py --runner v2 --json gains.jsonl  # the table then shows both runners
    python benchmarks/gpu_gains.py --rehearse                      # the same code on a CPU, tiny dimensions

The file takes a JSON line a window as it ends, of every call. Needs vLLM and torch; not the harness's other
dependencies, and no installation.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu_environment
from gpu_models import write_model

ARMS = ("baseline", "skip")
WEIGHTS_AND_WORK_BYTES = 20_500_000_000  # of one engine at 8B dimensions, beside its K/V cache
LARGEST_CACHE_BYTES = 50_800_000_000


@dataclass(frozen=True)
class Window:
    """One measurement of an engine.

    Attributes:
        kind: ``burst`` sends ``requests`` prompts at once; ``decode`` steps that many which decode already.
        steps: of a decode block.
    """

    kind: Literal["burst", "decode"]
    prompt_tokens: int
    requests: int
    output_tokens: int = 256
    steps: int = 120


@dataclass(frozen=True)
class Measured:
    """What a window measured; seconds. None: not of this kind."""

    seconds: float
    tokens_per_s: float | None = None
    ttft_mean_s: float | None = None
    ttft_median_s: float | None = None
    step_s: float | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="append a line a window to this file, and show all that it holds")
    parser.add_argument("--runner", choices=["v1", "v2"], help="vLLM's model runner (default: what vLLM chooses)")
    parser.add_argument("--rounds", type=int, default=2, help="windows of each kind and arm (default 2)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no round after this many seconds")
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU, tiny")
    parser.add_argument("--worker", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--cache-bytes", type=int, help="K/V cache of each engine (default: what the card has room for)"
    )
    arguments = parser.parse_args()
    gpu = not arguments.rehearse
    if arguments.worker is not None:
        return _serve(arguments.worker, gpu, arguments.runner, arguments.cache_bytes)
    cache_bytes = arguments.cache_bytes or (_room_for_cache() if gpu else 64 << 20)
    lines = _read(arguments.json)
    # The file is opened before an engine starts.
    with tempfile.TemporaryFile("w+") if arguments.json is None else arguments.json.open("a") as kept:
        for line in _measure(arguments, gpu, cache_bytes):
            lines.append(line)
            kept.write(json.dumps(line) + "\n")
            kept.flush()
    _print(lines)
    return 0


def _windows(gpu: bool) -> list[Window]:
    if not gpu:
        return [Window("decode", 40, 4, steps=5), Window("burst", 60, 6, 8), Window("burst", 200, 3, 8)]
    return [Window("decode", 2000, 64), Window("burst", 2000, 128), Window("burst", 8000, 32)]


def _room_for_cache() -> int:
    import torch

    free, _ = torch.cuda.mem_get_info()
    return min(LARGEST_CACHE_BYTES, free // len(ARMS) - WEIGHTS_AND_WORK_BYTES)


def _read(path: Path | None) -> list[dict[str, Any]]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _measure(arguments: Any, gpu: bool, cache_bytes: int) -> Iterable[dict[str, Any]]:
    """Start both arms, and measure them in turns; a line a window."""
    began = time.perf_counter()
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(arm, arguments, cache_bytes)) for arm in ARMS]
        facts = {worker.arm: worker.read() for worker in workers}
        print(f"both engines stand after {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        for window in _windows(gpu):
            warm_up = replace(window, requests=max(1, window.requests // 8), output_tokens=16, steps=5)
            for worker in workers:
                worker.ask(warm_up)
            for number in range(arguments.rounds):
                if time.perf_counter() - began > arguments.seconds:
                    return
                for worker in workers if number % 2 == 0 else workers[::-1]:
                    measured = worker.ask(window)
                    seconds = f"{time.perf_counter() - began:.0f} s"
                    print(f"{seconds}: {worker.arm}, {window}: {measured}", file=sys.stderr, flush=True)
                    yield facts[worker.arm] | {"arm": worker.arm, "round": number} | asdict(window) | measured


class _Worker:
    """One arm's engine in a process of its own, asked by lines of JSON."""

    def __init__(self, arm: str, arguments: Any, cache_bytes: int) -> None:
        self.arm = arm
        command = [sys.executable, __file__, "--worker", arm, "--cache-bytes", str(cache_bytes)]
        command += ["--rehearse"] * arguments.rehearse
        command += [] if arguments.runner is None else ["--runner", arguments.runner]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, window: Window) -> dict[str, Any]:
        """Measure one window."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(window)) + "\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        """The worker's next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{self.arm}: its process ended with exit code {self._process.wait()}; its words are above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


def _serve(arm: str, gpu: bool, runner: Literal["v1", "v2"] | None, cache_bytes: int) -> int:
    """Worker: start the engine, say what it is, and answer windows until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints must not come between the answers
    gpu_environment.prepare(gpu=gpu, runner=runner)
    with tempfile.TemporaryDirectory(prefix="gpu-gains-") as folder:
        engine = _engine(write_model(Path(folder) / arm, arm, gpu=gpu), arm, gpu, cache_bytes)
        _say(answers, _facts(engine, gpu, cache_bytes))
        requests = _Requests(engine, gpu)
        for line in sys.stdin:
            window = Window(**json.loads(line))
            measured = requests.burst(window) if window.kind == "burst" else requests.decode(window)
            _say(answers, asdict(measured))
    return 0


def _say(answers: IO[str], value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _engine(model: Path, arm: str, gpu: bool, cache_bytes: int) -> Any:
    from vllm import LLM

    sizes = [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 256]
    device = {"compilation_config": {"cudagraph_capture_sizes": sizes}, "gpu_memory_utilization": 0.25}
    llm = LLM(
        model=str(model),
        load_format="dummy",
        skip_tokenizer_init=True,
        dtype="bfloat16",
        seed=0,
        enable_prefix_caching=False,
        max_model_len=8448,
        max_num_batched_tokens=8192 if gpu else 128,
        max_num_seqs=256 if gpu else 16,
        kv_cache_memory_bytes=cache_bytes,
        additional_config={} if arm == "baseline" else {"swiftkv_mode": arm},
        **(device if gpu else {"enforce_eager": True}),
    )
    return llm.llm_engine


def _facts(engine: Any, gpu: bool, cache_bytes: int) -> dict[str, Any]:
    import vllm

    config = engine.vllm_config
    return {
        "vllm": vllm.__version__,
        "device": gpu_environment.device_name(gpu=gpu),
        "runner": "V2" if config.use_v2_model_runner else "V1",
        "asynchronous": bool(config.scheduler_config.async_scheduling),
        "graphs": str(config.compilation_config.cudagraph_mode),
        "cache_bytes": cache_bytes,
    }


class _Requests:
    """Feeds one engine; prompts are random, so that no two share a block of cache."""

    def __init__(self, engine: Any, gpu: bool) -> None:
        self._engine, self._gpu = engine, gpu
        self._draw = random.Random(3)
        self._added = 0

    def burst(self, window: Window) -> Measured:
        """Send all prompts at once and step until the last answer is whole."""
        prompts = self._prompts(window)
        began = time.perf_counter()
        waiting = set(self._add(prompts, window.output_tokens))
        count, first = len(waiting), []
        unseen = set(waiting)
        while waiting:
            outputs = self._engine.step()
            now = time.perf_counter() - began
            for output in outputs:
                if output.request_id in unseen and output.outputs[0].token_ids:
                    unseen.discard(output.request_id)
                    first.append(now)
                if output.finished:
                    waiting.discard(output.request_id)
        seconds = time.perf_counter() - began
        return Measured(
            seconds,
            tokens_per_s=count * (window.prompt_tokens + window.output_tokens) / seconds,
            ttft_mean_s=statistics.fmean(first),
            ttft_median_s=statistics.median(first),
        )

    def decode(self, window: Window) -> Measured:
        """Let requests come to decode, then time steps in which each makes one token."""
        # More tokens than the steps need: none may end inside the block.
        names = self._add(self._prompts(window), window.output_tokens + 2 * window.steps)
        started: set[str] = set()
        while len(started) < len(names):
            started |= {output.request_id for output in self._engine.step() if output.outputs[0].token_ids}
        self._steps(5)
        began = time.perf_counter()
        self._steps(window.steps)
        seconds = time.perf_counter() - began
        self._engine.abort_request(names)
        while self._engine.has_unfinished_requests():
            self._engine.step()
        return Measured(seconds, step_s=seconds / window.steps)

    def _steps(self, count: int) -> None:
        for _ in range(count):
            self._engine.step()
        if self._gpu:
            import torch

            torch.cuda.synchronize()

    def _prompts(self, window: Window) -> list[list[int]]:
        return [[self._draw.randrange(2, 500) for _ in range(window.prompt_tokens)] for _ in range(window.requests)]

    def _add(self, prompts: Sequence[list[int]], output_tokens: int) -> list[str]:
        from vllm import SamplingParams

        parameters = SamplingParams(temperature=0.0, max_tokens=output_tokens, ignore_eos=True, detokenize=False)
        names = []
        for ids in prompts:
            names.append(str(self._added))
            self._engine.add_request(names[-1], {"prompt_token_ids": ids}, parameters)
            self._added += 1
        return names


def _print(lines: list[dict[str, Any]]) -> None:
    """A row a runner and window: both arms' means, and the gain (geometric mean of the rounds, and each round's)."""
    print(f"{'vLLM':10s} {'window':34s} {'figure':16s} {'baseline':>10s} {'SwiftKV':>10s} {'gain':>6s}  rounds")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in lines:
        place = (line["vllm"], line["runner"], line["device"])
        window = (line["kind"], line["prompt_tokens"], line["requests"])
        groups.setdefault((*place, *window), []).append(line)
    for (vllm, runner, _device, kind, prompt_tokens, requests), found in groups.items():
        figures = [("step_s", 1e3, "step ms", True)]
        if kind == "burst":
            figures = [("tokens_per_s", 1.0, "token/s", False), ("ttft_mean_s", 1.0, "TTFT mean s", True)]
        for key, scale, words, lower in figures:
            pairs = _pairs(found, key)
            if not pairs:
                continue
            gains = [(one / other if lower else other / one) for one, other in pairs]
            means = [statistics.fmean(values) * scale for values in zip(*pairs, strict=True)]
            each = " ".join(f"{gain:.3f}" for gain in gains)
            print(
                f"{vllm + ' ' + runner:10s} {f'{kind}, {requests} of {prompt_tokens} tokens':34s} {words:16s}"
                f" {means[0]:10.3f} {means[1]:10.3f} {statistics.geometric_mean(gains):6.3f}  {each}"
            )


def _pairs(lines: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """(baseline, SwiftKV) of each round that both ended, in the order of the file."""
    of_arm = {arm: [line[key] for line in lines if line["arm"] == arm] for arm in ARMS}
    return list(zip(of_arm["baseline"], of_arm["skip"], strict=False))


if __name__ == "__main__":
    sys.exit(main())
