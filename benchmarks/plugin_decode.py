"""Decode speed of the SwiftKV plug-in on a CPU beside its baseline, in alternating blocks of a few steps.

A start is a process with one thread and four engines in random order: the baseline twice, and one SwiftKV checkpoint
in modes full and skip. They hold the same requests at the same length and take turns, in random order, so that a
block compares seconds that lie next to each other. Two engines that are equal differ by some percent all the same,
for as long as they live: where their memory lies decides. So the start is the unit of independence: reported is
arm / baseline over starts, the baseline being the mean of its two engines, with the t interval of the log-ratio.

    OMP_NUM_THREADS=1 python benchmarks/plugin_decode.py --json plugin_decode.json
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ARMS = ("baseline", "baseline again", "full", "skip")
REQUESTS, PROMPT_TOKENS, WARM_UP_STEPS = 8, 256, 8


@dataclass(frozen=True)
class Arm:
    """One arm beside the baseline, over starts.

    Attributes:
        cpu_ms, wall_ms: of one decode step: the median block of each start.
        cpu_ratio, wall_ratio: arm / baseline, geometric means over starts.
        cpu_interval, wall_interval: their 95 % intervals; None with one start.
    """

    name: str
    cpu_ms: list[float]
    wall_ms: list[float]
    cpu_ratio: float
    cpu_interval: tuple[float, float] | None
    wall_ratio: float
    wall_interval: tuple[float, float] | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=30, help="blocks of each engine in a start (default: 30)")
    parser.add_argument("--steps", type=int, default=4, help="decode steps of a block (default: 4)")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0, help="of the first start's orders; each further start adds 1")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--one-start", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_start:
        print(json.dumps(_one_start(arguments)))
        return 0
    sys.path.insert(0, str(ROOT))
    starts = []
    for index in range(arguments.starts):
        command = [sys.executable, __file__, "--one-start", "--seed", str(arguments.seed + index)]
        command += [f"--{name}={getattr(arguments, name)}" for name in ("blocks", "steps", "layers", "hidden")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        starts.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"start {index + 1} of {arguments.starts}: {starts[-1]}", file=sys.stderr, flush=True)
    arms = [_summarise(name, starts) for name in ("full", "skip")]
    _print(arms, starts)
    if arguments.json is not None:
        arguments.json.write_text(
            json.dumps({"arms": [asdict(arm) for arm in arms], "starts": starts}, indent=1) + "\n"
        )
    return 0


def _one_start(arguments: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Arm -> (CPU, wall) milliseconds of a decode step, medians over blocks."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    import gpu_environment

    gpu_environment.prepare(gpu=False, runner="v1")
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        engines = _start(Path(folder), arguments.layers, arguments.hidden, draw)
        for engine in engines.values():
            _fill(engine, arguments.blocks * arguments.steps)
        seconds = _measure(engines, arguments.blocks, arguments.steps, draw)

    def milliseconds(arm: str, which: int) -> float:
        return float(round(statistics.median(block[which] for block in seconds[arm]) / arguments.steps * 1000, 4))

    return {arm: (milliseconds(arm, 0), milliseconds(arm, 1)) for arm in ARMS}


def _start(folder: Path, layers: int, hidden: int, draw: random.Random) -> dict[str, Any]:
    """Arm -> engine, started in random order: where an engine's weights lie in memory moves its speed."""
    from vllm import LLM

    from tests.swiftkv.checkpoints import CheckpointSpec, make_checkpoint

    size: dict[str, Any] = {"layers": layers, "hidden": hidden, "heads": hidden // 64, "kv_heads": hidden // 128}
    size |= {"intermediate": 3 * hidden, "vocab": 2048}
    llama = make_checkpoint(folder / "llama", CheckpointSpec(key_value_layers=None, **size))
    swiftkv = make_checkpoint(folder / "swiftkv", CheckpointSpec(key_value_layers=layers // 2, **size))
    engines = {}
    for arm in draw.sample(ARMS, len(ARMS)):
        swift = not arm.startswith("baseline")
        engines[arm] = LLM(
            model=str(swiftkv if swift else llama),
            dtype="float32",
            enforce_eager=True,
            enable_prefix_caching=False,
            max_model_len=4096,
            max_num_batched_tokens=REQUESTS * PROMPT_TOKENS,
            max_num_seqs=REQUESTS,
            kv_cache_memory_bytes=512 << 20,
            additional_config={"swiftkv_mode": arm} if swift else {},
        ).llm_engine
    return engines


def _fill(engine: Any, steps: int) -> None:
    """Give the engine its requests and run it past their prompts."""
    from vllm import SamplingParams

    draw = random.Random(7)
    tokens = WARM_UP_STEPS + steps + 8
    parameters = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False)
    for index in range(REQUESTS):
        prompt = {"prompt_token_ids": [draw.randrange(258) for _ in range(PROMPT_TOKENS)]}
        engine.add_request(str(index), prompt, parameters)
    _steps(engine, 1, exact=False)
    _steps(engine, WARM_UP_STEPS, exact=False)


def _steps(engine: Any, steps: int, *, exact: bool = True) -> None:
    for _ in range(steps):
        answers = len(engine.step())
        if exact and answers != REQUESTS:
            raise RuntimeError(f"a decode step answered {answers} of {REQUESTS} requests")


def _measure(
    engines: dict[str, Any], blocks: int, steps: int, draw: random.Random
) -> dict[str, list[tuple[float, float]]]:
    """Arm -> (CPU seconds of this process, wall seconds) of each block."""
    seconds: dict[str, list[tuple[float, float]]] = {arm: [] for arm in ARMS}
    for _ in range(blocks):
        for arm in draw.sample(ARMS, len(ARMS)):
            cpu, wall = time.process_time(), time.perf_counter()
            _steps(engines[arm], steps)
            seconds[arm].append((time.process_time() - cpu, time.perf_counter() - wall))
    return seconds


def _summarise(name: str, starts: list[dict[str, list[float]]]) -> Arm:
    def figures(which: int) -> tuple[float, tuple[float, float] | None]:
        baseline = [(start["baseline"][which] + start["baseline again"][which]) / 2 for start in starts]
        return _ratio([start[name][which] for start in starts], baseline)

    cpu_ms, wall_ms = ([start[name][which] for start in starts] for which in (0, 1))
    return Arm(name, cpu_ms, wall_ms, *figures(0), *figures(1))


def _ratio(candidate: list[float], reference: list[float]) -> tuple[float, tuple[float, float] | None]:
    """Geometric mean of candidate / reference over starts, and exp of the t interval of the mean log-ratio."""
    from swiftkv_bench.stats.intervals import mean_interval

    logs = [math.log(one / other) for one, other in zip(candidate, reference, strict=True)]
    interval = mean_interval(logs)
    bounds = None if interval is None else (math.exp(interval.low), math.exp(interval.high))
    return math.exp(statistics.fmean(logs)), bounds


def _print(arms: list[Arm], starts: list[dict[str, list[float]]]) -> None:
    again, baseline = ([start[name][0] for start in starts] for name in ("baseline again", "baseline"))
    singles = [one / other for one, other in zip(again, baseline, strict=True)]
    print(f"decode of {REQUESTS} requests, {len(starts)} starts, time of a step beside the baseline's, 95 % intervals")
    for arm in arms:
        cpu, wall = _bounds(arm.cpu_ratio, arm.cpu_interval), _bounds(arm.wall_ratio, arm.wall_interval)
        print(f"{arm.name:9s} CPU {cpu}   wall {wall}   {statistics.median(arm.cpu_ms):.2f} ms CPU")
    spread = f"single starts {min(singles):.3f} to {max(singles):.3f}"
    print(f"baseline again: CPU {_bounds(*_ratio(again, baseline))}, {spread}")


def _bounds(ratio: float, interval: tuple[float, float] | None) -> str:
    return f"{ratio:.3f} " + ("[one start]" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]")


if __name__ == "__main__":
    sys.exit(main())
