"""The program files that decide what a task asks and how it scores: its functions' modules and what these import.

Files of the standard library, of installed packages and of this package are left out: their versions are in the
manifest. Tasks that lm-eval ships count as the user's, since they can be edited in place.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

_OWN_PACKAGE = Path(__file__).resolve().parents[1]
_STANDARD = tuple({Path(sysconfig.get_paths()[name]).resolve() for name in ("stdlib", "platstdlib")})
_PACKAGE_FOLDERS = {"site-packages", "dist-packages"}

SCORING_PACKAGES = ("lm_eval", "sacrebleu", "scikit-learn", "evaluate", "jinja2", "datasets")
"""Installed packages whose version can change a score or a prompt."""


def scoring_versions() -> dict[str, str | None]:
    """Installed versions of what scores; None where a package is not there."""
    return {name: _version(name) for name in SCORING_PACKAGES}


def imported_files(module: Path) -> set[Path]:
    """A module and every file of the user's own that it imports, at any depth and in any function.

    Names are looked up beside the importing module, in the working directory and on `sys.path`.
    """
    found: set[Path] = set()
    waiting = [module.resolve()]
    while waiting:
        path = waiting.pop()
        if path in found or not _is_own(path):
            continue
        found.add(path)
        waiting += [file for name in _imported_names(path) for file in _files_of(name, path.parent)]
    return found


def program_files(functions: Iterable[Callable[..., Any]]) -> dict[str, str]:
    """SHA-256 of every file of the user's own behind some functions, by file name and place in order.

    Modules are followed through what they import by name, and through the objects they hold, so that a module
    loaded in another way is found too.
    """
    files: set[Path] = set()
    seen: set[int] = set()
    waiting: list[Mapping[str, Any]] = [getattr(function, "__globals__", {}) for function in functions]
    while waiting:
        names = waiting.pop()
        path = _own_file(names)
        if id(names) in seen or path is None:
            continue
        seen.add(id(names))
        files |= imported_files(path)
        waiting += _held(names)
    digests = sorted((path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files)
    return {f"{i}/{name}": digest for i, (name, digest) in enumerate(digests)}


def functions_in(value: Any) -> Iterator[Callable[..., Any]]:
    """Every function that a configuration holds."""
    if isinstance(value, dict):
        for item in value.values():
            yield from functions_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from functions_in(item)
    elif callable(value):
        yield value


def _held(names: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for value in list(names.values()):
        if isinstance(value, ModuleType):
            yield vars(value)
        elif hasattr(value, "__globals__"):
            yield value.__globals__
        elif isinstance(value, type) and (module := sys.modules.get(value.__module__)) is not None:
            yield vars(module)


def _own_file(names: Mapping[str, Any]) -> Path | None:
    file = names.get("__file__")
    path = Path(file).resolve() if isinstance(file, str) else None
    return path if path is not None and _is_own(path) else None


def _is_own(path: Path) -> bool:
    if path.suffix != ".py" or not path.is_file() or path.is_relative_to(_OWN_PACKAGE):
        return False
    if "/lm_eval/tasks/" in path.as_posix():
        return True
    return not _PACKAGE_FOLDERS.intersection(path.parts) and not any(map(path.is_relative_to, _STANDARD))


def _imported_names(path: Path) -> tuple[tuple[int, str], ...]:
    """(level, dotted name) of each import outside the standard library; the level is 0 for absolute ones."""
    return _names_in(path.read_bytes())


@lru_cache(maxsize=256)  # the subsets of a task share their modules
def _names_in(source: bytes) -> tuple[tuple[int, str], ...]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    names: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names += [(node.level, node.module or "")]
            names += ((node.level, f"{node.module or ''}.{alias.name}".strip(".")) for alias in node.names)
    return tuple((level, name) for level, name in names if level or name.split(".")[0] not in sys.stdlib_module_names)


def _files_of(name: tuple[int, str], folder: Path) -> Iterator[Path]:
    level, dotted = name
    places = [folder, Path.cwd(), *map(Path, sys.path)] if level == 0 else [folder, *folder.parents][level - 1 : level]
    relative = Path(*dotted.split(".")) if dotted else Path()
    for place in places:
        for file in (place / relative.with_suffix(".py") if dotted else None, place / relative / "__init__.py"):
            if file is not None and file.is_file():
                yield file.resolve()
                return


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
