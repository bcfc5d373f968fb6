"""Whether a document can be asked and has a right answer: what would end as a silent zero ends its column instead.

lm-eval scores a label that is none of the choices as wrong, whatever the model says, and goes on.
"""

import numbers
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from swiftkv_bench.errors import ScoringError

_FIELDS = ("doc_to_text", "doc_to_choice", "doc_to_target", "doc_to_prefix")


@contextmanager
def own_trouble(task: str, doc_id: int, key: str) -> Iterator[None]:
    """Names the document that something is wrong with.

    Raises:
        ScoringError: always a sentence that names task and document.
    """
    where = f"document {doc_id} of task {task}"
    try:
        yield
    except ScoringError as e:
        raise ScoringError(f"{where}: {e}") from e
    except Exception as e:
        raise ScoringError(f"{where}: {key}: {_said(e)}") from e


@contextmanager
def blamed(task: Any, name: str, doc_id: int, document: Any) -> Iterator[None]:
    """The same, with the field of the task file that fails on the document."""
    where = f"document {doc_id} of task {name}"
    try:
        yield
    except ScoringError as e:
        raise ScoringError(f"{where}: {e}") from e
    except Exception as e:
        raise ScoringError(f"{where}: {_field(task, document)}{_said(e)}") from e


def require_document(task: Any, document: Any) -> None:
    """A document whose right answer lm-eval can see.

    Raises:
        ScoringError: it has none; names the field.
    """
    if callable(task.config.process_results):
        return
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = _choices(task, document)
        gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
        _require_label(task, "doc_to_text" if task.multiple_input else "doc_to_target", gold, choices)
    elif task.OUTPUT_TYPE == "generate_until":
        gold = task.doc_to_target(document)
        if task.config.doc_to_choice is not None:
            if not _is_index(gold, len(_choices(task, document))):
                raise ScoringError(
                    f"doc_to_target: {gold!r:.60} is no index of {len(_choices(task, document))} choices"
                )
        elif gold is None or (isinstance(gold, list) and not gold):
            raise ScoringError(f"doc_to_target: {gold!r}: there is no right answer")


def require_text(value: Any) -> str:
    """A prompt or target as text.

    Raises:
        ScoringError: it is no text, or holds half a character.
    """
    if not isinstance(value, str):
        raise ScoringError(f"doc_to_text: {value!r:.60} is no text")
    try:
        value.encode()
    except UnicodeEncodeError as e:
        raise ScoringError(f"doc_to_text: {value[max(0, e.start - 20) : e.end]!r} holds half a character") from e
    return value


def _choices(task: Any, document: Any) -> list[str]:
    choices = task.doc_to_choice(document)
    if not isinstance(choices, list | tuple) or not choices:
        raise ScoringError(f"doc_to_choice: {choices!r:.60}: there is nothing to choose from")
    for choice in choices:
        if not isinstance(choice, str) or not choice:
            raise ScoringError(f"doc_to_choice: {choice!r:.60} is no text of a choice")
    return list(choices)


def _require_label(task: Any, key: str, gold: Any, choices: list[str]) -> None:
    """The label is one of the choices, in a form in which lm-eval's comparison can come out right."""
    if isinstance(gold, list) != bool(task.multiple_target) and not task.multiple_input:
        found, first = ("a list", "one label") if isinstance(gold, list) else ("one label", "a list")
        raise ScoringError(f"{key}: {gold!r:.60} is {found}, and {first} in the first document")
    labels = gold if isinstance(gold, list) else [gold]
    if not labels:
        raise ScoringError(f"{key}: {gold!r}: there is no right answer")
    for label in labels:
        is_text = isinstance(label, str) and not isinstance(gold, list)
        if not (label in choices if is_text else _is_index(label, len(choices))):
            raise ScoringError(
                f"{key}: {label!r:.60} is none of the {len(choices)} choices and no index of one, so every answer "
                f"would count as wrong"
            )


def _is_index(label: Any, choices: int) -> bool:
    if not isinstance(label, numbers.Real):
        return False
    value = float(label)
    return value.is_integer() and 0 <= value < choices


def _field(task: Any, document: Any) -> str:
    """The field that raises on a document, with a colon; the prompt as a whole where none does alone."""
    for field in _FIELDS:
        if field == "doc_to_choice" and task.config.doc_to_choice is None:
            continue
        try:
            getattr(task, field)(document)
        except Exception:  # noqa: BLE001 (a task file's function may raise anything)
            return f"{field}: "
    return "prompt: "


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
