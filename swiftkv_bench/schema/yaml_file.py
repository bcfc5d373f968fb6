"""Reads what a user wrote as YAML: profiles, suites, policies. Every mistake is one sentence with file and key."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.base import Record

_Model = TypeVar("_Model", bound=Record)
_LONGEST = 60
"""Characters of a found value that a message shows."""


def read_yaml(path: Path, model: type[_Model], what: str, *, empty: bool = False, flag: str = "") -> _Model:
    """The file as a value of `model`.

    Args:
        what: the kind of file, for messages, e.g. `a profile`.
        empty: an empty file is the model's defaults.
        flag: what named the file, for the message where it is not there.

    Raises:
        InputError: the file cannot be read, is no YAML, or says something that the model has not; names file and key.
    """
    value = yaml_value(path, what, flag=flag)
    if value is None and empty:
        value = {}
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {_shown(value)} and is no {what.split(' ', 1)[1]}; write `key: value` lines")
    try:
        return model.model_validate(value)
    except ValidationError as e:
        raise InputError(_sentence(path, e, what, model)) from e


def yaml_value(path: Path, what: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader, *, flag: str = "") -> Any:
    """What a YAML file holds.

    Raises:
        InputError: the file cannot be read or is no YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # a SafeLoader
    except OSError as e:
        named = f"{flag} {path}".strip()
        raise InputError(f"cannot read {named}: {e.strerror}; give {what} that can be read, as a YAML file") from e
    except (yaml.YAMLError, ValueError, KeyError, RecursionError) as e:  # PyYAML's `!!bool x` is a KeyError
        raise InputError(f"{path} is not valid YAML: {' '.join(str(e).split())}; mend that place") from e


def _sentence(path: Path, error: ValidationError, what: str, model: type[Record]) -> str:
    detail = error.errors()[0]
    key = ".".join(str(part) for part in detail["loc"]) or "the file"
    if detail["type"] == "extra_forbidden":
        close = get_close_matches(str(detail["loc"][-1]), _keys(model, detail["loc"][:-1]), 1, 0.75)
        repair = f"did you mean {close[0]}?" if close else "leave it out, or mend its spelling"
        return f"{path}:{key} is no key of {what}; {repair}"
    if detail["type"] == "missing":
        return f"{path}:{key} is missing; {what} needs it"
    found = "" if isinstance(detail["input"], dict) else f", found {_shown(detail['input'])}"
    return f"{path}:{key}: {detail['msg'].removeprefix('Value error, ')}{found}"


def _keys(model: type[Record], parents: tuple[int | str, ...]) -> list[str]:
    """Keys that stand where the parents lead to; none below a list."""
    at: Any = model
    for part in parents:
        field = at.model_fields.get(str(part)) if isinstance(at, type) and issubclass(at, Record) else None
        at = None if field is None else field.annotation
    return list(at.model_fields) if isinstance(at, type) and issubclass(at, Record) else []


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
