"""Items and trials of an accepted run as Parquet bytes, and back."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from swiftkv_bench.evidence.answers import Answers, AnswersKey, Key
from swiftkv_bench.evidence.trials import PAIRED, TrialFigures
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import PerfPlan

_UNPARSED, _UNFINISHED, _TRUNCATED, _GENERATED = 1, 2, 4, 8


def pack_items(answers: Mapping[AnswersKey, Answers]) -> bytes:
    """One row an item and fingerprint, so that arms which were asked the same share it.

    `score:<arm>:<repeat>` and `flags:<arm>:<repeat>` are null where that arm did not answer the item; `cluster` is null
    where it stands alone; `parts:<arm>:<repeat>` is there where a column's figure is no mean of items.
    """
    index: dict[tuple[str, str, int, int, int, int], int] = {}
    placed: dict[AnswersKey, list[int]] = {}
    for (column, arm, repeat), found in answers.items():
        prints = found.prints.tolist()
        placed[column, arm, repeat] = [
            index.setdefault((column, task, doc_id, *prints[i]), len(index))
            for i, (task, doc_id) in enumerate(found.keys)
        ]
    order = sorted(range(len(index)), key=list(index).__getitem__)
    rank = np.empty(len(index), dtype=np.int64)
    rank[order] = np.arange(len(index))
    keys = sorted(index)
    columns: dict[str, Any] = {
        "column": pa.array([k[0] for k in keys]).dictionary_encode(),
        "task": pa.array([k[1] for k in keys]).dictionary_encode(),
        "doc_id": pa.array([k[2] for k in keys], pa.int32()),
    }
    for i, name in enumerate(("document", "prompt", "target"), 3):
        columns[name] = pa.array([k[i] for k in keys], pa.uint32())
    clusters = np.zeros(len(keys), np.uint32)
    alone = np.ones(len(keys), bool)
    for key, rows in placed.items():
        if (named := answers[key].clusters) is not None:
            clusters[rank[rows]], alone[rank[rows]] = named, False
    if not alone.all():
        columns["cluster"] = pa.array(clusters, mask=alone)
    sides = dict.fromkeys((arm, repeat) for _, arm, repeat in answers)
    for arm, repeat in sides:
        score, flags, missing = np.zeros(len(keys)), np.zeros(len(keys), np.uint8), np.ones(len(keys), bool)
        for key, rows in placed.items():
            if key[1:] == (arm, repeat):
                at, found = rank[rows], answers[key]
                score[at], flags[at], missing[at] = found.score, _flags(found), False
        columns[f"score:{arm}:{repeat}"] = pa.array(score, mask=missing)
        if any(answers[key].parts.shape[1] for key in placed if key[1:] == (arm, repeat)):
            columns[f"parts:{arm}:{repeat}"] = pa.array(_parts(answers, placed, rank, (arm, repeat), len(keys)))
        columns[f"flags:{arm}:{repeat}"] = pa.array(flags, mask=missing)
    return _parquet(pa.table(columns))


def unpack_items(data: bytes) -> dict[AnswersKey, Answers]:
    """What was packed."""
    table = pq.read_table(io.BytesIO(data))
    names, tasks = (table[name].to_numpy() for name in ("column", "task"))
    doc_ids = table["doc_id"].to_numpy()
    has_clusters = "cluster" in table.column_names
    clustered = table["cluster"].is_valid().to_numpy() if has_clusters else np.zeros(len(names), bool)
    clusters = table["cluster"].fill_null(0).to_numpy().astype(np.uint32) if has_clusters else None
    prints = np.column_stack([table[name].to_numpy() for name in ("document", "prompt", "target")])
    out: dict[AnswersKey, Answers] = {}
    for field in table.column_names:
        if not field.startswith("score:"):
            continue
        _, arm, repeat = field.split(":")
        score = table[field].to_numpy().astype(float)
        flags = table[f"flags:{arm}:{repeat}"].fill_null(0).to_numpy()
        there = table[field].is_valid().to_numpy()
        for column in np.unique(names[there]):
            rows = np.flatnonzero(there & (names == column))
            keys: tuple[Key, ...] = tuple((str(tasks[i]), int(doc_ids[i])) for i in rows)
            out[str(column), _arm(arm), int(repeat)] = Answers(
                keys=keys,
                score=score[rows],
                prints=prints[rows].astype(np.uint32),
                clusters=None if clusters is None or not clustered[rows].any() else clusters[rows],
                parts=_unpacked(table, f"parts:{arm}:{repeat}", rows),
                unparsed=(flags[rows] & _UNPARSED) > 0,
                unfinished=(flags[rows] & _UNFINISHED) > 0,
                truncated=(flags[rows] & _TRUNCATED) > 0,
                methods=("generation",) if ((flags[rows] & _GENERATED) > 0).any() else (),
            )
    return out


def pack_trials(trials: Sequence[TrialFigures]) -> bytes:
    """One row a trial; a figure that it does not support is null. What was run stands in the manifest's plan.

    `requests:<latency>` lists the latency of its requests, NaN where one has none; runs accepted before have no such
    column.
    """
    columns: dict[str, Any] = {
        "trial_id": pa.array([t.trial.trial_id for t in trials]),
        "started_utc": pa.array([t.started_utc for t in trials]),
        "valid": pa.array([t.valid for t in trials]),
        "saturated": pa.array([t.saturated for t in trials]),
    }
    for key in METRICS:
        if any(key in t.figures for t in trials):
            columns[key] = pa.array([t.figures.get(key) for t in trials], pa.float64())
    for name in PAIRED:
        if any(name in t.requests for t in trials):
            rows = [t.requests.get(name) for t in trials]
            columns[f"requests:{name}"] = pa.array(rows, pa.list_(pa.float32()))
    return _parquet(pa.table(columns))


def unpack_trials(data: bytes, plan: PerfPlan) -> list[TrialFigures]:
    """What was packed; `plan` says what each trial ran."""
    planned = {trial.trial_id: trial for trial in plan.trials}
    return [
        TrialFigures(
            trial=planned[row["trial_id"]],
            started_utc=row["started_utc"],
            valid=row["valid"],
            saturated=row["saturated"],
            figures={key: row[key] for key in METRICS if row.get(key) is not None},
            requests={
                name: np.array(row[f"requests:{name}"], dtype=float)
                for name in PAIRED
                if row.get(f"requests:{name}") is not None
            },
        )
        for row in pq.read_table(io.BytesIO(data)).to_pylist()
    ]


def _parts(answers: Mapping[AnswersKey, Answers], placed: Mapping[AnswersKey, list[int]], rank: Any,
           side: tuple[Arm, int], n: int) -> list[list[float] | None]:  # fmt: skip
    out: list[list[float] | None] = [None] * n
    for key, rows in placed.items():
        if key[1:] == side and answers[key].parts.shape[1]:
            for row, parts in zip(rank[rows], answers[key].parts.tolist(), strict=True):
                out[int(row)] = parts
    return out


def _unpacked(table: Any, name: str, rows: Any) -> Any:
    found = table[name].take(rows).to_pylist() if name in table.column_names else []
    if not found or found[0] is None:
        return np.zeros((len(rows), 0))
    return np.array(found, dtype=float)


def _flags(found: Answers) -> Any:
    return (
        found.unparsed * _UNPARSED + found.unfinished * _UNFINISHED + found.truncated * _TRUNCATED
        + _GENERATED * found.generated
    ).astype(np.uint8)  # fmt: skip


def _arm(text: str) -> Arm:
    arms: dict[str, Arm] = {arm: arm for arm in get_args(Arm)}
    return arms[text]


def _parquet(table: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=19)
    return buffer.getvalue()
