"""Checks the SwiftKV plug-in on a GPU against a float32 forward in plain torch; exits 1 when a check fails.

Small random bfloat16 checkpoints run in vLLM with compiled halves and CUDA graphs. bfloat16 itself moves
logprobs, so a Llama baseline of the same size and its own reference set the allowance: SwiftKV must stay as
close to its reference as the baseline to its own. A second pair in float32 (Triton attention) makes the
allowance so small that one wrong row would exceed it.

    python benchmarks/gpu_correctness.py --json gpu_correctness.json
    python benchmarks/gpu_correctness.py --rehearse        # the same on a CPU: float32, eager, smaller

Needs vLLM, torch, safetensors, tokenizers; not the harness's other dependencies, and no installation.
"""

import argparse
import gc
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TIE_NAT = 0.02  # in float32 a greedy token this close to the reference's best counts as agreeing
ALLOWANCE_FACTOR = 1.5
ALLOWANCE_NAT = {"bfloat16": 0.02, "float32": 0.0005}
ALLOWANCE_DISAGREEMENT = {"bfloat16": 0.03, "float32": 0.0}


@dataclass(frozen=True)
class Case:
    """One engine: which checkpoint, how it is started, and the baseline case it is judged against."""

    name: str
    checkpoint: str
    engine: dict[str, Any]
    baseline: str | None = None

    @property
    def dtype(self) -> str:
        """``bfloat16`` or ``float32``."""
        return str(self.engine["dtype"])


@dataclass
class Outcome:
    """What one engine did, over all generated tokens of both passes.

    Attributes:
        mean_nat, max_nat: difference of logprob from the reference at the same prefix.
        agreement: share of greedy tokens that are the reference's best (in float32 within ``TIE_NAT``).
        prompt_mean_nat, prompt_max_nat: difference of prompt logprobs from the reference.
        second_half_share: tokens that ran later layers / tokens; None without SwiftKV.
        failures: checks that failed, in words.
    """

    name: str
    start_s: float
    tokens: int = 0
    mean_nat: float = math.nan
    max_nat: float = math.nan
    agreement: float = math.nan
    prompt_mean_nat: float = math.nan
    prompt_max_nat: float = math.nan
    second_half_share: float | None = None
    idle_steps: int | None = None
    failures: list[str] = field(default_factory=list)


def cases(gpu: bool) -> list[Case]:
    """The engines to check; each baseline comes before the cases it judges."""
    dtype = "bfloat16" if gpu else "float32"
    plain: dict[str, Any] = {"enable_prefix_caching": False, "max_num_batched_tokens": 2048, "dtype": dtype}
    chunked: dict[str, Any] = {"enable_prefix_caching": True, "max_num_batched_tokens": 256, "dtype": dtype}

    def mode(**options: Any) -> dict[str, Any]:
        return {"additional_config": {f"swiftkv_{key}": value for key, value in options.items()}}

    listed = [
        Case("baseline", "llama", plain),
        Case("skip", "swiftkv", plain | mode(mode="skip"), "baseline"),
        Case("full", "swiftkv", plain | mode(mode="full"), "baseline"),
        Case("skip, prefix cache, chunks of 256", "swiftkv", chunked | mode(mode="skip"), "baseline"),
        Case("skip, second half without graphs", "swiftkv", chunked | mode(mode="skip", graphs=False), "baseline"),
        Case("skip, groups of 2 share K/V", "across", chunked | mode(mode="skip"), "baseline"),
    ]
    if gpu:
        strict = chunked | {"dtype": "float32", "attention_backend": "TRITON_ATTN"}
        listed += [
            Case("baseline, float32, Triton", "llama32", strict),
            Case("skip, float32, Triton", "swiftkv32", strict | mode(mode="skip"), "baseline, float32, Triton"),
            Case("baseline, fp8 static", "llama_fp8", chunked),
            Case("skip, fp8 static", "swiftkv_fp8", chunked | mode(mode="skip"), "baseline, fp8 static"),
        ]
    return listed


def checkpoints(directory: Path, gpu: bool) -> dict[str, Path]:
    """Write the checkpoints all cases use: 8 layers, N = 4, head size 128 on a GPU."""
    from tests.swiftkv.checkpoints import CheckpointSpec, make_checkpoint

    size: dict[str, Any] = {"layers": 8, "hidden": 1024, "heads": 8, "kv_heads": 2, "intermediate": 2048}
    if not gpu:
        size = {"layers": 8, "hidden": 128, "heads": 4, "kv_heads": 2, "intermediate": 256}
    dtype: Any = "bfloat16" if gpu else "float32"
    specs = {
        "llama": CheckpointSpec(key_value_layers=None, dtype=dtype, **size),
        "swiftkv": CheckpointSpec(key_value_layers=4, dtype=dtype, **size),
        "across": CheckpointSpec(key_value_layers=4, group_size=2, dtype=dtype, **size),
        "llama32": CheckpointSpec(key_value_layers=None, dtype="float32", **size),
        "swiftkv32": CheckpointSpec(key_value_layers=4, dtype="float32", **size),
        "llama_fp8": CheckpointSpec(key_value_layers=None, dtype=dtype, fp8="static", **size),
        "swiftkv_fp8": CheckpointSpec(key_value_layers=4, dtype=dtype, fp8="static", **size),
    }
    return {name: make_checkpoint(directory / name, spec) for name, spec in specs.items()}


def prompts(gpu: bool) -> list[list[int]]:
    """Token ids: lengths around block and graph sizes, chunks, a shared prefix, and many short ones at once."""
    draw = random.Random(7)
    lengths = [1, 2, 15, 16, 17, 63, 64, 65, 255, 256, 257, 700, 1500] + [3000] * gpu
    listed = [[draw.randrange(258) for _ in range(length)] for length in lengths]
    shared = [draw.randrange(258) for _ in range(400)]
    listed += [shared + [draw.randrange(258) for _ in range(tail)] for tail in (1, 20, 130)]
    listed += [[draw.randrange(258) for _ in range(draw.randrange(3, 90))] for _ in range(72 if gpu else 12)]
    return listed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the outcomes here")
    parser.add_argument("--only", help="run the cases whose name contains this, and the baselines")
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU, smaller")
    arguments = parser.parse_args()
    _environment(gpu=not arguments.rehearse)
    started = time.perf_counter()
    outcomes = _run_all(gpu=not arguments.rehearse, only=arguments.only)
    _print(outcomes)
    print(f"{time.perf_counter() - started:.0f} s in all")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    failed = [f"{outcome.name}: {failure}" for outcome in outcomes for failure in outcome.failures]
    for line in failed:
        print("FAILED", line, file=sys.stderr)
    return 1 if failed else 0


def _environment(gpu: bool) -> None:
    """Stage the plug-in's entry points and set what vLLM reads at import."""
    sys.path.insert(0, str(ROOT))
    from swiftkv_bench.swiftkv.staging import stage

    # Entry points are found on sys.path; the package itself is already imported from the checkout.
    sys.path.insert(1, str(stage(Path(tempfile.mkdtemp(prefix="swiftkv-staged-")))))
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_USE_V2_MODEL_RUNNER": "0",
        "VLLM_USE_DEEP_GEMM": "0",
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "HF_HUB_OFFLINE": "1",
    }
    if not gpu:
        settings |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _run_all(gpu: bool, only: str | None) -> list[Outcome]:
    from tests.swiftkv.reference import Reference

    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="swiftkv-checkpoints-") as folder:
        paths = checkpoints(Path(folder), gpu)
        for case in cases(gpu):
            if only is not None and case.baseline is not None and only not in case.name:
                continue
            reference = Reference(paths[case.checkpoint], device="cuda" if gpu else "cpu")
            outcome = outcomes[case.name] = _run(case, paths[case.checkpoint], reference, prompts(gpu), gpu)
            if case.baseline is not None:
                _judge(outcome, outcomes[case.baseline], case.dtype)
            print(f"done: {case.name} {outcome.failures or ''}", file=sys.stderr, flush=True)
    return list(outcomes.values())


def _run(case: Case, path: Path, reference: Any, prompt_ids: list[list[int]], gpu: bool) -> Outcome:
    from vllm import LLM, SamplingParams

    started = time.perf_counter()
    # Sizes below the number of concurrent requests, so that batches larger than every graph occur as well.
    device: dict[str, Any] = {"compilation_config": {"cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64]}}
    device |= {"kv_cache_memory_bytes": 2 << 30, "gpu_memory_utilization": 0.3}
    engine = LLM(
        model=str(path),
        seed=0,
        max_model_len=4096,
        **(device if gpu else {"enforce_eager": True}) | case.engine,
    )
    outcome = Outcome(case.name, start_s=time.perf_counter() - started)
    before = _counts()
    greedy = SamplingParams(temperature=0.0, max_tokens=12, logprobs=1, ignore_eos=True)
    scored = SamplingParams(temperature=0.0, max_tokens=2, logprobs=1, ignore_eos=True, prompt_logprobs=0)
    inputs = [{"prompt_token_ids": ids} for ids in prompt_ids]
    results = engine.generate(inputs, greedy, use_tqdm=False)
    # Again, some of them scored: warm prefix cache, and rows that run all layers beside rows that skip them.
    results += engine.generate(
        inputs, [scored if index % 3 == 0 else greedy for index in range(len(inputs))], use_tqdm=False
    )
    # One long prompt alone: its middle chunks need no logits at all.
    results += engine.generate([{"prompt_token_ids": max(prompt_ids, key=len)[::-1]}], greedy, use_tqdm=False)
    _compare(outcome, results, reference, tie_nat=TIE_NAT if case.dtype == "float32" else 0.0)
    if case.baseline is not None:
        _check_counts(outcome, case, before, _counts())
    del engine
    _free(gpu)
    return outcome


def _counts() -> tuple[int, int, int]:
    from swiftkv_bench.swiftkv.counters import counters

    totals = counters().totals
    return totals.tokens, totals.second_half_tokens, totals.steps_without_second_half


def _compare(outcome: Outcome, results: Iterable[Any], reference: Any, tie_nat: float) -> None:
    """Fill the outcome's differences from the reference."""
    differences: list[float] = []
    prompt_differences: list[float] = []
    agreed = 0
    for result in results:
        prompt, generated = list(result.prompt_token_ids), list(result.outputs[0].token_ids)
        truth = reference.logprobs(prompt + generated).cpu()
        for step, token in enumerate(generated):
            row = truth[len(prompt) - 1 + step]
            differences.append(abs(result.outputs[0].logprobs[step][token].logprob - float(row[token])))
            agreed += int(float(row.max() - row[token]) <= tie_nat)
        if result.prompt_logprobs is not None:
            for position in range(1, len(prompt)):
                found = result.prompt_logprobs[position][prompt[position]].logprob
                prompt_differences.append(abs(found - float(truth[position - 1, prompt[position]])))
    outcome.tokens = len(differences)
    outcome.mean_nat, outcome.max_nat = _mean(differences), max(differences)
    outcome.agreement = agreed / len(differences)
    outcome.prompt_mean_nat, outcome.prompt_max_nat = _mean(prompt_differences), max(prompt_differences)
    if not all(math.isfinite(value) for value in differences + prompt_differences):
        outcome.failures.append("a logprob is not finite")


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _check_counts(outcome: Outcome, case: Case, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    tokens, second_half, idle = (late - early for early, late in zip(before, after, strict=True))
    outcome.second_half_share, outcome.idle_steps = second_half / tokens, idle
    if case.engine["additional_config"]["swiftkv_mode"] == "full":
        if second_half != tokens or idle:
            outcome.failures.append(f"mode full ran {second_half} of {tokens} tokens through the second half")
        return
    if second_half >= 0.8 * tokens:
        outcome.failures.append(f"mode skip ran {second_half} of {tokens} tokens through the second half")
    if case.engine["max_num_batched_tokens"] < 1500 and not idle:
        outcome.failures.append("no step left the second half out although a prompt came in chunks")


def _judge(outcome: Outcome, baseline: Outcome, dtype: str) -> None:
    """SwiftKV may differ from its reference as much as the baseline from its own, and little more."""
    nat, disagreement = ALLOWANCE_NAT[dtype], ALLOWANCE_DISAGREEMENT[dtype]
    checks = [
        ("mean logprob difference", outcome.mean_nat, baseline.mean_nat, nat),
        ("mean prompt logprob difference", outcome.prompt_mean_nat, baseline.prompt_mean_nat, nat),
        ("greedy disagreement", 1 - outcome.agreement, 1 - baseline.agreement, disagreement),
        ("largest logprob difference", outcome.max_nat, 2 * baseline.max_nat, 20 * nat),
        ("largest prompt logprob difference", outcome.prompt_max_nat, 2 * baseline.prompt_max_nat, 20 * nat),
    ]
    for label, found, of_baseline, margin in checks:
        allowed = ALLOWANCE_FACTOR * of_baseline + margin
        if not found <= allowed:  # also when it is not a number
            outcome.failures.append(f"{label} {found:.4f} exceeds {allowed:.4f}")


def _print(outcomes: list[Outcome]) -> None:
    columns = "start s  tokens  mean nat  max nat  greedy  prompt mean  prompt max  2nd half  idle"
    print(f"{'engine':36s} {columns}")
    for o in outcomes:
        share = "-" if o.second_half_share is None else f"{o.second_half_share:.1%}"
        idle = "-" if o.idle_steps is None else str(o.idle_steps)
        print(
            f"{o.name:36s} {o.start_s:7.1f} {o.tokens:7d} {o.mean_nat:9.5f} {o.max_nat:8.4f} {o.agreement:7.1%}"
            f" {o.prompt_mean_nat:12.5f} {o.prompt_max_nat:11.4f} {share:>9s} {idle:>5s}"
            f"  {'FAILED' if o.failures else 'ok'}"
        )


def _free(gpu: bool) -> None:
    gc.collect()
    if not gpu:
        return
    import torch
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()
    torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
