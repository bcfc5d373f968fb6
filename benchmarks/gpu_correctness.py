"""Checks the SwiftKV plug-in on a GPU against a float32 forward in plain torch; exits 1 when a check fails.

Small random checkpoints run in vLLM: FlashAttention and Triton attention, CUDA graphs on and off, prefix cache on
and off, chunks, prompt logprobs and full depth asked for by single requests beside others that skip, decode batches
between the captured sizes, preemption, structured output, n-gram speculation, shared K/V, and float8 weights with
scales per channel, per tensor, and static. bfloat16 itself moves logprobs, so a Llama baseline of the same size and
its own reference set the allowance: SwiftKV must stay as close to its reference as the baseline to its own. A pair in
float32 (Triton) makes the allowance so small that one wrong row would exceed it.

    python benchmarks/gpu_correctness.py --json gpu_correctness.jsonl
    python benchmarks/gpu_correctness.py --only fp8 groups # cases by a part of their name, with their baselines
    python benchmarks/gpu_correctness.py --rehearse        # the same on a CPU: float32, eager, smaller

The file takes a JSON line a case as it ends; the same call goes on behind the cases that it holds, and runs those that
failed again. Needs vLLM, torch, safetensors, tokenizers; not the harness's other dependencies, and no installation.
"""

import argparse
import json
import math
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu_environment
from gpu_cases import CAPTURED, Case, cases, checkpoints, prompts
from gpu_questions import QUESTIONS, Answers, at_both_depths, difference

TIE_NAT = 0.02  # in float32 a greedy token this close to the reference's best counts as agreeing
ALLOWANCE_FACTOR = 1.5
ALLOWANCE_NAT = {"bfloat16": 0.02, "float32": 0.0005}
ALLOWANCE_DISAGREEMENT = {"bfloat16": 0.03, "float32": 0.0}


@dataclass
class Outcome:
    """What one engine did, over all greedy tokens that it generated.

    Attributes:
        runner: vLLM's model runner, V1 or V2; None when the engine did not start.
        mean_nat, max_nat: difference of logprob from the reference at the same prefix.
        agreement: share of greedy tokens that are the reference's best (in float32 within ``TIE_NAT``).
        prompt_mean_nat, prompt_max_nat: difference of prompt logprobs from the reference; None where none was asked.
        second_half_share: tokens that ran later layers / tokens; None without SwiftKV.
        from_full_mean_nat: mode skip: mean difference of logprob between requests that skip and the same
            requests at full depth in the same engine, up to the first token that differs.
        counted: what the case's metric counted; None where it names none.
        failures: checks that failed, in words.
    """

    name: str
    runner: str | None = None
    start_s: float | None = None
    seconds: float = 0.0
    tokens: int = 0
    mean_nat: float | None = None
    max_nat: float | None = None
    agreement: float | None = None
    prompt_mean_nat: float | None = None
    prompt_max_nat: float | None = None
    second_half_share: float | None = None
    idle_steps: int | None = None
    from_full_mean_nat: float | None = None
    counted: int | None = None
    failures: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="append a line a case to this file, and go on behind those it holds")
    parser.add_argument("--only", nargs="+", metavar="PART", help="run cases by a part of their name, and baselines")
    parser.add_argument("--runner", choices=["v1", "v2"], help="vLLM's model runner (default: what vLLM chooses)")
    parser.add_argument("--seconds", type=float, help="begin no further case after this many seconds")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and end")
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU, smaller")
    arguments = parser.parse_args()
    gpu = not arguments.rehearse
    started = time.perf_counter()
    gpu_environment.prepare(gpu=gpu, runner=arguments.runner)
    chosen = _chosen(cases(gpu, arguments.runner), arguments.only)
    if arguments.list:
        print("\n".join(case.name for case in chosen))
        return 0
    deadline = math.inf if arguments.seconds is None else started + arguments.seconds
    record = _Record(arguments.json, gpu, arguments.runner)
    outcomes = _run_all(chosen, gpu, deadline, record)
    _print(outcomes)
    print(f"{time.perf_counter() - started:.0f} s in all")
    failed = [f"{outcome.name}: {failure}" for outcome in outcomes for failure in outcome.failures]
    ended = {outcome.name for outcome in outcomes}
    failed += [f"{case.name}: not run for lack of time" for case in chosen if case.name not in ended]
    for line in failed:
        print("FAILED", line, file=sys.stderr)
    return 1 if failed else 0


def _chosen(listed: list[Case], only: list[str] | None) -> list[Case]:
    named = [case for case in listed if only is None or any(part in case.name for part in only)]
    if not named:
        raise SystemExit(f"--only {' '.join(only or [])}: no case has that in its name; --list shows the names")
    baselines = {case.baseline for case in named}
    return [case for case in listed if case in named or case.name in baselines]


class _Record:
    """The file of outcomes, a JSON line each; the last line of a case counts, one with failures counts as not run."""

    def __init__(self, path: Path | None, gpu: bool, runner: str | None) -> None:
        import vllm

        self._path = path
        self._where = {"vllm": vllm.__version__, "device": gpu_environment.device_name(gpu=gpu), "asked": runner}
        self.passed: dict[str, Outcome] = {}
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        known = {one.name for one in fields(Outcome)}
        for number, line in enumerate(lines, 1):
            found = json.loads(line)
            for key, value in self._where.items():
                if found[key] != value:
                    raise SystemExit(f"{path}:{number}: {key} is {found[key]!r}, here it is {value!r}; name a new file")
            outcome = Outcome(**{key: value for key, value in found.items() if key in known})
            self.passed.pop(outcome.name, None)
            if not outcome.failures:
                self.passed[outcome.name] = outcome

    def add(self, outcome: Outcome) -> None:
        """Write the outcome down now."""
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(self._where | asdict(outcome)) + "\n")


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


def _run_all(chosen: list[Case], gpu: bool, deadline: float, record: _Record) -> list[Outcome]:
    outcomes = dict(record.passed)
    waiting = [case for case in chosen if case.name not in outcomes]
    with tempfile.TemporaryDirectory(prefix="swiftkv-checkpoints-") as folder:
        paths = checkpoints(Path(folder), gpu, {case.checkpoint for case in waiting})
        references = _References(paths, "cuda" if gpu else "cpu")
        for case in waiting:
            begun = time.perf_counter()
            if begun > deadline:
                break
            outcome = Outcome(case.name)
            try:
                _run(outcome, case, paths[case.checkpoint], references, gpu)
                if case.baseline is not None and not outcome.failures:
                    _judge(outcome, outcomes[case.baseline], str(case.engine["dtype"]))
            except Exception as error:  # noqa: BLE001 - an engine that cannot start must not hide the other cases
                traceback.print_exc()
                outcome.failures.append(f"{type(error).__name__}: {str(error)[:200]}")
            outcomes[case.name] = outcome
            outcome.seconds = time.perf_counter() - begun
            record.add(outcome)
            gpu_environment.free(gpu=gpu)
            print(f"done: {case.name}, {outcome.seconds:.0f} s {outcome.failures or ''}", file=sys.stderr, flush=True)
    return [outcomes[case.name] for case in chosen if case.name in outcomes]


def _run(outcome: Outcome, case: Case, path: Path, references: _References, gpu: bool) -> None:
    """Start the case's engine, ask it, and fill the outcome."""
    from vllm import LLM

    started = time.perf_counter()
    device: dict[str, Any] = {"kv_cache_memory_bytes": 2 << 30, "gpu_memory_utilization": 0.3}
    if "enforce_eager" not in case.engine:
        device["compilation_config"] = {"cudagraph_capture_sizes": list(CAPTURED)}
    settings = case.engine | (device if gpu else {"enforce_eager": True, "kv_cache_memory_bytes": 256 << 20})
    engine = LLM(model=str(path), seed=0, max_model_len=4096, disable_log_stats=False, **settings)
    outcome.start_s = time.perf_counter() - started
    outcome.runner = "V2" if engine.llm_engine.vllm_config.use_v2_model_runner else "V1"
    try:
        before = _counts()
        answers = QUESTIONS[case.asks](engine, prompts(gpu))
        outcome.failures += answers.failures[:3]
        tie_nat = TIE_NAT if case.engine["dtype"] == "float32" else 0.0
        _compare(outcome, answers.greedy, lambda ids: references.logprobs(case.checkpoint, ids), tie_nat)
        if case.baseline is not None:
            _check_counts(outcome, case, before, _counts())
            if case.engine["additional_config"]["swiftkv_mode"] == "skip":
                _check_full_depth(outcome, engine, case, answers, prompts(gpu)[:20])
        if case.counter is not None:
            metrics = [metric for metric in engine.get_metrics() if metric.name == case.counter]
            outcome.counted = sum(int(metric.value) for metric in metrics)
            if not outcome.counted:
                outcome.failures.append(f"{case.counter} is 0: the case did not check what its name says")
    finally:
        gpu_environment.stop(engine)


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
    if prompt_differences:
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
    if case.asks == "standard" and case.engine["max_num_batched_tokens"] < 1500 and not idle:
        outcome.failures.append("no step left the second half out although a prompt came in chunks")


def _check_full_depth(outcome: Outcome, engine: Any, case: Case, answers: Answers, prompt_ids: list[list[int]]) -> None:
    """Ask one engine the same at full depth and skipping; both start from an empty cache."""
    cached = bool(case.engine["enable_prefix_caching"])
    skipping = at_both_depths(engine, prompt_ids, cached=cached, full=False)
    before = _counts()
    deep = at_both_depths(engine, prompt_ids, cached=cached, full=True)
    tokens, second_half, _ = (late - early for early, late in zip(before, _counts(), strict=True))
    if second_half != tokens:
        outcome.failures.append(f"asked for full depth, {second_half} of {tokens} tokens ran the second half")
    pairs = [*answers.pairs, *zip(skipping, deep, strict=True)]
    outcome.from_full_mean_nat = _mean([value for pair in pairs for value in difference(*pair)])
    allowed = ALLOWANCE_NAT[str(case.engine["dtype"])]
    if not outcome.from_full_mean_nat <= allowed:
        outcome.failures.append(
            f"mean logprob difference from full depth {outcome.from_full_mean_nat:.4f} exceeds {allowed:.4f}"
        )


def _judge(outcome: Outcome, baseline: Outcome, dtype: str) -> None:
    """SwiftKV may differ from its reference as much as the baseline from its own, and little more."""
    nat, disagreement = ALLOWANCE_NAT[dtype], ALLOWANCE_DISAGREEMENT[dtype]
    wrong = None if outcome.agreement is None else 1 - outcome.agreement
    wrong_of_baseline = None if baseline.agreement is None else 1 - baseline.agreement
    checks = [
        ("mean logprob difference", outcome.mean_nat, baseline.mean_nat, 1, nat),
        ("mean prompt logprob difference", outcome.prompt_mean_nat, baseline.prompt_mean_nat, 1, nat),
        ("greedy disagreement", wrong, wrong_of_baseline, 1, disagreement),
        ("largest logprob difference", outcome.max_nat, baseline.max_nat, 2, 20 * nat),
        ("largest prompt logprob difference", outcome.prompt_max_nat, baseline.prompt_max_nat, 2, 20 * nat),
    ]
    for label, found, of_baseline, factor, margin in checks:
        if found is None:
            continue
        if of_baseline is None:
            outcome.failures.append(f"{label} {found:.4f} cannot be judged: the baseline has none")
            continue
        allowed = ALLOWANCE_FACTOR * factor * of_baseline + margin
        if not found <= allowed:  # also when it is not a number
            outcome.failures.append(f"{label} {found:.4f} exceeds {allowed:.4f}")


def _print(outcomes: list[Outcome]) -> None:
    columns = "start s  all s  tokens  mean nat  max nat  greedy  prompt mean  prompt max  2nd half  idle from full"
    print(f"{'engine':40s} {'':2s} {columns}")

    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    for o in outcomes:
        print(
            f"{o.name:40s} {o.runner or '-':2s} {shown(o.start_s, '.1f'):>7s} {o.seconds:6.1f} {o.tokens:7d}"
            f" {shown(o.mean_nat, '.5f'):>9s} {shown(o.max_nat, '.4f'):>8s} {shown(o.agreement, '.1%'):>7s}"
            f" {shown(o.prompt_mean_nat, '.5f'):>12s} {shown(o.prompt_max_nat, '.4f'):>11s}"
            f" {shown(o.second_half_share, '.1%'):>9s} {shown(o.idle_steps, 'd'):>5s}"
            f" {shown(o.from_full_mean_nat, '.5f'):>9s}  {'FAILED' if o.failures else 'ok'}"
        )


if __name__ == "__main__":
    sys.exit(main())
