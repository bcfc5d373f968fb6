"""Where the time of a step goes: one saturated mixed step and one decode step of a Llama and its SwiftKV model.

For each arm: N requests decode behind long contexts (the decode step), then new prompts fill every step up to
the token budget (the mixed step). Steps are first timed without a profiler, then recorded with torch's, and the
GPU's kernels are summed by kind and, for SwiftKV, by part of the model. Weights are random ("dummy"): kernels
do the same work for any values.

    python benchmarks/gpu_profile.py --json gpu_profile.json --traces traces/
    python benchmarks/gpu_profile.py --rehearse        # the same code on a CPU, tiny dimensions, eager

Needs vLLM and torch; not the harness's other dependencies, and no installation. The end of the table gives each
kind's time per step and the largest kernels; ``idle`` is the time in which no kernel ran.
"""

import argparse
import gzip
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu_environment
from gpu_models import write_model

# First match wins: FlashAttention's kernels are CUTLASS kernels too.
KINDS = (
    ("cache writes", r"reshape_and_cache"),
    ("attention", r"flash|fmha|paged|unified_attention|prepare_varlen|attention|attn"),
    ("matrix products", r"nvjet|gemm|gemv|cutlass|cublas|xmma|splitKreduce|scaled_mm|::mm$|linear"),
    ("norms, RoPE, activations", r"triton_|rms_norm|rotary|silu|act_and_mul|quant"),
    ("sampling", r"argmax|softmax|topk|sort|sample|reduce_kernel"),
    ("copies and fills", r"memcpy|memset|index|gather|scatter|copy|fill|elementwise|cat"),
)
SCOPE = "swiftkv: "


@dataclass(frozen=True)
class Workload:
    """What both arms are given; tokens."""

    decoding: int
    context: int
    budget: int
    timed_steps: int
    profiled_steps: int


@dataclass
class StepProfile:
    """One kind of step of one arm, per step, in milliseconds.

    Attributes:
        wall_ms: mean of the timed steps, without a profiler.
        span_ms, busy_ms: from the first kernel to the last, and in which some kernel ran, with the profiler on.
        kinds: kernel time by kind. scopes: by part of a SwiftKV model; empty where steps run in one graph.
        kernels: the largest kernels: name, milliseconds, launches.
    """

    arm: str
    step: str
    wall_ms: float
    span_ms: float = 0.0
    busy_ms: float = 0.0
    launches: float = 0.0
    kinds: dict[str, float] = field(default_factory=dict)
    scopes: dict[str, float] = field(default_factory=dict)
    kernels: list[tuple[str, float, float]] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the profiles here")
    parser.add_argument("--traces", type=Path, help="keep the recorded traces (Chrome format, gzip) in this folder")
    parser.add_argument("--arms", nargs="+", default=["baseline", "skip"], choices=["baseline", "skip", "full"])
    parser.add_argument("--decoding", type=int, help="requests that decode (default 96)")
    parser.add_argument("--context", type=int, help="tokens of every prompt (default 2000)")
    parser.add_argument("--budget", type=int, help="tokens of a mixed step (default 8192)")
    parser.add_argument("--runner", choices=["v1", "v2"], help="vLLM's model runner (default: what vLLM chooses)")
    parser.add_argument("--group-size", type=int, default=1, help="later layers that share one K/V")
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU, tiny and eager")
    arguments = parser.parse_args()
    gpu = not arguments.rehearse
    os.environ.setdefault("VLLM_CUSTOM_SCOPES_FOR_PROFILING", "1")
    gpu_environment.prepare(gpu=gpu, runner=arguments.runner)
    workload = Workload(
        decoding=arguments.decoding or (96 if gpu else 4),
        context=arguments.context or (2000 if gpu else 100),
        budget=arguments.budget or (8192 if gpu else 256),
        timed_steps=6 if gpu else 3,
        profiled_steps=3 if gpu else 2,
    )
    started = time.perf_counter()
    profiles: list[StepProfile] = []
    with tempfile.TemporaryDirectory(prefix="gpu-profile-") as folder:
        for arm in arguments.arms:
            profiles += _profile_arm(arm, workload, arguments, Path(folder), gpu)
            print(f"done: {arm} after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
            gpu_environment.free(gpu=gpu)
    _print(profiles, workload)
    print(f"{time.perf_counter() - started:.0f} s in all, {gpu_environment.device_name(gpu=gpu)}")
    if arguments.json is not None:
        report = {
            "device": gpu_environment.device_name(gpu=gpu),
            "workload": asdict(workload),
            "profiles": [asdict(p) for p in profiles],
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _profile_arm(arm: str, workload: Workload, arguments: Any, folder: Path, gpu: bool) -> list[StepProfile]:
    engine = _engine(arm, workload, arguments.group_size, folder, gpu)
    requests = _Requests(engine, workload)
    profiles = []
    requests.add(workload.decoding)
    requests.step_until_all_decode()
    for step in ("decode", "mixed"):
        if step == "mixed":
            requests.add(_mixed_prompts(workload))
        for _ in range(workload.timed_steps):
            engine.step()
        _wait(gpu)
        begun = time.perf_counter()
        for _ in range(workload.timed_steps):
            engine.step()
        _wait(gpu)
        profile = StepProfile(arm, step, wall_ms=(time.perf_counter() - begun) * 1e3 / workload.timed_steps)
        trace = _record(engine, workload.profiled_steps, folder / f"{arm}_{step}.json", gpu)
        _read_trace(profile, trace, workload.profiled_steps, gpu)
        if arguments.traces is not None:
            arguments.traces.mkdir(parents=True, exist_ok=True)
            with gzip.open(arguments.traces / f"{trace.name}.gz", "wb", compresslevel=6) as kept:
                kept.write(trace.read_bytes())
        profiles.append(profile)
    gpu_environment.stop(engine)
    return profiles


def _engine(arm: str, workload: Workload, group_size: int, folder: Path, gpu: bool) -> Any:
    from vllm import LLM

    model = write_model(folder / arm, arm, gpu=gpu, group_size=group_size)
    # Few capture sizes: a start of some seconds less, and the sizes that the steps here use.
    sizes = [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 256]
    device: dict[str, Any] = {
        "compilation_config": {"cudagraph_capture_sizes": sizes},
        "gpu_memory_utilization": _share_of_free_memory() if gpu else 0.0,
    }
    llm = LLM(
        model=str(model),
        load_format="dummy",
        skip_tokenizer_init=True,
        dtype="bfloat16",
        seed=0,
        enable_prefix_caching=False,
        max_model_len=2 * workload.context + 256,
        max_num_batched_tokens=workload.budget,
        max_num_seqs=256,
        additional_config={} if arm == "baseline" else {"swiftkv_mode": arm},
        **(device if gpu else {"enforce_eager": True}),
    )
    cache = llm.llm_engine.vllm_config.cache_config
    room = cache.num_gpu_blocks * cache.block_size
    needed = (workload.decoding + _mixed_prompts(workload)) * (workload.context + 3 * workload.timed_steps)
    if gpu and room < needed:
        raise SystemExit(f"{arm}: the cache holds {room:,} tokens, the measurement needs {needed:,}; lower --decoding")
    return llm.llm_engine


def _share_of_free_memory() -> float:
    """What an engine may take: nearly all memory that is free now, as a share of the whole."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return free / total - 0.03


def _mixed_prompts(workload: Workload) -> int:
    """Prompts that fill every step of the mixed measurement, and one step more."""
    steps = 2 * workload.timed_steps + workload.profiled_steps + 1
    return -(-steps * workload.budget // workload.context)


class _Requests:
    """Feeds an engine; prompts are random, so that no two share a block of cache."""

    def __init__(self, engine: Any, workload: Workload) -> None:
        self._engine = engine
        self._workload = workload
        self._draw = random.Random(3)
        self._added = 0

    def add(self, count: int) -> None:
        """Queue ``count`` more prompts, each to generate until the end of the measurement."""
        from vllm import SamplingParams

        parameters = SamplingParams(temperature=0.0, max_tokens=self._workload.context, ignore_eos=True)
        parameters.detokenize = False
        for _ in range(count):
            ids = [self._draw.randrange(2, 500) for _ in range(self._workload.context)]
            self._engine.add_request(str(self._added), {"prompt_token_ids": ids}, parameters)
            self._added += 1

    def step_until_all_decode(self) -> None:
        """Step until every request has its first token."""
        started: set[str] = set()
        while len(started) < self._added:
            started |= {output.request_id for output in self._engine.step() if output.outputs[0].token_ids}


def _wait(gpu: bool) -> None:
    if gpu:
        import torch

        torch.cuda.synchronize()


def _record(engine: Any, steps: int, path: Path, gpu: bool) -> Path:
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities) as recorded:
        for _ in range(steps):
            engine.step()
        _wait(gpu)
    recorded.export_chrome_trace(str(path))
    return path


def _read_trace(profile: StepProfile, path: Path, steps: int, gpu: bool) -> None:
    """Sum the trace's kernels (on a CPU: its innermost operators) into ``profile``."""
    events = [e for e in json.loads(path.read_text())["traceEvents"] if e.get("ph") == "X"]
    kinds = {"kernel", "gpu_memcpy", "gpu_memset"} if gpu else {"cpu_op"}
    kernels = sorted((e for e in events if e.get("cat") in kinds), key=lambda e: float(e["ts"]))
    if not gpu:
        kernels = _innermost(kernels)
    scopes = [
        e
        for e in events
        if e.get("cat") == ("gpu_user_annotation" if gpu else "user_annotation") and e["name"].startswith(SCOPE)
    ]
    totals: dict[str, tuple[float, int]] = {}
    for event in kernels:
        name, duration = str(event["name"]), float(event["dur"]) / 1e3
        spent, launches = totals.get(name, (0.0, 0))
        totals[name] = spent + duration, launches + 1
        kind = _kind(name)
        profile.kinds[kind] = profile.kinds.get(kind, 0.0) + duration / steps
        scope = _scope_of(event, scopes)
        if scope is not None:
            profile.scopes[scope] = profile.scopes.get(scope, 0.0) + duration / steps
    profile.launches = len(kernels) / steps
    profile.span_ms, profile.busy_ms = (milliseconds / steps for milliseconds in _span_and_busy(kernels))
    largest = sorted(totals.items(), key=lambda item: -item[1][0])[:14]
    profile.kernels = [(name, spent / steps, launches / steps) for name, (spent, launches) in largest]


def _innermost(operators: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Operators (sorted by start) of the busiest thread that contain no other."""
    threads = [e["tid"] for e in operators]
    mine = [e for e in operators if e["tid"] == max(set(threads), key=threads.count)]
    followers = [*mine[1:], None]
    return [e for e, later in zip(mine, followers, strict=True) if later is None or later["ts"] >= e["ts"] + e["dur"]]


def _kind(name: str) -> str:
    for kind, pattern in KINDS:
        if re.search(pattern, name, re.IGNORECASE):
            return kind
    return "other"


def _scope_of(event: dict[str, Any], scopes: list[dict[str, Any]]) -> str | None:
    start = float(event["ts"])
    for scope in scopes:
        if scope["ts"] <= start < scope["ts"] + scope["dur"]:
            return str(scope["name"]).removeprefix(SCOPE)
    return None


def _span_and_busy(kernels: list[dict[str, Any]]) -> tuple[float, float]:
    """Milliseconds from the first start to the last end, and those in which at least one kernel ran."""
    end = begin = float(kernels[0]["ts"])
    busy = 0.0
    for event in kernels:
        start, stop = float(event["ts"]), float(event["ts"]) + float(event["dur"])
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return (end - begin) / 1e3, busy / 1e3


def _print(profiles: Iterable[StepProfile], workload: Workload) -> None:
    print(
        f"{workload.decoding} requests decode behind {workload.context} tokens; a mixed step holds {workload.budget}"
        " tokens. Milliseconds per step."
    )
    profiles = list(profiles)
    for step in ("decode", "mixed"):
        chosen = [p for p in profiles if p.step == step]
        scopes = sorted({scope for p in chosen for scope in p.scopes})
        print(f"\n{step + ' step':28s}" + "".join(f"{p.arm:>12s}" for p in chosen))
        rows = [
            ("wall, no profiler", [p.wall_ms for p in chosen]),
            ("from first to last kernel", [p.span_ms for p in chosen]),
            ("a kernel runs", [p.busy_ms for p in chosen]),
            ("idle", [p.span_ms - p.busy_ms for p in chosen]),
            *((f"  {k}", [p.kinds.get(k, 0.0) for p in chosen]) for k in [*(name for name, _ in KINDS), "other"]),
            *((f"  in {s}", [p.scopes.get(s, 0.0) for p in chosen]) for s in scopes),
            ("kernels", [p.launches for p in chosen]),
        ]  # fmt: skip
        for label, values in rows:
            print(f"{label:28s}" + "".join(f"{value:12.3f}" for value in values))
    for p in profiles:
        print(f"\nlargest kernels of the {p.step} step, {p.arm}: ms, launches, name")
        for name, spent, launches in p.kernels:
            print(f"{spent:10.3f} {launches:7.1f}  {name[:110]}")


if __name__ == "__main__":
    sys.exit(main())
