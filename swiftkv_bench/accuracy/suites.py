"""Accuracy suites as files: finding them, reading them, choosing columns of them, hashing what they say.

Leaves the building of tasks to ``tasks``. Imports no lm_eval.
"""

import hashlib
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.accuracy import AccuracyPlan, AccuracySuite, Column
from swiftkv_bench.schema.base import content_hash
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.store import data_dir

LM_EVAL_PREFIX = "lm_eval:"
"""A task file that starts with this lies among lm-eval's own tasks."""

DEFAULT_SUITE = "paper"


def suites_dir() -> Path:
    """Folder of the shipped suites."""
    return data_dir("suites") / "accuracy"


def available_suites() -> tuple[str, ...]:
    """Names of the shipped suites, sorted."""
    return tuple(sorted(path.parent.name for path in suites_dir().glob("*/suite.yaml")))


def suite_folder(name_or_path: str) -> Path:
    """Folder of a shipped suite, or of a suite given as a folder or as its suite.yaml.

    Raises:
        InputError: there is no such suite.
    """
    shipped = suites_dir() / name_or_path
    given = Path(name_or_path)
    for folder in (shipped, given, given.parent if given.name == "suite.yaml" else given):
        if (folder / "suite.yaml").is_file():
            return folder
    raise InputError(
        f"--suite {name_or_path}: no such suite; shipped are {', '.join(available_suites())}, "
        f"or give a folder that holds a suite.yaml"
    )


def load_suite(name_or_path: str) -> AccuracySuite:
    """Reads a suite file.

    Raises:
        InputError: it is not there, is no YAML, or says something a suite may not say.
    """
    path = suite_folder(name_or_path) / "suite.yaml"
    try:
        suite = AccuracySuite.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as e:
        raise InputError(f"{path} is not valid YAML: {e}") from e
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']} (found {first['input']!r})") from e
    if suite.name != path.parent.name:
        raise InputError(f"{path}: name: {suite.name!r} must equal the folder name {path.parent.name!r}")
    if len({column.name for column in suite.columns}) != len(suite.columns):
        raise InputError(f"{path}: columns: two columns have the same name")
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


def plan_accuracy(
    suite: AccuracySuite,
    arms: Sequence[Arm],
    *,
    folder: Path,
    limit: int | None = None,
    seed: int = 0,
    repeat_baseline: bool = False,
    stop_when_decided: bool = False,
) -> AccuracyPlan:
    """What an accuracy run asks. Reads the suite's files for their hash, nothing else.

    Args:
        folder: where the suite lies, from `suite_folder`.

    Raises:
        InputError: a limit below 1, or a repeated baseline without a baseline arm.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: at least 1 item a column is needed")
    if repeat_baseline and "baseline" not in arms:
        raise InputError("--repeat-baseline needs the baseline among the arms; add it with --arms")
    return AccuracyPlan(
        suite=suite.name,
        suite_hash=suite_hash(suite, folder),
        source=None if folder == suites_dir() / suite.name else str(folder.resolve()),
        protocol=suite.protocol,
        published=suite.published,
        max_gen_tokens=suite.max_gen_tokens,
        macro_margin=suite.macro_margin,
        columns=suite.columns,
        arms=tuple(arms),
        limit=limit,
        seed=seed,
        repeat_baseline=repeat_baseline,
        stop_when_decided=stop_when_decided,
    )


def suite_hash(suite: AccuracySuite, folder: Path) -> str:
    """Content hash of a suite, of every file beside it and of every lm-eval task folder it draws on."""
    own = [path for path in folder.rglob("*") if path.is_file() and path.suffix in {".yaml", ".py", ".jinja"}]
    digests = {f"suite/{path.relative_to(folder)}": _digest(path) for path in own}
    for file in _lm_eval_files(suite.columns, own):
        task_folder = (lm_eval_tasks_dir() / file).parent
        for path in sorted(task_folder.iterdir()):
            if path.is_file():
                digests[f"lm_eval/{path.relative_to(lm_eval_tasks_dir())}"] = _digest(path)
    return content_hash({"suite": suite.model_dump(mode="json"), "files": digests})


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
    if colon and not Path(request).exists():
        _require_column(load_suite(head), column, request)
        return head, column
    if request in available_suites() or Path(request).exists():
        return request, None
    for suite_name in dict.fromkeys((default, DEFAULT_SUITE)):
        if any(c.name == request for c in load_suite(suite_name).columns):
            return suite_name, request
    names = [c.name for c in load_suite(default).columns]
    raise InputError(
        f"--suite {request}: neither a suite ({', '.join(available_suites())}) nor a column of suite {default} "
        f"({', '.join(names)})"
    )


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
    content: Any = yaml.load(path.read_text(), Loader=Loader)  # a SafeLoader with one harmless tag
    given = content.get("include", []) if isinstance(content, dict) else []
    return [given] if isinstance(given, str) else list(given)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
