"""lm-eval task objects of a suite's columns, with their data, checked for completeness.

Prompts, filters and metrics are lm-eval's own code. Task files are read directly, so none of lm-eval's
14,683 registered tasks is indexed.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from swiftkv_bench.accuracy.data import Loaded, MissingDataError, Wanted, load_data
from swiftkv_bench.accuracy.measures import measure_of
from swiftkv_bench.accuracy.notices import counted, listening
from swiftkv_bench.accuracy.origins import functions_in, program_files, scoring_versions
from swiftkv_bench.accuracy.refusals import task_keys
from swiftkv_bench.accuracy.suites import LM_EVAL_PREFIX, lm_eval_tasks_dir, suite_file, suites_dir
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, DataSource, Notice
from swiftkv_bench.schema.base import content_hash

FEWSHOT_SEED = 1234
"""lm-eval's default seed of the shots."""


@dataclass(frozen=True)
class ColumnTasks:
    """The tasks of one column, ready to make prompts.

    Attributes:
        column: with the measure that its tasks give it.
        tasks: task name -> lm-eval task, in order of the suite's subsets.
        hashes: task name -> hash of everything that decides its questions and scores.
        sources: task name -> where its documents came from.
        clusters: task name -> of each document what it shares with others: `ItemRecord.cluster`.
        notices: what was noticed while they were built.
    """

    column: Column
    tasks: dict[str, Any]
    hashes: dict[str, str]
    sources: dict[str, DataSource]
    clusters: dict[str, tuple[str, ...]]
    notices: tuple[Notice, ...] = ()


def load_column(plan: AccuracyPlan, column: Column, data_dir: Path | None) -> ColumnTasks:
    """Builds the tasks of a column and checks their number of documents.

    Raises:
        MissingDataError: data are not at hand.
        InputError: a task file is missing, asks what is not done here or makes no task, or the data are not the whole
            task.
    """
    file = suite_file(plan.source or plan.suite)
    built: dict[str, _Built] = {}
    with listening() as heard:
        for subset in column.subsets or (None,):
            with named(plan, column):
                config = task_keys(_column_config(column, subset, file.parent))
                one = _build(config, column, file.parent, data_dir)
            if config["task"] in built:
                raise InputError(f"suite {plan.suite}: column {column.name}: two subsets give a task of the same name")
            built[config["task"]] = one
        with named(plan, column):
            column = column.model_copy(update={"measure": measure_of(next(iter(built.values())).task, column)})
    found = sum(len(one.task.task_docs) for one in built.values())
    if found != column.documents:
        raise InputError(
            f"column {column.name} of suite {plan.suite} has {column.documents} documents, but its data hold {found}; "
            f"copy the data set whole, or take the hub's by leaving out --data-dir"
        )
    return ColumnTasks(
        column,
        tasks={name: one.task for name, one in built.items()},
        hashes={name: one.digest for name, one in built.items()},
        sources={name: one.source for name, one in built.items()},
        clusters={name: one.clusters for name, one in built.items()},
        notices=counted(heard),
    )


_OF_THE_COLUMN = ("filter", "group_by", "margin", "metric", "range", "think_end_token")
"""Keys of a suite's column; errors that begin with another key are about the task file."""


@contextmanager
def named(plan: AccuracyPlan, column: Column) -> Iterator[None]:
    """Says of what goes wrong which suite, column and task file it is about.

    Task files of a suite of the user's own are programs of the user: what they raise is the user's to mend.

    Raises:
        InputError: the column cannot be asked.
    """
    where = f"{suite_file(plan.source or plan.suite)}: column {column.name}"
    try:
        yield
    except MissingDataError:
        raise
    except InputError as e:
        key = str(e).split(":", 1)[0]
        raise InputError(f"{where}: {e}" if key in _OF_THE_COLUMN else f"{where}: {column.file}: {e}") from e
    except Exception as e:
        if plan.source is None and not column.file.startswith(LM_EVAL_PREFIX):
            raise
        said = " ".join(str(e).split())
        raise InputError(
            f"{where}: lm-eval makes no task of {column.file}: {type(e).__name__}: {said:.400}; mend the task file"
        ) from e


def task_config(reference: str, folder: Path, *, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The configuration a task file gives, includes merged and functions resolved.

    A file's keys replace included ones whole, as in lm-eval. Only where a suite's own file includes one that lm-eval
    ships (`include: lm_eval:...`) do mappings merge key by key, so that the file says only what differs; the shipped
    suites' files do so among themselves too.

    Args:
        reference: `lm_eval:<path>` among lm-eval's own tasks, else a path relative to `folder`.

    Raises:
        InputError: there is no such file, or it includes itself.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    shipped = reference.startswith(LM_EVAL_PREFIX)
    path = lm_eval_tasks_dir() / reference.removeprefix(LM_EVAL_PREFIX) if shipped else folder / reference
    if not path.is_file():
        raise InputError(f"{folder}: task file {reference}: no such file")
    if path.resolve() in _seen:
        raise InputError(f"{path}: include: the file includes itself")
    own: dict[str, Any] = load_yaml(path, resolve_func=True, recursive=False)
    includes = own.pop("include", [])
    config: dict[str, Any] = {}
    merges = False
    for included in [includes] if isinstance(includes, str) else includes:
        read = task_config(included, path.parent, _seen=(*_seen, path.resolve()))
        read.pop("task_list", None)
        config = {**config, **read}
        merges |= included.startswith(LM_EVAL_PREFIX) or path.resolve().is_relative_to(suites_dir().resolve())
    return _merge(config, own) if merges and not path.is_relative_to(lm_eval_tasks_dir()) else {**config, **own}


def _column_config(column: Column, subset: str | None, folder: Path) -> dict[str, Any]:
    config = task_config(column.file.replace("{subset}", subset or ""), folder)
    if isinstance(config.get("task"), list) or ("group" in config and "doc_to_text" not in config):
        raise InputError("task: a group of tasks; give each a column, or its subsets to one")
    if subset is not None:
        config["task"] = f"{column.task}_{subset}"
        config["dataset_name"] = subset
    else:
        config["task"] = column.task
    config["num_fewshot"] = column.num_fewshot
    return config


@dataclass(frozen=True)
class _Built:
    task: Any
    digest: str
    source: DataSource
    clusters: tuple[str, ...]


def _build(config: dict[str, Any], column: Column, folder: Path, data_dir: Path | None) -> _Built:
    """An lm-eval task over the data that the run or the task names.

    Raises:
        InputError: the task has no filter of the column's name.
    """
    import datasets
    from lm_eval.api.task import ConfigurableTask

    _compile_templates_once()
    datasets.disable_progress_bars()
    loaded: list[Loaded] = []
    described = _plain(config)

    class SuiteTask(ConfigurableTask):
        """An lm-eval task whose data come from where the run says."""

        def download(self, dataset_kwargs: Any = None, **kwargs: Any) -> None:
            if self.config.custom_dataset is not None:
                super().download(dataset_kwargs, **kwargs)
                return
            wanted = Wanted(str(self.DATASET_PATH), self.DATASET_NAME, dict(dataset_kwargs or {}), folder)
            loaded.append(load_data(wanted, data_dir))
            self.dataset = loaded[-1].splits

    # lm-eval's task writes defaults into the configuration that it is given.
    task: Any = SuiteTask(config=_copied(config))
    task.set_fewshot_seed(FEWSHOT_SEED)
    filters = [ensemble.name for ensemble in task._filters]
    if column.filter not in filters:
        raise InputError(f"filter: {column.filter!r} is none of {', '.join(filters)}")
    digests = tuple(map(_document_hash, task.task_docs))
    source = DataSource(
        dataset="made by the task" if not loaded else str(config["dataset_path"]),
        name=config.get("dataset_name"),
        revision=(config.get("dataset_kwargs") or {}).get("revision"),
        files=loaded[0].files if loaded else {},
        documents=len(digests),
        content_hash=content_hash(digests),
    )
    decided = {
        "config": described,
        "code": program_files(functions_in(config)),
        "packages": scoring_versions(),
        "documents": source.content_hash,
        "revision": source.revision,
    }
    return _Built(task, content_hash(decided), source, _clusters(task, column, config, digests))


def _clusters(task: Any, column: Column, config: dict[str, Any], digests: Sequence[str]) -> tuple[str, ...]:
    """What each document shares with others: its group, its subset, or itself as the data set holds it."""
    if column.group_by is not None:
        if column.group_by not in task.features:
            raise InputError(f"group_by: {column.group_by!r} is no field of a document: {', '.join(task.features)}")
        values = (_plain(document[column.group_by]) for document in task.task_docs)
        return tuple(content_hash([config.get("dataset_path"), column.group_by, value]) for value in values)
    if column.subsets:
        return (content_hash([config.get("dataset_path"), config.get("dataset_name")]),) * len(digests)
    split = config.get("test_split") or config.get("validation_split")
    if config.get("process_docs") is not None and len(raw := task.dataset[split]) == len(digests):
        return tuple(map(_document_hash, raw))
    return tuple(digests)


def _document_hash(document: Any) -> str:
    text = json.dumps(_plain(document), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def _copied(value: Any) -> Any:
    """Mappings and lists copied, everything else as it is."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; functions by the source they were written as."""
    import inspect

    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if callable(value):
        try:
            return inspect.getsource(value)
        except (OSError, TypeError):
            return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(value))}"
    return f"{type(value).__name__}: {value}"
