"""Accuracy suites as files: finding them, reading them, choosing columns of them, hashing what they say.

Leaves the building of tasks to ``tasks``. Imports no lm_eval.
"""

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from swiftkv_bench.accuracy.origins import imported_files, scoring_versions
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.accuracy import AccuracyPlan, AccuracySuite, Column
from swiftkv_bench.schema.base import content_hash
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.yaml_file import read_yaml, yaml_value
from swiftkv_bench.store import data_dir

LM_EVAL_PREFIX = "lm_eval:"
"""A task file that starts with this lies among lm-eval's own tasks."""

DEFAULT_SUITE = "paper"
SUITE_FILE = "suite.yaml"
_OWN_FILES = {".yaml", ".yml", ".py", ".jinja"}


def suites_dir() -> Path:
    """Folder of the shipped suites."""
    return data_dir("suites") / "accuracy"


def available_suites() -> tuple[str, ...]:
    """Names of the shipped suites, sorted."""
    return tuple(sorted(path.parent.name for path in suites_dir().glob("*/suite.yaml")))


def suite_file(name_or_path: str) -> Path:
    """File of a shipped suite by its name, of one's own by its path or by a folder that holds a suite.yaml.

    Raises:
        InputError: there is no such suite.
    """
    given = Path(name_or_path)
    for path in (suites_dir() / name_or_path / SUITE_FILE, given / SUITE_FILE, given):
        if path.is_file():
            return path
    raise InputError(
        f"--suite {name_or_path}: no such suite; shipped are {', '.join(available_suites())}, "
        f"or give a YAML file or a folder that holds a {SUITE_FILE}"
    )


def load_suite(name_or_path: str) -> AccuracySuite:
    """Reads a suite file.

    Raises:
        InputError: it is not there, is no YAML, or says something a suite may not say.
    """
    path = suite_file(name_or_path)
    suite = read_yaml(path, AccuracySuite, "an accuracy suite")
    own_name = path.parent.name if path.name == SUITE_FILE else path.stem
    if suite.name != own_name:
        raise InputError(f"{path}: name: {suite.name!r} must be {own_name!r}, as the file or its folder is called")
    if len({column.name for column in suite.columns}) != len(suite.columns):
        raise InputError(f"{path}: columns: two columns have the same name")
    for column in suite.columns:
        if "measure" in column.model_fields_set:
            raise InputError(f"{path}: column {column.name}: measure: comes from the task file; leave it out")
    return suite


def select_columns(requested: Sequence[str], default: str = DEFAULT_SUITE) -> AccuracySuite:
    """The suite of a command line, reduced to the columns asked for, in the suite's order.

    Each request is a suite (`paper`), a column of a suite (`paper:mmlu`) or a column of the default suite
    (`mmlu`, looked up in `paper` when the default suite has none of that name).

    Raises:
        InputError: a name is unknown, or the requests name more than one suite.
    """
    if not requested:
        return load_suite(default)
    wanted: dict[str, set[str] | None] = {}
    for request in requested:
        suite_name, column = _resolve(request, default)
        known = wanted.get(suite_name, set())
        wanted[suite_name] = None if column is None or known is None else known | {column}
    if len(wanted) > 1:
        raise InputError(
            f"--suite names {' and '.join(sorted(wanted))}: rows of different suites never meet in one table; "
            f"run them one after the other"
        )
    [(suite_name, names)] = wanted.items()
    suite = load_suite(suite_name)
    if names is None:
        return suite
    return suite.model_copy(update={"columns": tuple(c for c in suite.columns if c.name in names)})


def selected_file(requested: Sequence[str], default: str = DEFAULT_SUITE) -> Path:
    """File of the suite that `select_columns` takes columns from.

    Raises:
        InputError: a name is unknown.
    """
    return suite_file(_resolve(requested[0], default)[0] if requested else default)


def plan_accuracy(
    suite: AccuracySuite,
    arms: Sequence[Arm],
    *,
    file: Path,
    limit: int | None = None,
    seed: int = 0,
    repeat_baseline: bool = False,
    stop_when_decided: bool = False,
) -> AccuracyPlan:
    """What an accuracy run asks. Reads the suite's files for their hash, nothing else.

    Args:
        file: the suite's file, from `suite_file`.

    Raises:
        InputError: a limit below 1, a repeated baseline without a baseline arm, or a task file that is no YAML.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: at least 1 item a column is needed")
    if repeat_baseline and "baseline" not in arms:
        raise InputError("--repeat-baseline needs the baseline among the arms; add it with --arms")
    return AccuracyPlan(
        suite=suite.name,
        suite_hash=suite_hash(suite, file),
        source=None if file == suites_dir() / suite.name / SUITE_FILE else str(file.resolve()),
        protocol=suite.protocol,
        published=suite.published,
        max_gen_tokens=suite.max_gen_tokens,
        think_end_token=suite.think_end_token,
        macro_margin=suite.macro_margin,
        columns=suite.columns,
        arms=tuple(arms),
        limit=limit,
        seed=seed,
        repeat_baseline=repeat_baseline,
        stop_when_decided=stop_when_decided,
    )


def suite_hash(suite: AccuracySuite, file: Path) -> str:
    """Content hash of a suite, of every file of its own, of every lm-eval task folder it draws on, and of lm-eval's
    version, whose metrics and filters score it.

    A suite.yaml owns its folder; a file of another name owns the task files and functions that it names.
    """
    folder = file.parent.resolve()
    if file.name == SUITE_FILE:
        own = [path.resolve() for path in folder.rglob("*") if path.is_file() and path.suffix in _OWN_FILES]
    else:
        own = [path.resolve() for column in suite.columns for path in _named_files(column, folder)]
    own = sorted({*own, *(file for path in own if path.suffix == ".py" for file in imported_files(path))})
    digests = {f"suite/{os.path.relpath(path, folder)}": _digest(path) for path in own}
    for name in _lm_eval_files(suite.columns, own):
        task_folder = (lm_eval_tasks_dir() / name).parent
        for path in sorted(task_folder.iterdir()):
            if path.is_file():
                digests[f"lm_eval/{path.relative_to(lm_eval_tasks_dir())}"] = _digest(path)
    said = suite.model_dump(mode="json", exclude={"columns": {"__all__": {"measure"}}})
    return content_hash({"suite": said, "files": digests, "lm_eval": scoring_versions()["lm_eval"]})


def lm_eval_tasks_dir() -> Path:
    """Folder of the installed lm-eval's own tasks, found without importing lm_eval.

    Raises:
        InputError: lm-eval is not installed.
    """
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise InputError("accuracy suites need the package lm_eval; install swiftkv-bench with its dependencies")
    return Path(spec.origin).parent / "tasks"


def _resolve(request: str, default: str) -> tuple[str, str | None]:
    """Suite and column of one request; the column is None for a whole suite."""
    head, colon, column = request.partition(":")
    if colon and not _is_suite(Path(request)):
        _require_column(load_suite(head), column, request)
        return head, column
    if request in available_suites() or _is_suite(Path(request)):
        return request, None
    if request.endswith((".yaml", ".yml")):
        return str(suite_file(request)), None
    for suite_name in dict.fromkeys((default, DEFAULT_SUITE)):
        if any(c.name == request for c in load_suite(suite_name).columns):
            return suite_name, request
    names = [c.name for c in load_suite(default).columns]
    raise InputError(
        f"--suite {request}: neither a suite ({', '.join(available_suites())}) nor a column of suite {default} "
        f"({', '.join(names)})"
    )


def _is_suite(path: Path) -> bool:
    return path.is_file() or (path / SUITE_FILE).is_file()


def _named_files(column: Column, folder: Path) -> set[Path]:
    """Task files of a column that lie with its suite, those they include, and the modules of their functions."""
    wanted = [column.file.replace("{subset}", subset) for subset in column.subsets or ("",)]
    found: set[Path] = set()
    while wanted:
        name = wanted.pop()
        path = folder / name
        if name.startswith(LM_EVAL_PREFIX) or path in found or not path.is_file():
            continue
        found.add(path)
        for include in _includes(path):
            shipped = include.startswith(LM_EVAL_PREFIX)
            wanted.append(include if shipped else os.path.normpath(Path(name).parent / include))
        modules = re.findall(r"!function\s+([\w.]+)\.\w+", path.read_text())
        for module in modules:
            found |= imported_files(path.parent / f"{module.replace('.', '/')}.py")
    return found


def _require_column(suite: AccuracySuite, column: str, request: str) -> None:
    names = [c.name for c in suite.columns]
    if column not in names:
        raise InputError(f"--suite {request}: suite {suite.name} has the columns {', '.join(names)}")


def _lm_eval_files(columns: Iterable[Column], own: Iterable[Path]) -> set[str]:
    """lm-eval task files that columns name or that the suite's own task files include."""
    files = {c.file for c in columns}
    for path in own:
        if path.suffix == ".yaml" and path.name != "suite.yaml":
            files |= set(_includes(path))
    return {f.removeprefix(LM_EVAL_PREFIX) for f in files if f.startswith(LM_EVAL_PREFIX)}


def _includes(path: Path) -> list[str]:
    class Loader(yaml.SafeLoader):
        """Reads lm-eval task files without resolving their functions."""

    Loader.add_constructor("!function", lambda _, node: str(node.value))
    content = yaml_value(path, "a task file", Loader)
    given = content.get("include", []) if isinstance(content, dict) else []
    files = [given] if isinstance(given, str) else given
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise InputError(f"{path}: include: {given!r} is no file; give its path, or a list of paths")
    return files


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
