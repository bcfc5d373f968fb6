"""Checks the SwiftKV plug-in on a GPU against a float32 forward in plain torch; exits 1 when a check fails.

Small random checkpoints run in vLLM: FlashAttention and Triton attention, CUDA graphs on and off, prefix cache on
and off, chunks, prompt logprobs and full depth asked for by single requests beside others that skip, shared K/V,
and float8 weights with scales per channel, per tensor, and static. bfloat16 itself moves logprobs, so a Llama
baseline of the same size and its own reference set the allowance: SwiftKV must stay as close to its reference as
the baseline to its own. A pair in float32 (Triton) makes the allowance so small that one wrong row would exceed it.

    python benchmarks/gpu_correctness.py --json gpu_correctness.json
    python benchmarks/gpu_correctness.py --only fp8 groups # cases by a part of their name, with their baselines
    python benchmarks/gpu_correctness.py --rehearse        # the same on a CPU: float32, eager, smaller

Needs vLLM, torch, safetensors, tokenizers; not the harness's other dependencies, and no installation.
"""

import argparse
import importlib.util
import json
import math
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu_environment

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


@dataclass
class Outcome:
    """What one engine did, over all generated tokens of both passes.

    Attributes:
        mean_nat, max_nat: difference of logprob from the reference at the same prefix.
        agreement: share of greedy tokens that are the reference's best (in float32 within ``TIE_NAT``).
        prompt_mean_nat, prompt_max_nat: difference of prompt logprobs from the reference.
        second_half_share: tokens that ran later layers / tokens; None without SwiftKV.
        from_full_mean_nat: mode skip: mean difference of logprob between requests that skip and the same
            requests at full depth in the same engine, up to the first token that differs.
        failures: checks that failed, in words.
    """

    name: str
    start_s: float = math.nan
    seconds: float = math.nan
    tokens: int = 0
    mean_nat: float = math.nan
    max_nat: float = math.nan
    agreement: float = math.nan
    prompt_mean_nat: float = math.nan
    prompt_max_nat: float = math.nan
    second_half_share: float | None = None
    idle_steps: int | None = None
    from_full_mean_nat: float | None = None
    failures: list[str] = field(default_factory=list)


def cases(gpu: bool) -> list[Case]:
    """The engines to check, the more telling ones first; each baseline comes before the cases it judges.

    Baselines run eagerly: they are the yardstick, not what is checked, and graphs cost half a minute a start.
    """
    dtype = "bfloat16" if gpu else "float32"
    plain: dict[str, Any] = {"enable_prefix_caching": False, "max_num_batched_tokens": 2048, "dtype": dtype}
    chunked: dict[str, Any] = {"enable_prefix_caching": True, "max_num_batched_tokens": 256, "dtype": dtype}
    eager = {"enforce_eager": True}

    def mode(**options: Any) -> dict[str, Any]:
        return {"additional_config": {f"swiftkv_{key}": value for key, value in options.items()}}

    skip = mode(mode="skip")
    strict = chunked | {"dtype": "float32"} | ({"attention_backend": "TRITON_ATTN"} if gpu else {})
    # vLLM's CPU kernels do float8 by channel with bfloat16 alone.
    fp8 = chunked | {"dtype": "bfloat16"}
    fp8_cache = chunked | {"kv_cache_dtype": "fp8"}
    listed = [
        Case("baseline", "llama", plain | eager),
        Case("skip", "swiftkv", plain | skip, "baseline"),
        Case("skip, prefix cache, chunks of 256", "swiftkv", chunked | skip, "baseline"),
        Case("float32 Triton: baseline", "llama32", strict | eager),
        Case("float32 Triton: skip", "swiftkv32", strict | skip, "float32 Triton: baseline"),
        Case("fp8 by channel: baseline", "llama_fp8_channel", fp8 | eager),
        Case("fp8 by channel: skip", "swiftkv_fp8_channel", fp8 | skip, "fp8 by channel: baseline"),
        Case("skip, groups of 2 share K/V", "across2", chunked | skip, "baseline"),
        Case("skip, groups of 4, no graphs", "across4", chunked | skip | eager, "baseline"),
        Case("fp8 cache: baseline", "llama", fp8_cache | eager),
        Case("fp8 cache: skip", "swiftkv", fp8_cache | skip, "fp8 cache: baseline"),
        Case("skip, no graphs", "swiftkv", chunked | skip | eager, "baseline"),
        Case("full, no graphs", "swiftkv", plain | mode(mode="full") | eager, "baseline"),
    ]
    if gpu:
        for scheme, words in (("tensor", "fp8 by tensor"), ("static", "fp8 static")):
            baseline = Case(f"{words}: baseline", f"llama_fp8_{scheme}", fp8 | eager)
            listed += [
                baseline,
                Case(f"{words}: skip", f"swiftkv_fp8_{scheme}", fp8 | skip | eager, baseline.name),
            ]
        if importlib.util.find_spec("flashinfer") is not None:
            flashinfer = chunked | {"attention_backend": "FLASHINFER"}
            listed += [
                Case("FlashInfer: baseline", "llama", flashinfer | eager),
                Case("FlashInfer: skip", "swiftkv", flashinfer | skip, "FlashInfer: baseline"),
            ]
    eager_half = chunked | mode(mode="skip", graphs=False)
    return [*listed, Case("skip, graphs in the first half only", "swiftkv", eager_half, "baseline")]


def checkpoints(directory: Path, gpu: bool, names: set[str]) -> dict[str, Path]:
    """Write the checkpoints ``names``: 8 layers, N = 4, head size 128 on a GPU."""
    from tests.swiftkv.checkpoints import CheckpointSpec, make_checkpoint

    size: dict[str, Any] = {"layers": 8, "hidden": 1024, "heads": 8, "kv_heads": 2, "intermediate": 2048}
    if not gpu:
        size = {"layers": 8, "hidden": 128, "heads": 4, "kv_heads": 2, "intermediate": 256}
    size["dtype"] = "bfloat16" if gpu else "float32"
    specs = {
        "llama": CheckpointSpec(key_value_layers=None, **size),
        "swiftkv": CheckpointSpec(key_value_layers=4, **size),
        "across2": CheckpointSpec(key_value_layers=4, group_size=2, **size),
        "across4": CheckpointSpec(key_value_layers=4, group_size=4, **size),
        "llama32": CheckpointSpec(key_value_layers=None, **size | {"dtype": "float32"}),
        "swiftkv32": CheckpointSpec(key_value_layers=4, **size | {"dtype": "float32"}),
    }
    size["dtype"] = "bfloat16"
    schemes: tuple[Literal["channel", "tensor", "static"], ...] = ("channel", "tensor", "static")
    for scheme in schemes:
        specs[f"llama_fp8_{scheme}"] = CheckpointSpec(key_value_layers=None, fp8=scheme, **size)
        specs[f"swiftkv_fp8_{scheme}"] = CheckpointSpec(key_value_layers=4, fp8=scheme, **size)
    return {name: make_checkpoint(directory / name, specs[name]) for name in names}


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
    parser.add_argument("--only", nargs="+", metavar="PART", help="run cases by a part of their name, and baselines")
    parser.add_argument("--runner", choices=["v1", "v2"], help="vLLM's model runner (default: what vLLM chooses)")
    parser.add_argument("--seconds", type=float, help="begin no further case after this many seconds")
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU, smaller")
    arguments = parser.parse_args()
    gpu = not arguments.rehearse
    gpu_environment.prepare(gpu=gpu, runner=arguments.runner)
    chosen = _chosen(cases(gpu), arguments.only)
    started = time.perf_counter()
    deadline = math.inf if arguments.seconds is None else started + arguments.seconds
    outcomes = _run_all(chosen, gpu, deadline, arguments.json)
    _print(outcomes)
    print(f"{time.perf_counter() - started:.0f} s in all")
    failed = [f"{outcome.name}: {failure}" for outcome in outcomes for failure in outcome.failures]
    failed += [f"{case.name}: not run for lack of time" for case in chosen[len(outcomes) :]]
    for line in failed:
        print("FAILED", line, file=sys.stderr)
    return 1 if failed else 0


def _chosen(listed: list[Case], only: list[str] | None) -> list[Case]:
    named = [case for case in listed if only is None or any(part in case.name for part in only)]
    baselines = {case.baseline for case in named}
    return [case for case in listed if case in named or case.name in baselines]


class _References:
    """Plain-torch forwards, each sequence computed once for all cases of a checkpoint."""

    def __init__(self, paths: dict[str, Path], device: str) -> None:
        self._paths, self._device = paths, device
        self._models: dict[str, Any] = {}
        self._known: dict[tuple[str, tuple[int, ...]], Any] = {}

    def logprobs(self, checkpoint: str, token_ids: list[int]) -> Any:
        """Log-softmax at every position, on the CPU."""
        from tests.swiftkv.reference import Reference

        key = (checkpoint, tuple(token_ids))
        if checkpoint not in self._models:
            self._models[checkpoint] = Reference(self._paths[checkpoint], device=self._device)
        if key not in self._known:
            self._known[key] = self._models[checkpoint].logprobs(token_ids).cpu()
        return self._known[key]


def _run_all(chosen: list[Case], gpu: bool, deadline: float, written: Path | None) -> list[Outcome]:
    """Runs the cases; ``written`` holds the outcomes of all that ended, at any moment."""
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="swiftkv-checkpoints-") as folder:
        paths = checkpoints(Path(folder), gpu, {case.checkpoint for case in chosen})
        references = _References(paths, "cuda" if gpu else "cpu")
        for case in chosen:
            begun = time.perf_counter()
            if begun > deadline:
                break
            try:
                outcome = _run(case, paths[case.checkpoint], references, prompts(gpu), gpu)
            except Exception as error:  # noqa: BLE001 - an engine that cannot start must not hide the other cases
                traceback.print_exc()
                outcome = Outcome(case.name, failures=[f"{type(error).__name__}: {str(error)[:200]}"])
            outcomes[case.name] = outcome
            outcome.seconds = time.perf_counter() - begun
            if case.baseline is not None and not outcome.failures:
                _judge(outcome, outcomes[case.baseline], str(case.engine["dtype"]))
            gpu_environment.free(gpu=gpu)
            if written is not None:
                written.write_text(json.dumps([asdict(o) for o in outcomes.values()], indent=1) + "\n")
            print(f"done: {case.name}, {outcome.seconds:.0f} s {outcome.failures or ''}", file=sys.stderr, flush=True)
    return list(outcomes.values())


def _run(case: Case, path: Path, references: _References, prompt_ids: list[list[int]], gpu: bool) -> Outcome:
    from vllm import LLM

    started = time.perf_counter()
    # Sizes below the number of concurrent requests, so that batches larger than every graph occur as well.
    device: dict[str, Any] = {"kv_cache_memory_bytes": 2 << 30, "gpu_memory_utilization": 0.3}
    if "enforce_eager" not in case.engine:
        device["compilation_config"] = {"cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64]}
    settings = case.engine | (device if gpu else {"enforce_eager": True, "kv_cache_memory_bytes": 256 << 20})
    engine = LLM(model=str(path), seed=0, max_model_len=4096, **settings)
    outcome = Outcome(case.name, start_s=time.perf_counter() - started)
    try:
        before = _counts()
        results = _generate(engine, prompt_ids)
        tie_nat = TIE_NAT if case.engine["dtype"] == "float32" else 0.0
        _compare(outcome, results, lambda ids: references.logprobs(case.checkpoint, ids), tie_nat)
        if case.baseline is not None:
            _check_counts(outcome, case, before, _counts())
            if case.engine["additional_config"]["swiftkv_mode"] == "skip":
                _check_full_depth(outcome, engine, case, prompt_ids)
    finally:
        gpu_environment.stop(engine)
    return outcome


def _generate(engine: Any, prompt_ids: list[list[int]]) -> list[Any]:
    """All answers: cold, then warm beside requests that run all layers, then one long prompt alone."""
    from vllm import SamplingParams

    base: dict[str, Any] = {"temperature": 0.0, "logprobs": 1, "ignore_eos": True}
    greedy = SamplingParams(max_tokens=12, **base)
    scored = SamplingParams(max_tokens=2, prompt_logprobs=0, **base)
    deep = SamplingParams(max_tokens=4, extra_args={"swiftkv_full": 1}, **base)
    inputs = [{"prompt_token_ids": ids} for ids in prompt_ids]
    results: list[Any] = engine.generate(inputs, greedy, use_tqdm=False)
    mixed = [(scored, greedy, deep, greedy)[index % 4] for index in range(len(inputs))]
    results += engine.generate(inputs, mixed, use_tqdm=False)
    # Its middle chunks need no logits at all.
    results += engine.generate([{"prompt_token_ids": max(prompt_ids, key=len)[::-1]}], greedy, use_tqdm=False)
    return results


def _counts() -> tuple[int, int, int]:
    from swiftkv_bench.swiftkv.counters import counters

    totals = counters().totals
    return totals.tokens, totals.second_half_tokens, totals.steps_without_second_half


def _compare(outcome: Outcome, results: Iterable[Any], logprobs: Callable[[list[int]], Any], tie_nat: float) -> None:
    """Fill the outcome's differences from the reference."""
    differences: list[float] = []
    prompt_differences: list[float] = []
    agreed = 0
    for result in results:
        prompt, generated = list(result.prompt_token_ids), list(result.outputs[0].token_ids)
        truth = logprobs(prompt + generated)
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


def _check_full_depth(outcome: Outcome, engine: Any, case: Case, prompt_ids: list[list[int]]) -> None:
    """Ask one engine the same at full depth and skipping; both start from an empty cache."""
    from vllm import SamplingParams

    answers = []
    for name, extra in (("skip", None), ("full", {"swiftkv_full": 1})):
        salt = {"cache_salt": name} if case.engine["enable_prefix_caching"] else {}
        inputs = [{"prompt_token_ids": ids, **salt} for ids in prompt_ids[:20]]
        parameters = SamplingParams(temperature=0.0, logprobs=1, ignore_eos=True, max_tokens=8, extra_args=extra)
        before = _counts()
        answers.append(engine.generate(inputs, parameters, use_tqdm=False))
    tokens, second_half, _ = (late - early for early, late in zip(before, _counts(), strict=True))
    if second_half != tokens:
        outcome.failures.append(f"asked for full depth, {second_half} of {tokens} tokens ran the second half")
    differences = []
    for skipping, full in zip(*answers, strict=True):
        one, other = skipping.outputs[0], full.outputs[0]
        for step, (token, token_at_full_depth) in enumerate(zip(one.token_ids, other.token_ids, strict=True)):
            found, truth = one.logprobs[step][token], other.logprobs[step][token_at_full_depth]
            differences.append(abs(found.logprob - truth.logprob))
            if token != token_at_full_depth:
                break
    outcome.from_full_mean_nat = _mean(differences)
    allowed = ALLOWANCE_NAT[str(case.engine["dtype"])]
    if not outcome.from_full_mean_nat <= allowed:
        outcome.failures.append(
            f"mean logprob difference from full depth {outcome.from_full_mean_nat:.4f} exceeds {allowed:.4f}"
        )


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
    columns = "start s  all s  tokens  mean nat  max nat  greedy  prompt mean  prompt max  2nd half  idle from full"
    print(f"{'engine':36s} {columns}")
    for o in outcomes:
        share = "-" if o.second_half_share is None else f"{o.second_half_share:.1%}"
        full = "-" if o.from_full_mean_nat is None else f"{o.from_full_mean_nat:.5f}"
        idle = "-" if o.idle_steps is None else str(o.idle_steps)
        print(
            f"{o.name:36s} {o.start_s:7.1f} {o.seconds:6.1f} {o.tokens:7d} {o.mean_nat:9.5f} {o.max_nat:8.4f}"
            f" {o.agreement:7.1%} {o.prompt_mean_nat:12.5f} {o.prompt_max_nat:11.4f} {share:>9s} {idle:>5s} {full:>9s}"
            f"  {'FAILED' if o.failures else 'ok'}"
        )


if __name__ == "__main__":
    sys.exit(main())
