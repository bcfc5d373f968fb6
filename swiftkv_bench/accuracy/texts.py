"""The documents of a suite as plain text: what training text must not hold."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swiftkv_bench.accuracy.suites import plan_accuracy, select_columns, selected_file
from swiftkv_bench.accuracy.tasks import load_column


def item_texts(request: str, data_dir: Path | None) -> list[str]:
    """All strings of each document, in the order of its fields, a line each; equal documents once.

    Args:
        request: a suite or SUITE:COLUMN.

    Raises:
        InputError: there is no such suite or its data are not at hand.
    """
    suite = select_columns([request])
    plan = plan_accuracy(suite, ("baseline",), file=selected_file([request]))
    tasks = [task for column in suite.columns for task in load_column(plan, column, data_dir).tasks.values()]
    return list(dict.fromkeys("\n".join(_strings(document)) for task in tasks for document in task.task_docs))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)
