"""lm-eval task objects of a suite's columns, with their data, checked for completeness.

Prompts, filters and metrics are lm-eval's own code. Task files are read directly, so none of lm-eval's
14,683 registered tasks is indexed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from swiftkv_bench.accuracy.data import load_from_hub, load_local, local_copy
from swiftkv_bench.accuracy.suites import LM_EVAL_PREFIX, lm_eval_tasks_dir, suite_file
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.schema.base import content_hash

FEWSHOT_SEED = 1234
"""lm-eval's default seed of the shots."""

OUTPUT_TYPES = ("generate_until", "loglikelihood", "multiple_choice")
"""What a task may ask of an engine, in lm-eval's words."""


@dataclass(frozen=True)
class ColumnTasks:
    """The tasks of one column, ready to make prompts.

    Attributes:
        tasks: task name -> lm-eval task, in order of the suite's subsets.
        hashes: task name -> hash of its resolved configuration and of its documents.
    """

    column: Column
    tasks: dict[str, Any]
    hashes: dict[str, str]


def load_column(plan: AccuracyPlan, column: Column, data_dir: Path | None) -> ColumnTasks:
    """Builds the tasks of a column and checks their number of documents.

    Raises:
        MissingDataError: data are not at hand.
        InputError: a task file is missing or makes no task, or the data are not the whole task.
    """
    folder = suite_file(plan.source or plan.suite).parent
    tasks: dict[str, Any] = {}
    hashes: dict[str, str] = {}
    for subset in column.subsets or (None,):
        with _own_mistakes(plan, column):
            config = _column_config(column, subset, folder)
            task = _build(config, column, data_dir)
            documents = [_plain(document) for document in task.task_docs]
        tasks[config["task"]] = task
        hashes[config["task"]] = content_hash({"config": _plain(config), "documents": documents})
    if len(tasks) != max(1, len(column.subsets)):
        raise InputError(f"suite {plan.suite}: column {column.name}: two subsets give a task of the same name")
    found = sum(len(task.task_docs) for task in tasks.values())
    if found != column.documents:
        raise InputError(
            f"column {column.name} of suite {plan.suite} has {column.documents} documents, but its data hold {found}; "
            f"copy the data set whole, or take the hub's by leaving out --data-dir"
        )
    return ColumnTasks(column, tasks, hashes)


@contextmanager
def _own_mistakes(plan: AccuracyPlan, column: Column) -> Iterator[None]:
    """Task files of a suite of the user's own are programs of the user: what they raise is the user's to mend.

    Raises:
        InputError: a task file of such a suite cannot be used.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as e:
        if plan.source is None:
            raise
        said = " ".join(str(e).split())
        raise InputError(
            f"{plan.source}: column {column.name}: lm-eval makes no task of {column.file}: {type(e).__name__}: {said}; "
            f"mend the task file"
        ) from e


def task_config(reference: str, folder: Path) -> dict[str, Any]:
    """The configuration a task file gives, includes merged and functions resolved.

    A file that lm-eval ships replaces included keys whole, as lm-eval does; in a suite's own file mappings
    merge key by key, so that a file says only what differs.

    Args:
        reference: `lm_eval:<path>` among lm-eval's own tasks, else a path relative to `folder`.

    Raises:
        InputError: there is no such file.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    shipped = reference.startswith(LM_EVAL_PREFIX)
    path = lm_eval_tasks_dir() / reference.removeprefix(LM_EVAL_PREFIX) if shipped else folder / reference
    if not path.is_file():
        raise InputError(f"{folder}: task file {reference}: no such file")
    own: dict[str, Any] = load_yaml(path, resolve_func=True, recursive=False)
    includes = own.pop("include", [])
    config: dict[str, Any] = {}
    for included in [includes] if isinstance(includes, str) else includes:
        config = {**config, **task_config(included, path.parent)}
    by_lm_eval = path.is_relative_to(lm_eval_tasks_dir())
    return {**config, **own} if by_lm_eval else _merge(config, own)


def _column_config(column: Column, subset: str | None, folder: Path) -> dict[str, Any]:
    config = task_config(column.file.replace("{subset}", subset or ""), folder)
    if subset is not None:
        config["task"] = f"{column.task}_{subset}"
        config["dataset_name"] = subset
    else:
        config["task"] = column.task
    config["num_fewshot"] = column.num_fewshot
    return {key: value for key, value in config.items() if key not in {"tag", "group", "task_alias"}}


def _build(config: dict[str, Any], column: Column, data_dir: Path | None) -> Any:
    """An lm-eval task over local or hub data.

    Raises:
        InputError: the task has no metric or filter of the column's name, or asks what no engine can answer here.
    """
    import datasets
    from lm_eval.api.task import ConfigurableTask

    _compile_templates_once()
    # lm-eval warns of every default it fills in, datasets draws a bar for every file.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()

    class SuiteTask(ConfigurableTask):
        """An lm-eval task whose data come from where the run says."""

        def download(self, dataset_kwargs: Any = None, **kwargs: Any) -> None:
            if self.config.custom_dataset is not None:
                super().download(dataset_kwargs, **kwargs)
                return
            copy = local_copy(self.DATASET_PATH, data_dir)
            self.dataset = (
                load_from_hub(self.DATASET_PATH, self.DATASET_NAME)
                if copy is None
                else load_local(copy, self.DATASET_NAME)
            )

    task: Any = SuiteTask(config=dict(config))
    task.set_fewshot_seed(FEWSHOT_SEED)
    if task.OUTPUT_TYPE not in OUTPUT_TYPES:
        raise InputError(
            f"column {column.name}: output_type: {task.OUTPUT_TYPE!r} is none of {', '.join(OUTPUT_TYPES)}"
        )
    filters = [ensemble.name for ensemble in task._filters]
    if column.filter not in filters:
        raise InputError(f"column {column.name}: filter: {column.filter!r} is none of {', '.join(filters)}")
    if column.metric not in task.aggregation():
        raise InputError(
            f"column {column.name}: metric: {column.metric!r} is none of {', '.join(sorted(task.aggregation()))}"
        )
    return task


def _compile_templates_once() -> None:
    """lm-eval compiles a task's Jinja template again for every document, 0.8 ms each: most of its prompt building."""
    import lm_eval.utils

    if not hasattr(lm_eval.utils.env.from_string, "cache_info"):
        lm_eval.utils.env.from_string = lru_cache(maxsize=4096)(lm_eval.utils.env.from_string)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; functions by the source they were written as."""
    import inspect

    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if callable(value):
        return inspect.getsource(value)
    return value
