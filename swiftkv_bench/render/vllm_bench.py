"""Recorded trials as files of `vllm bench serve --save-result --save-detailed`, so that what reads those reads these.

Names and units are that program's (vllm/benchmarks/serve.py, vLLM 0.32); figures follow its definitions where they
differ from ours: everything over the time from the first send to the last response, one token a chunk in
`max_output_tokens_per_s`, a failed request as 0 in every list. A percentile that n does not support is left out.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from swiftkv_bench.metrics import QUANTILES, Objective, RequestMetrics, TrialMetrics, request_metrics, trial_metrics
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.schema.perf import RequestTable, TrialRecord
from swiftkv_bench.store import Run


def export_vllm(run: Run, folder: Path, objective: Objective | None = None) -> list[Path]:
    """One file a recorded trial, named by it.

    Raises:
        InputError: a record cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for record, table in run.trials():
        path = folder / f"{record.trial.trial_id}.json"
        path.write_text(json.dumps(vllm_bench_json(run.manifest, record, table, objective)) + "\n")
        paths.append(path)
    return paths


def vllm_bench_json(
    manifest: Manifest, record: TrialRecord, table: RequestTable, objective: Objective | None = None
) -> dict[str, Any]:
    """One trial as that program writes it."""
    m = request_metrics(table)
    arrivals = record.trial.point.arrivals
    trial = trial_metrics(table, arrivals.model_copy(update={"process": "all-at-once"}), 0.0, objective)
    spec = next((s for s in manifest.engines if s.arm == record.trial.arm), None)
    return {
        "date": record.started_utc[:19].replace("-", "").replace(":", "").replace("T", "-"),
        "endpoint_type": "openai",
        "backend": "openai",
        "label": record.trial.arm,
        "model_id": None if spec is None else spec.model,
        "tokenizer_id": None if spec is None else spec.tokenizer,
        "num_prompts": trial.requests,
        "request_rate": arrivals.rate if arrivals.rate is not None else "inf",
        "burstiness": arrivals.burstiness,
        "max_concurrency": arrivals.concurrency,
        "duration": trial.measured_s,
        "completed": trial.ok,
        "failed": trial.requests - trial.ok,
        "total_input_tokens": trial.prompt_tokens,
        "total_output_tokens": trial.output_tokens,
        "request_throughput": trial.request_throughput,
        "request_goodput": trial.goodput,
        "output_throughput": trial.output_throughput,
        "total_token_throughput": trial.total_throughput,
        "rtfx": 0.0,
        **_lists(table, m),
        **_peaks(table, m),
        **_latencies(table, m, trial),
    }


def _lists(table: RequestTable, m: RequestMetrics) -> dict[str, Any]:
    sent = np.nan_to_num(table.sent_s)
    return {
        "input_lens": table.prompt_tokens_asked.tolist(),
        "output_lens": _zeroed(m.output_tokens, m).astype(int).tolist(),
        "ttfts": _zeroed(m.ttft_s, m).tolist(),
        "itls": [gaps.tolist() for gaps in _itls(table, m)],
        "latencies": _zeroed(m.e2e_latency_s, m).tolist(),
        "start_times": (sent - sent.min(initial=0.0)).tolist(),
        "queue_times": np.nan_to_num(m.lateness_s).tolist(),
        "generated_texts": [""] * len(table),
        "errors": [table.errors.get(i, "") for i in range(len(table))],
    }


def _zeroed(values: Any, m: RequestMetrics) -> Any:
    return np.where(m.ok & ~np.isnan(values), values, 0.0)


def _itls(table: RequestTable, m: RequestMetrics) -> list[Any]:
    starts = table.chunk_start
    return [np.diff(table.chunk_s[starts[i] : starts[i + 1]]) if m.ok[i] else np.zeros(0) for i in range(len(table))]


def _peaks(table: RequestTable, m: RequestMetrics) -> dict[str, Any]:
    """Busiest second from the first send on: chunks that came in it, requests that were under way in any part of it."""
    if not m.ok.any():
        return {"max_output_tokens_per_s": 0.0, "max_concurrent_requests": 0}
    first = table.sent_s[m.ok].min()
    begins, ends = (np.floor(times[m.ok] - first).astype(int) for times in (table.sent_s, table.end_s))
    chunks = np.floor(table.chunk_s[np.repeat(m.ok, np.diff(table.chunk_start))] - first).astype(int)
    change = np.bincount(begins, minlength=ends.max() + 2) - np.bincount(ends + 1, minlength=ends.max() + 2)
    return {
        "max_output_tokens_per_s": float(np.bincount(chunks).max()) if len(chunks) else 0.0,
        "max_concurrent_requests": int(np.cumsum(change).max()),
    }


def _latencies(table: RequestTable, m: RequestMetrics, trial: TrialMetrics) -> dict[str, float]:
    """Mean, median, standard deviation and percentiles, in milliseconds."""
    content: dict[str, float] = {}
    for name, key in (("ttft", "ttft_s"), ("tpot", "tpot_s"), ("itl", "itl_s"), ("e2el", "e2e_latency_s")):
        found = trial.latencies[key]
        if found.mean is None:
            continue
        values = np.concatenate(_itls(table, m)) if key == "itl_s" else getattr(m, key)
        content |= {f"mean_{name}_ms": found.mean * 1e3, f"std_{name}_ms": float(np.nanstd(values)) * 1e3}
        content |= {
            f"{'median' if q == 0.5 else f'p{q * 100:g}'}_{name}_ms": value * 1e3
            for q, value in zip(QUANTILES, found.quantiles, strict=True)
            if value is not None
        }
    return content
