"""An analysis and its raw records as files for other programs: JSON, CSV, Parquet, and `vllm bench serve`'s JSON.

The only importer of pyarrow in `render`. A missing value is null in JSON and Parquet and empty in CSV.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from swiftkv_bench.analysis.values import METRICS, Analysis, ItemView, Sample
from swiftkv_bench.metrics import QUANTILES, request_metrics, trial_metrics
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.schema.perf import STATUS, RequestTable, TrialRecord
from swiftkv_bench.store import Run

SUMMARY_SCHEMA = "swiftkv-bench/analysis/1"


def summary_json(analysis: Analysis) -> str:
    """Every figure of an analysis as JSON with sorted keys; requests and items are left to the run folders."""
    content = {"schema": SUMMARY_SCHEMA, **_plain(analysis)}
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Sample | ItemView):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {name: v for name, v in fields.items() if name not in ("sample", "items")}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def export_points(analysis: Analysis, folder: Path) -> list[Path]:
    """`points.csv` and `points.parquet`: a row a run, point, arm and metric, with interval and gain."""
    rows = [
        {
            "run_id": perf.run_id,
            "point": p.point.point_id,
            "input_tokens": p.point.input_len.mean,
            "output_tokens": p.point.output_len.mean,
            "process": p.point.arrivals.process,
            "rate": p.point.arrivals.rate,
            "concurrency": p.point.arrivals.concurrency,
            "arm": arm,
            "valid": a.valid,
            "saturated": a.saturated,
            "trials": a.trials,
            "requests": a.requests,
            "ok": a.ok,
            "metric": key,
            "unit": METRICS[key].unit,
            "value": e.value,
            "low": e.interval.low if e.interval is not None else None,
            "high": e.interval.high if e.interval is not None else None,
            "method": e.method,
            "gain": g.value if arm == "swiftkv" and (g := p.gains.get(key)) is not None else None,
            "gain_low": g.interval.low if arm == "swiftkv" and (g := p.gains.get(key)) and g.interval else None,
            "gain_high": g.interval.high if arm == "swiftkv" and (g := p.gains.get(key)) and g.interval else None,
        }
        for perf in analysis.perf
        for p in perf.points
        for arm, a in p.arms.items()
        for key, e in a.estimates.items()
    ]
    return _write_rows(rows, folder / "points") if rows else []


def export_requests(run: Run, folder: Path) -> list[Path]:
    """`requests.csv` and `requests.parquet`: a row a request of every recorded trial, failed ones too.

    Raises:
        InputError: a record cannot be read.
    """
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "requests.csv", folder / "requests.parquet"]
    tables = (_request_table(record, table, pa) for record, table in run.trials())
    first = next(tables, None)
    if first is None:
        return []
    with (
        pc.CSVWriter(paths[0], first.schema) as text,
        pq.ParquetWriter(paths[1], first.schema, compression="zstd") as packed,
    ):
        for part in _chain(first, tables):
            text.write(part)
            packed.write(part)
    return paths


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _request_table(record: TrialRecord, table: RequestTable, pa: Any) -> Any:
    n, m, trial = len(table), request_metrics(table), record.trial
    whole = {"http_status": table.http_status, "cached_tokens": table.cached_tokens}
    seconds = ("ttft_s", "ttft_from_schedule_s", "tpot_s", "e2e_latency_s", "lateness_s")
    columns = {
        "trial": pa.array([trial.trial_id] * n),
        "point": pa.array([trial.point.point_id] * n),
        "arm": pa.array([trial.arm] * n),
        "repeat": pa.array(np.full(n, trial.repeat)),
        "request": pa.array(np.arange(n)),
        "status": pa.array([STATUS[code] for code in table.status]),
        "error": pa.array([table.errors.get(i) for i in range(n)], pa.string()),
        "scheduled_s": _nullable(table.scheduled_s, pa),
        "sent_s": _nullable(table.sent_s, pa),
        "end_s": _nullable(table.end_s, pa),
        "prompt_tokens_asked": pa.array(table.prompt_tokens_asked),
        "output_tokens_asked": pa.array(table.output_tokens_asked),
        "prompt_tokens": _nullable(m.prompt_tokens, pa),
        "output_tokens": _nullable(m.output_tokens, pa),
        "chunks": pa.array(np.diff(table.chunk_start)),
    }
    columns |= {name: pa.array(values, mask=values < 0) for name, values in whole.items()}
    columns |= {name: _nullable(getattr(m, name), pa) for name in seconds}
    return pa.table(columns)


def _nullable(values: Any, pa: Any) -> Any:
    return pa.array(values, mask=np.isnan(values))


def _write_rows(rows: list[dict[str, Any]], stem: Path) -> list[Path]:
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    stem.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    paths = [stem.with_suffix(".csv"), stem.with_suffix(".parquet")]
    pc.write_csv(table, paths[0])
    pq.write_table(table, paths[1], compression="zstd")
    return paths


def vllm_bench_json(manifest: Manifest, record: TrialRecord, table: RequestTable) -> dict[str, Any]:
    """One trial with the field names and units of `vllm bench serve --save-result --save-detailed` (vLLM 0.32).

    Latencies are milliseconds there, and lists and throughputs follow that program: over the time from the first send
    to the last response, failed requests with 0 in every list. A percentile that n does not support is left out.
    """
    m = request_metrics(table)
    trial = trial_metrics(table, record.trial.point.arrivals.model_copy(update={"process": "all-at-once"}), 0.0)
    spec = next((s for s in manifest.engines if s.arm == record.trial.arm), None)
    arrivals = record.trial.point.arrivals
    first_sent = float(np.nanmin(table.sent_s)) if trial.requests else 0.0
    content: dict[str, Any] = {
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
        "request_goodput": None,
        "output_throughput": trial.output_throughput,
        "total_token_throughput": trial.total_throughput,
        "input_lens": table.prompt_tokens_asked.tolist(),
        "output_lens": _zeroed(m.output_tokens, m.ok).astype(int).tolist(),
        "ttfts": _zeroed(m.ttft_s, m.ok).tolist(),
        "itls": _itls(table, m.ok),
        "latencies": _zeroed(m.e2e_latency_s, m.ok).tolist(),
        "start_times": (np.nan_to_num(table.sent_s) - first_sent).tolist(),
        "generated_texts": [""] * trial.requests,
        "errors": [table.errors.get(i, "") for i in range(trial.requests)],
    }
    for name, key in (("ttft", "ttft_s"), ("tpot", "tpot_s"), ("itl", "itl_s"), ("e2el", "e2e_latency_s")):
        found = trial.latencies[key]
        if found.mean is None:
            continue
        content[f"mean_{name}_ms"] = found.mean * 1e3
        content |= {
            f"{'median' if q == 0.5 else f'p{q * 100:g}'}_{name}_ms": value * 1e3
            for q, value in zip(QUANTILES, found.quantiles, strict=True)
            if value is not None
        }
        if key != "itl_s":
            values = getattr(m, key)
            content[f"std_{name}_ms"] = float(np.nanstd(values)) * 1e3
    return content


def _zeroed(values: Any, ok: Any) -> Any:
    return np.where(ok & ~np.isnan(values), values, 0.0)


def _itls(table: RequestTable, ok: Any) -> list[list[float]]:
    starts = table.chunk_start
    return [np.diff(table.chunk_s[starts[i] : starts[i + 1]]).tolist() if ok[i] else [] for i in range(len(table))]


def export_vllm(run: Run, folder: Path) -> list[Path]:
    """One `vllm bench serve` file a recorded trial, named by it.

    Raises:
        InputError: a record cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for record, table in run.trials():
        path = folder / f"{record.trial.trial_id}.json"
        path.write_text(json.dumps(vllm_bench_json(run.manifest, record, table)) + "\n")
        paths.append(path)
    return paths
