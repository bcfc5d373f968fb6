"""Runs with known latencies and answers, written through the store: what analysis and rendering are tested with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, ItemRecord
from swiftkv_bench.schema.engine import Arm, EngineSpec
from swiftkv_bench.schema.manifest import GitState, Machine, Manifest, RunPlan
from swiftkv_bench.schema.perf import (
    STATUS,
    Arrivals,
    ClientTelemetry,
    Float,
    Length,
    PerfPlan,
    Point,
    RequestTable,
    Trial,
    TrialRecord,
)  # fmt: skip
from swiftkv_bench.store import Run, create_run

LLAMA_8B: dict[str, object] = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "torch_dtype": "bfloat16",
}  # fmt: skip
SWIFTKV_8B: dict[str, object] = LLAMA_8B | {"num_key_value_layers": 16, "key_value_group_size": 1}


def table(
    scheduled_s: Sequence[float] | Float,
    ttft_s: Sequence[float] | Float,
    itl_s: float = 0.01,
    tokens: int = 4,
    prompt: int = 100,
    lateness_s: float = 0.0,
) -> RequestTable:
    """Every request sent `lateness_s` late, first token after `ttft_s`, then one chunk of one token each `itl_s`."""
    scheduled, ttft = np.asarray(scheduled_s, dtype=float), np.asarray(ttft_s, dtype=float)
    n = len(scheduled)
    sent = scheduled + lateness_s
    chunk_s = (sent + ttft)[:, None] + itl_s * np.arange(tokens)[None, :]
    whole = np.full(n, 1, dtype=np.int64)
    return RequestTable(
        scheduled_s=scheduled,
        sent_s=sent,
        end_s=chunk_s[:, -1],
        status=0 * whole,
        http_status=200 * whole,
        prompt_tokens_asked=prompt * whole,
        output_tokens_asked=tokens * whole,
        prompt_tokens=prompt * whole,
        output_tokens=tokens * whole,
        cached_tokens=0 * whole,
        chunk_start=np.arange(n + 1, dtype=np.int64) * tokens,
        chunk_s=chunk_s.ravel(),
        chunk_tokens=np.ones(n * tokens, dtype=np.int64),
        errors={},
    )


def with_failures(given: RequestTable, rows: Sequence[int], status: str = "reset") -> RequestTable:
    """The same with some requests failed after their chunks arrived."""
    codes = given.status.copy()
    codes[list(rows)] = STATUS.index(status)
    return RequestTable(**{**given.__dict__, "status": codes, "errors": dict.fromkeys(rows, f"the peer {status}")})


def point(input_len: int, arrivals: Arrivals, requests: int, output_len: int = 256) -> Point:
    """A point of fixed lengths."""
    lengths = {"input_len": Length(mean=input_len), "output_len": Length(mean=output_len)}
    return Point(arrivals=arrivals, requests=requests, **lengths)


def trial_record(at: Point, arm: Arm = "baseline", repeat: int = 0, window_s: float = 10.0) -> TrialRecord:
    """A completed trial without server counters."""
    trial = Trial(trial_id=f"{at.point_id}-{arm}-{repeat}", point=at, arm=arm, repeat=repeat, seed=repeat)
    return TrialRecord(
        trial=trial,
        status="complete",
        started_utc="2026-11-24T04:00:00+00:00",
        window_s=window_s,
        total_s=window_s + 1,
        client=ClientTelemetry(cpu_s=0.5, run_queue_delay_s=0.01, max_rss_bytes=50_000_000, tail_requests=0),
    )


def manifest(run_id: str, plan: RunPlan, arms: Sequence[Arm] = ("baseline", "swiftkv")) -> Manifest:
    """Of a finished run on a machine that does not exist."""
    config = {"baseline": LLAMA_8B, "swiftkv": SWIFTKV_8B, "swiftkv-full": SWIFTKV_8B}
    models = {"baseline": "meta-llama/Llama-3.1-8B-Instruct"}
    engines = tuple(
        EngineSpec(
            arm=arm,
            kind="fake",
            model=models.get(arm, "Snowflake/Llama-3.1-SwiftKV-8B-Instruct"),
            architecture=config[arm],
            tokenizer="meta-llama/Llama-3.1-8B-Instruct",
            args={"max-num-batched-tokens": 2048, "no-enable-prefix-caching": True},
            max_model_len=40000,
        )
        for arm in arms
    )
    return Manifest(
        run_id=run_id,
        status="complete",
        created_utc="2026-11-24T04:00:00+00:00",
        argv=("swiftkv-bench", "perf", "--profile", "synthetic", "--input-len", "2000"),
        profile="synthetic",
        engines=engines,
        plan=plan,
        plan_hash="0123456789abcdef",
        git=GitState(commit="0123456789abcdef0123456789abcdef01234567", dirty=False),
        machine=Machine(platform="Linux x86_64", cpu="Imaginary 9000", logical_cpus=64, memory_bytes=2**38),
        packages={"vllm": "0.32.0", "torch": "2.13.0", "lm_eval": "0.4.13"},
        harness_version="0.1.0",
    )


def load_run(folder: Path, *, repeats: int = 3, requests: int = 120, noise: float = 0.02, seed: int = 0) -> Run:
    """The card's two figures: all at once and three rates at 2,000, 8,000 and 32,000 input tokens.

    SwiftKV's TTFT is about 1/1.8 of the baseline's, its TPOT 1/1.1. The highest rate at 32,000 is past the
    baseline's capacity; a late client spoils one trial at 8,000.
    """
    rng = np.random.default_rng(seed)
    arms: tuple[Arm, ...] = ("baseline", "swiftkv")
    points = [point(n, Arrivals(process="all-at-once"), requests // 2) for n in (2000, 8000, 32000)]
    rates = {2000: (1.0, 3.0, 6.0, 9.0), 8000: (0.5, 1.0, 2.0), 32000: (0.1, 0.25, 0.6, 1.4)}
    points += [point(n, Arrivals(process="poisson", rate=r), requests) for n, of_n in rates.items() for r in of_n]
    trials = [
        Trial(trial_id=f"{p.point_id}-{arm}-{k}", point=p, arm=arm, repeat=k, seed=k)
        for p in points for k in range(repeats) for arm in arms
    ]  # fmt: skip
    plan = RunPlan(perf=PerfPlan(suite="figure6", seed=seed, trials=tuple(trials)))
    run = create_run(folder, manifest("synthetic-load", plan))
    for trial in trials:
        late = (
            0.4 if (trial.point.input_len.mean, trial.point.arrivals.rate, trial.arm) == (8000, 2.0, "baseline") else 0
        )
        run.write_trial(*_served(trial, rng, noise, late))
    return run


def _served(trial: Trial, rng: np.random.Generator, noise: float, late: float) -> tuple[TrialRecord, RequestTable]:
    """One server that prefills one prompt after the other and then decodes each at its own pace."""
    at, tokens = trial.point, int(trial.point.output_len.mean)
    n = at.requests or 1
    prefill_s = at.input_len.mean / (42_000 if trial.arm == "baseline" else 76_000) * (1 + at.input_len.mean / 150_000)
    schedule = np.random.default_rng(trial.seed + 100)
    rate = at.arrivals.rate
    scheduled = np.zeros(n) if rate is None else np.cumsum(schedule.exponential(1 / rate, n))
    free, ttft = 0.0, np.empty(n)
    for i, sent in enumerate(scheduled + late):
        free = max(free, sent) + prefill_s * rng.lognormal(0, noise)
        ttft[i] = free - sent + 0.004
    itl = (0.009 + (0.0015 if rate is None else 0.0006) * (rate or 10)) / (1.0 if trial.arm == "baseline" else 1.1)
    served = table(scheduled, ttft, itl * rng.lognormal(0, noise), tokens, int(at.input_len.mean), late)
    window = float(scheduled[-1]) if rate is not None else 0.0
    total = float(served.end_s.max())
    record = trial_record(at, trial.arm, trial.repeat, window).model_copy(update={"trial": trial, "total_s": total})
    counted = {
        "time_to_first_token_seconds_sum": float(ttft.sum()) - 0.002 * n,
        "time_to_first_token_seconds_count": float(n),
        "request_queue_time_seconds_sum": float(ttft.sum()) - (prefill_s + 0.004) * n,
        "request_queue_time_seconds_count": float(n),
        "request_prefill_time_seconds_sum": prefill_s * n,
        "request_prefill_time_seconds_count": float(n),
    }
    return record.model_copy(update={"server_before": dict.fromkeys(counted, 0.0), "server_after": counted}), served


COLUMNS = (
    ("arc_challenge", "ARC-Challenge", 1172, 0.82, -0.0162, 0.025, 0.25),
    ("winogrande", "WinoGrande", 1267, 0.779, 0.0032, 0.025, 0.5),
    ("hellaswag", "HellaSwag", 10042, 0.804, -0.011, 0.01, 0.25),
    ("truthfulqa", "TruthfulQA", 817, 0.5456, -0.0002, 0.025, None),
    ("mmlu", "MMLU", 14042, 0.679, -0.006, 0.01, 0.25),
    ("mmlu_cot", "MMLU-CoT", 14042, 0.7063, -0.009, 0.01, 0.25),
    ("gsm8k", "GSM8K", 1319, 0.8256, -0.0311, 0.03, None),
)


def item(arm: Arm, column: str, doc_id: int, score: float, **changes: object) -> ItemRecord:
    """An answered item whose hashes depend on column and document alone."""
    values: dict[str, object] = {
        "arm": arm, "column": column, "task": column, "doc_id": doc_id,
        "doc_hash": f"{column} d{doc_id}", "prompt_hash": f"p{doc_id}", "target_hash": f"t{doc_id}", "score": score,
        "target": "B",
        "responses": ("The best answer is B.",), "prompt": f"Question {doc_id} of {column}?", "prompt_tokens": 90,
        "method": "generation",
    }  # fmt: skip
    return ItemRecord.model_validate(values | changes)


def accuracy_column(name: str, title: str, documents: int, margin: float, chance: float | None) -> Column:
    """A column of a task of the same name."""
    return Column(
        name=name, title=title, task=name, file=f"lm_eval:{name}.yaml", metric="acc", num_fewshot=5,
        chat_template=False, documents=documents, margin=margin, chance=chance,
    )  # fmt: skip


def accuracy_run(
    folder: Path,
    *,
    share: float = 1.0,
    flips: float = 0.10,
    arms: Sequence[Arm] = ("baseline", "swiftkv"),
    seed: int = 0,
) -> Run:
    """The card's seven columns with its deltas, `flips` of the items changing sides; TruthfulQA is continuous."""
    rng = np.random.default_rng(seed)
    columns = tuple(accuracy_column(n, t, docs, m, c) for n, t, docs, _, _, m, c in COLUMNS)
    plan = AccuracyPlan(
        suite="paper", suite_hash="feedfacecafebeef", protocol="port of the published rows' protocol",
        published="published_accuracy.csv", macro_margin=0.01, columns=columns, arms=tuple(arms), seed=seed,
    )  # fmt: skip
    run = create_run(folder, manifest("synthetic-accuracy", RunPlan(accuracy=plan), arms))
    with run.items_path.open("w") as out:
        for name, _, documents, accuracy, delta, _, _ in COLUMNS:
            n = max(2, int(documents * share))
            base = (rng.random(n) < accuracy).astype(float)
            for arm in arms:
                scores = base if arm == "baseline" else _flipped(base, accuracy, delta, flips, rng)
                if name == "truthfulqa":
                    scores = np.clip(0.5 * scores + 0.5 * np.random.default_rng(7).random(n), 0, 1)
                subjects = [f"mmlu_{k % 57:02d}" if name.startswith("mmlu") else name for k in range(n)]
                for i, value in enumerate(scores):
                    text = f"Thinking about {i} <script>alert(1)</script> The best answer is {'B' if value else 'C'}."
                    one = item(arm, name, i, float(value), task=subjects[i], responses=(text,), unparsed=i % 997 == 5)
                    out.write(one.model_dump_json() + "\n")
    return run


def _flipped(base: Float, accuracy: float, delta: float, flips: float, rng: np.random.Generator) -> Float:
    lost, gained = (flips - delta) / 2 / accuracy, (flips + delta) / 2 / (1 - accuracy)
    draw = rng.random(len(base))
    return np.where(base == 1, draw >= lost, draw < gained).astype(float)
