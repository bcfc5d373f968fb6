"""An analysis and its raw records as files for other programs: JSON, CSV and Parquet.

The only importer of pyarrow in `render`; without it there is CSV and no Parquet. A missing value is null in JSON and
Parquet and empty in CSV.
"""

import csv
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from enum import Enum
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from swiftkv_bench.analysis.values import Analysis, ItemView
from swiftkv_bench.evidence.trials import Sample
from swiftkv_bench.metrics import LATENCIES, METRICS, request_metrics
from swiftkv_bench.schema.perf import STATUS, RequestTable, TrialRecord
from swiftkv_bench.store import Run

_Columns = Mapping[str, Any]
"""Name -> values: a list, or an array in which NaN is missing."""

SUMMARY_SCHEMA = "swiftkv-bench/analysis/2"

_LEFT_OUT = {"sample", "items", "compared", "units", "pulls", "replicates"}
"""Fields that hold requests or items."""


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
        names = (f.name for f in dataclasses.fields(value) if f.name not in _LEFT_OUT)
        return {name: _plain(getattr(value, name)) for name in names}
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
    tables = (_request_columns(record, table) for record, table in run.trials())
    first = next(tables, None)
    if first is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        writers = _writers(folder / "requests", first, stack)
        for part in chain([first], tables):
            for writer in writers:
                writer.write(part)
    return [writer.path for writer in writers]


def _request_columns(record: TrialRecord, table: RequestTable) -> _Columns:
    n, m, trial = len(table), request_metrics(table), record.trial
    columns: dict[str, Any] = {
        "trial": [trial.trial_id] * n,
        "point": [trial.point.point_id] * n,
        "arm": [trial.arm] * n,
        "repeat": np.full(n, trial.repeat),
        "request": np.arange(n),
        "status": [STATUS[code] for code in table.status],
        "error": [table.errors.get(i) for i in range(n)],
        "scheduled_s": table.scheduled_s,
        "sent_s": table.sent_s,
        "end_s": table.end_s,
        "prompt_tokens_asked": table.prompt_tokens_asked,
        "output_tokens_asked": table.output_tokens_asked,
        "prompt_tokens": m.prompt_tokens,
        "output_tokens": m.output_tokens,
        "chunks": np.diff(table.chunk_start),
        "http_status": np.where(table.http_status < 0, np.nan, table.http_status),
        "cached_tokens": np.where(table.cached_tokens < 0, np.nan, table.cached_tokens),
    }
    return columns | {name: getattr(m, name) for name in LATENCIES}


def _write_rows(rows: Sequence[Mapping[str, Any]], stem: Path) -> list[Path]:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    stem.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        writers = _writers(stem, columns, stack)
        for writer in writers:
            writer.write(columns)
    return [writer.path for writer in writers]


def _writers(stem: Path, columns: _Columns, stack: ExitStack) -> list["_Csv | _Parquet"]:
    """A CSV and, where pyarrow is installed, a Parquet writer for tables with these columns."""
    writers: list[_Csv | _Parquet] = [_Csv(stem.with_suffix(".csv"), list(columns), stack)]
    if find_spec("pyarrow") is not None:
        writers.append(_Parquet(stem.with_suffix(".parquet"), columns, stack))
    return writers


class _Csv:
    def __init__(self, path: Path, names: Sequence[str], stack: ExitStack) -> None:
        self.path = path
        self._writer = csv.writer(stack.enter_context(path.open("w", newline="", encoding="utf-8")))
        self._writer.writerow(names)

    def write(self, columns: _Columns) -> None:
        """Appends the rows."""
        self._writer.writerows(zip(*map(_texts, columns.values()), strict=True))


def _texts(values: Any) -> Sequence[Any]:
    """Values of a column as CSV shows them: whole numbers without a point, what is missing as nothing."""
    if not isinstance(values, np.ndarray):
        return ["" if v is None else v for v in values]
    if values.dtype.kind != "f":
        return list(values.tolist())
    return ["" if v != v else int(v) if v.is_integer() else v for v in values.tolist()]


class _Parquet:
    def __init__(self, path: Path, columns: _Columns, stack: ExitStack) -> None:
        import pyarrow.parquet

        self.path = path
        self._schema = _arrow(columns).schema
        self._writer = stack.enter_context(pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd"))

    def write(self, columns: _Columns) -> None:
        """Appends the rows."""
        self._writer.write_table(_arrow(columns, self._schema))


_WHOLE = frozenset(("prompt_tokens", "output_tokens", "http_status", "cached_tokens"))
"""Columns of whole numbers that may be missing."""


def _arrow(columns: _Columns, schema: Any = None) -> Any:
    import pyarrow as pa

    def array(name: str, values: Any) -> Any:
        if not isinstance(values, np.ndarray):
            return pa.array(values, pa.string() if name == "error" else None)
        missing = np.isnan(values) if values.dtype.kind == "f" else None
        if name in _WHOLE:
            return pa.array(np.nan_to_num(values, nan=-1).astype(np.int64), mask=missing)
        return pa.array(values, mask=missing)

    return pa.table({name: array(name, values) for name, values in columns.items()}, schema=schema)
