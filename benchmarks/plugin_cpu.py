"""Speed of prefill with the SwiftKV plug-in on a CPU beside its own baseline, as a share of the theoretical bound.

Three engines, a Llama baseline and one SwiftKV checkpoint in modes full and skip, live in one process with one
thread and take turns in mirrored order, so that drift of the machine hits all alike. Reported are medians over
rounds of CPU and wall seconds; the bound is the ratio of analytic FLOPs (``swiftkv_bench.roofline``).
``plugin_decode.py`` measures decode.

    OMP_NUM_THREADS=1 python benchmarks/plugin_cpu.py --json plugin_cpu.json
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ARMS = ("baseline", "full", "skip")
CHUNK_TOKENS = 8192


@dataclass(frozen=True)
class Row:
    """Medians of one workload.

    Attributes:
        cpu_s, wall_s: per arm, seconds of one execution.
        speedup: baseline / skip in CPU seconds, the median over rounds of the ratio within a round.
        bound: largest speed-up that FLOPs allow.
    """

    workload: str
    rounds: int
    cpu_s: dict[str, float]
    wall_s: dict[str, float]
    speedup: float
    bound: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[500, 2000, 8000], metavar="TOKENS")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--json", type=Path, help="write the medians here")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_CPU_OMP_THREADS_BIND="nobind",
        VLLM_NO_USAGE_STATS="1",
        VLLM_LOGGING_LEVEL="ERROR",
        HF_HUB_OFFLINE="1",
    )
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        engines, configs = _start(Path(folder), arguments.layers, arguments.hidden)
        rows = [_prefill(engines, configs, length, arguments.rounds) for length in arguments.lengths]
    _print(rows)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


def _start(folder: Path, layers: int, hidden: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The three engines, and the configs of both checkpoints under ``baseline`` and ``skip``."""
    from vllm import LLM

    from tests.swiftkv.checkpoints import CheckpointSpec, make_checkpoint

    size: dict[str, Any] = {"layers": layers, "hidden": hidden, "heads": hidden // 64, "kv_heads": hidden // 128}
    size |= {"intermediate": 3 * hidden, "vocab": 2048}
    llama = make_checkpoint(folder / "llama", CheckpointSpec(key_value_layers=None, **size))
    swiftkv = make_checkpoint(folder / "swiftkv", CheckpointSpec(key_value_layers=layers // 2, **size))
    paths = {"baseline": llama, "full": swiftkv, "skip": swiftkv}
    engines = {
        arm: LLM(
            model=str(path),
            dtype="float32",
            enforce_eager=True,
            enable_prefix_caching=False,
            max_model_len=CHUNK_TOKENS + 64,
            max_num_batched_tokens=CHUNK_TOKENS,
            max_num_seqs=16,
            kv_cache_memory_bytes=1 << 30,
            additional_config={} if arm == "baseline" else {"swiftkv_mode": arm},
        )
        for arm, path in paths.items()
    }
    return engines, {arm: json.loads((paths[arm] / "config.json").read_text()) for arm in ("baseline", "skip")}


def _prompt(length: int, seed: int) -> dict[str, list[int]]:
    draw = random.Random(seed)
    return {"prompt_token_ids": [draw.randrange(258) for _ in range(length)]}


def _generate(engine: Any, prompts: list[dict[str, list[int]]], tokens: int) -> None:
    from vllm import SamplingParams

    engine.generate(prompts, SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True), use_tqdm=False)


def _prefill(engines: dict[str, Any], configs: dict[str, Any], length: int, rounds: int) -> Row:
    from swiftkv_bench.roofline import prefill_bound

    # Short prompts several times, so that a measurement lasts about two seconds; one prompt a step.
    prompts = [_prompt(length, seed) for seed in range(max(1, 2000 // length))]

    def work(arm: str) -> None:
        for prompt in prompts:
            _generate(engines[arm], [prompt], 1)

    bound = prefill_bound(configs["baseline"], configs["skip"], length)
    return _measure(f"prefill {length} tokens", work, rounds, bound)


def _measure(name: str, work: Callable[[str], None], rounds: int, bound: float) -> Row:
    return _summarise(name, _rounds(lambda arm: _timed(lambda: work(arm)), rounds), bound)


def _rounds(measure: Callable[[str], tuple[float, float]], rounds: int) -> list[dict[str, tuple[float, float]]]:
    """One warm-up round, then ``rounds`` in alternating order."""
    measured = []
    for index in range(rounds + 1):
        order = ARMS if index % 2 == 0 else ARMS[::-1]
        measured.append({arm: measure(arm) for arm in order})
    return measured[1:]


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """(CPU seconds of this process, wall seconds)."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _summarise(name: str, measured: list[dict[str, tuple[float, float]]], bound: float) -> Row:
    def medians(which: int) -> dict[str, float]:
        return {arm: statistics.median(one[arm][which] for one in measured) for arm in ARMS}

    speedup = statistics.median(one["baseline"][0] / one["skip"][0] for one in measured)
    return Row(name, len(measured), medians(0), medians(1), speedup, bound)


def _print(rows: list[Row]) -> None:
    arms = "  ".join(f"{arm:>9s}" for arm in ARMS)
    print(f"{'workload':24s} n  CPU s: {arms}   wall s: skip  speed-up  bound  share")
    for row in rows:
        cpu = "  ".join(f"{row.cpu_s[arm]:9.4f}" for arm in ARMS)
        bound = f"{row.bound:5.2f}  {row.speedup / row.bound:5.1%}"
        print(
            f"{row.workload:24s} {row.rounds}         {cpu}   {row.wall_s['skip']:12.4f}  {row.speedup:8.3f}  {bound}"
        )


if __name__ == "__main__":
    sys.exit(main())
