"""A finished column in lm-eval's own file format, so that tools which read lm-eval's output read ours.

One folder a column: ``results_<time>.json`` with the aggregated metrics and ``samples_<task>_<time>.jsonl`` with
one line an item, as lm-eval 0.4.13's ``--output_path --log_samples`` writes them.
"""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from swiftkv_bench.accuracy.items import Item
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.accuracy.tasks import FEWSHOT_SEED, ColumnTasks
from swiftkv_bench.schema.accuracy import ItemRecord
from swiftkv_bench.stats.aggregates import figure
from swiftkv_bench.store import write_atomic


def write_native(
    folder: Path, column_tasks: ColumnTasks, items: Sequence[Item], records: Sequence[ItemRecord], target: Target
) -> None:
    """Writes both kinds of file for one column of one arm in place of what the folder holds.

    Args:
        items: the items that were asked.
        records: their records, in any order; items without a record are left out.
    """
    answered = {(r.task, r.doc_id): r for r in records}
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    stale = _files(folder)
    results: dict[str, Any] = {}
    for name in column_tasks.tasks:
        of_task = [(item, answered[item.key]) for item in items if item.task == name and item.key in answered]
        if of_task:
            lines = [json.dumps(_sample(item, record, column_tasks), default=str) for item, record in of_task]
            write_atomic(folder / f"samples_{name}_{time}.jsonl", ("\n".join(lines) + "\n").encode())
            results[name] = _metrics(name, [record for _, record in of_task], column_tasks)
    summary = _summary(column_tasks, results, answered, target)
    write_atomic(folder / f"results_{time}.json", json.dumps(summary, indent=2, default=str).encode())
    for path in stale:
        if not path.stem.endswith(time):  # a clock that was set back may give a time a second time
            path.unlink()


def is_written(folder: Path) -> bool:
    """Whether the folder holds what one `write_native` wrote whole and nothing else: the results are written last."""
    files = _files(folder)
    results = [path for path in files if path.name.startswith("results_")]
    return len(results) == 1 and all(path.stem.endswith(results[0].stem.removeprefix("results_")) for path in files)


def _files(folder: Path) -> list[Path]:
    return [*folder.glob("results_*.json"), *folder.glob("samples_*.jsonl")]


def _sample(item: Item, record: ItemRecord, column_tasks: ColumnTasks) -> dict[str, Any]:
    return {
        "doc_id": item.doc_id,
        "doc": item.document,
        "target": record.target,
        "arguments": {
            f"gen_args_{i}": {f"arg_{j}": argument for j, argument in enumerate(instance.args)}
            for i, instance in enumerate(item.instances)
        },
        "resps": [[_text(response)] for response in record.responses],
        "filtered_resps": [_text(response) for response in record.filtered],
        "filter": column_tasks.column.filter,
        "metrics": list(record.metrics),
        "doc_hash": record.doc_hash,
        "prompt_hash": record.prompt_hash,
        "target_hash": record.target_hash,
        **record.metrics,
    }


def _metrics(name: str, records: Sequence[ItemRecord], column_tasks: ColumnTasks) -> dict[str, Any]:
    """Mean and standard error (sample standard deviation over the root of n) of each metric that is a mean.

    The column's own, where it is none, is its figure, without a standard error.
    """
    column = column_tasks.column
    found: dict[str, Any] = {"alias": name, "sample_len": len(records)}
    for metric in records[0].metrics:
        values = [record.metrics[metric] for record in records if metric in record.metrics]
        mean = math.fsum(values) / len(values)
        key = f"{metric},{column.filter}"
        found[key] = mean
        if len(values) > 1:
            variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
            found[f"{metric}_stderr,{column.filter}"] = math.sqrt(variance / len(values))
    measure, own = column.measure, f"{column.metric},{column.filter}"
    if not measure.is_mean:
        found[own] = figure(measure.aggregation, np.array([record.parts for record in records]))
        found[f"{column.metric}_stderr,{column.filter}"] = "N/A"
    elif own not in found:
        found[own] = math.fsum(record.score for record in records) / len(records)
    return found


def _group(results: dict[str, Any], column_tasks: ColumnTasks) -> dict[str, Any]:
    """The column over its subsets, with lm-eval's own aggregates; an error only where every subset has one."""
    from lm_eval.api.metrics import aggregate_subtask_metrics, pooled_sample_stderr

    column, subtasks = column_tasks.column, list(results.values())
    sizes, by_size = [subtask["sample_len"] for subtask in subtasks], column.weight_by == "item"
    found: dict[str, Any] = {"alias": column.task, "sample_len": sum(sizes)}
    for key in subtasks[0]:
        name, comma, used = key.partition(",")
        if not comma or name.endswith("_stderr"):
            continue
        found[key] = aggregate_subtask_metrics([s[key] for s in subtasks], sizes, by_size)
        errors = [s.get(f"{name}_stderr,{used}") for s in subtasks]
        if by_size and None not in errors:
            found[f"{name}_stderr,{used}"] = float(pooled_sample_stderr(errors, sizes))
    return {column.task: found}


def _summary(
    column_tasks: ColumnTasks, results: dict[str, Any], answered: dict[tuple[str, int], ItemRecord], target: Target
) -> dict[str, Any]:
    column, tasks = column_tasks.column, {name: column_tasks.tasks[name] for name in results}
    groups = _group(results, column_tasks) if column.subsets and results else {}
    return {
        "results": {**groups, **results},
        **({"groups": groups} if groups else {}),
        "group_subtasks": {column.task: sorted(results)} if column.subsets else {name: [] for name in results},
        "configs": {name: task.dump_config() for name, task in tasks.items()},
        "versions": {name: task.VERSION for name, task in tasks.items()} | dict.fromkeys(groups),
        "n-shot": dict.fromkeys(results, column.num_fewshot),
        "higher_is_better": {name: task.higher_is_better() for name, task in tasks.items()},
        "n-samples": {
            name: {"original": len(task.task_docs), "effective": sum(key[0] == name for key in answered)}
            for name, task in tasks.items()
        },
        "config": {"model": target.served_model, "model_args": {}, "fewshot_seed": FEWSHOT_SEED},
        "model_name": target.served_model,
        "model_name_sanitized": target.served_model.replace("/", "__"),
        "chat_template_sha": None,
        "fewshot_as_multiturn": column.fewshot_as_multiturn,
        "task_hashes": {name: column_tasks.hashes[name] for name in results},
    }


def _text(value: Any) -> Any:
    """lm-eval's samples files hold responses as text throughout."""
    return [_text(part) for part in value] if isinstance(value, list | tuple) else str(value)
