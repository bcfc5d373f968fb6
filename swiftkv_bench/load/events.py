"""What the events of a stream say: which are chunks with content, how many tokens they carry, usage, errors.

A stream is hundreds of events that differ in a text and a few digits. JSON is parsed once for every distinct shape of
event; the others are compared with it byte by byte, which decides the same.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swiftkv_bench.refusal import said_of
from swiftkv_bench.schema.requests import Int

NONE = -1
"""Stands for a count that is not there."""
FINISHED = frozenset({"stop", "length", "tool_calls", "function_call", "eos_token", "stop_sequence"})
"""Finish reasons of a whole answer: OpenAI's, and what TGI calls its own. Any other, and none, is a failed request."""
_CONTENT_KEYS = ("content", "reasoning_content", "reasoning", "tool_calls")
_REASONING_KEYS = ("reasoning_content", "reasoning")
_MARK_BYTES = 12
_MOST = 2**31 - 1
_ZEROED = bytes(48 if 48 <= i <= 57 else i for i in range(256))


class MalformedError(ValueError):
    """An event that is no JSON object."""


@dataclass(frozen=True)
class Event:
    """What one event's JSON says."""

    has_content: bool
    reasons: bool
    """Its content is reasoning alone, which comes before the answer."""
    has_choices: bool
    completion_tokens: int
    """Running count from usage, `NONE` without."""
    chunk_tokens: int
    """Tokens that the chunk itself lists, `NONE` if it does not."""
    usage: dict[str, Any] | None
    finish_reason: str | None
    """Why the answer ended; of several, one that is no whole answer first."""
    error: str | None


class Events:
    """What the events of one response say, taken in one or several times.

    A shape of content event is the bytes before its text and those after it with every digit zeroed. The first of a
    shape is read as JSON; another that has the same bytes, and a text that is a JSON string, is JSON as well, and
    differs in nothing but its text and digits.
    """

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None
        """Of the usage event, which has no choices, else of the last chunk that was read as JSON."""
        self.error: str | None = None
        self.finish_reason: str | None = None
        self.total = 0
        """The last running count of output tokens, 0 if there was none."""
        self.reasoning = 0
        """Chunks whose content is reasoning."""
        self._prefix_reasons = False
        self._is_final = False
        self._uncounted = False
        """Whether a chunk with content had no running count: one that comes later counts the whole answer."""
        self._prefix = b""
        self._mark = b""
        self._known: dict[bytes, tuple[slice | None, int]] = {}

    def take(self, found: Sequence[bytes], max_shapes: int | None) -> tuple[Int, Int] | None:
        """Tokens, and number of the event, of every further event that is a chunk with content.

        None, with nothing taken, when more than `max_shapes` events need JSON.
        """
        read = _Read()
        if not self._compare(found, max_shapes, read):
            return None
        if not _are_strings(read.texts):
            # One is no JSON at all, or holds more than a text: every event has to be read.
            read = _Read()
            for data in found:
                self._load(data, read)
        if read.final is not None or (read.usage is not None and not self._is_final):
            self.usage, self._is_final = read.final or read.usage, read.final is not None
        self.error = self.error or read.error
        self.reasoning += read.reasoning
        if self._prefix_reasons:
            self.reasoning += sum(text != b"" for text in read.texts)
        self.finish_reason = _ended_as(self.finish_reason, read.finish_reason)
        running, tokens = np.array(read.running, dtype=np.int64), np.array(read.listed, dtype=np.int64)
        content = np.array(read.content, dtype=np.bool_)
        self._uncounted = self._uncounted or bool((content & (running < 0)).any())
        counted = np.flatnonzero(running >= 0)
        if len(counted):
            if not self._uncounted:
                tokens[counted] = np.diff(running[counted], prepend=self.total)
            self.total = int(running[counted[-1]])
        chunk = np.flatnonzero(content | (tokens > 0))
        return tokens[chunk], chunk

    @property
    def output_tokens(self) -> int:
        """As the usage event says, else by the last running count; `NONE` without either."""
        told = count((self.usage or {}).get("completion_tokens"))
        return told if (self._is_final and told >= 0) or not self.total else self.total

    def _compare(self, found: Sequence[bytes], max_shapes: int | None, read: "_Read") -> bool:
        content, running, listed = read.content.append, read.running.append, read.listed.append
        text_seen = read.texts.append
        loaded = 0
        for data in found:
            prefix = self._prefix
            if prefix and data.startswith(prefix):
                text, _, rest = data[len(prefix) :].partition(self._mark)
                shape = self._known.get(rest.translate(_ZEROED))
                if shape is not None:
                    digits, tokens = shape
                    text_seen(text)
                    content(text != b"")
                    running(NONE if digits is None else int(rest[digits]))
                    listed(tokens)
                    continue
            if loaded == max_shapes:
                return False
            loaded += 1
            self._load(data, read)
        return True

    def _load(self, data: bytes, read: "_Read") -> None:
        """Reads one event as JSON."""
        event, value = load(data)
        read.content.append(event.has_content)
        read.reasoning += event.reasons
        # Without choices it is a summary: the usage event that ends the stream.
        read.running.append(event.completion_tokens if event.has_choices else NONE)
        read.listed.append(event.chunk_tokens)
        read.usage = event.usage or read.usage
        read.final = read.final if event.has_choices else event.usage or read.final
        # Another event of the same shape says the same.
        read.finish_reason = _ended_as(read.finish_reason, event.finish_reason)
        read.error = read.error or event.error
        text = _only_text(value)
        if text is not None and event.error is None:
            self._learn(data, event, *text)

    def _learn(self, data: bytes, event: Event, key: str, text: str) -> None:
        opening = f'"{key}":"'.encode()
        field = opening + json.dumps(text, ensure_ascii=False).encode()[1:]
        # The text must stand once, written as it will be compared.
        if data.count(field) != 1:
            return
        at = data.index(field) + len(opening)
        rest = data[at + len(field) - len(opening) - 1 :]
        prefix, mark = self._prefix or data[:at], self._mark or rest[:_MARK_BYTES]
        after = rest[len(mark) :]
        digits = _digits_of(after, event.completion_tokens)
        if data[:at] != prefix or not rest.startswith(mark) or (event.completion_tokens >= 0) != (digits is not None):
            return
        self._prefix_reasons = self._prefix_reasons or key in _REASONING_KEYS
        self._prefix, self._mark = prefix, mark
        self._known[after.translate(_ZEROED)] = (digits, event.chunk_tokens)


class _Read:
    """Some events, one element an event; `NONE` where an event does not say it."""

    __slots__ = ("content", "error", "final", "finish_reason", "listed", "reasoning", "running", "texts", "usage")

    def __init__(self) -> None:
        self.content: list[bool] = []
        self.running: list[int] = []
        self.listed: list[int] = []
        self.reasoning = 0
        """Of those that were read as JSON."""
        self.texts: list[bytes] = []
        """What stood in the place of a text where the rest was compared; to be JSON strings."""
        self.usage: dict[str, Any] | None = None
        self.final: dict[str, Any] | None = None
        """Usage of an event without choices."""
        self.finish_reason: str | None = None
        self.error: str | None = None


def _only_text(value: dict[str, Any]) -> tuple[str, str] | None:
    """Key and text of the one string that a content event carries."""
    choices = _list(value.get("choices"))
    if len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    part = _dict(choices[0].get("delta")) or choices[0]
    keys = [key for key in ("text", *_CONTENT_KEYS) if part.get(key)]
    if len(keys) != 1 or not isinstance(part[keys[0]], str):
        return None
    return keys[0], part[keys[0]]


def _digits_of(rest: bytes, count: int) -> slice | None:
    """Where the running count of output tokens stands; None if it is not there exactly once."""
    marker = b'"completion_tokens":'
    if count < 0 or rest.count(marker) != 1:
        return None
    at = rest.index(marker) + len(marker)
    digits = b"%d" % count
    return slice(at, at + len(digits)) if rest[at:].startswith(digits) else None


def _are_strings(texts: list[bytes]) -> bool:
    """Whether each is the inside of a JSON string: all at once, as an array, of which that many must come out."""
    try:
        return not texts or len(json.loads(b'["' + b'","'.join(texts) + b'"]')) == len(texts)
    except ValueError:
        return False


def load(data: bytes) -> tuple[Event, dict[str, Any]]:
    """One event, and its JSON.

    Raises:
        MalformedError: it is no JSON object.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise MalformedError(f"an event is no JSON ({e}): {data[:80]!r}") from e
    if not isinstance(value, dict):
        raise MalformedError(f"an event is no JSON object: {data[:80]!r}")
    choices = [choice for choice in _list(value.get("choices")) if isinstance(choice, dict)]
    usage = _dict(value.get("usage"))
    event = Event(
        has_content=any(_has_content(choice) for choice in choices),
        reasons=bool(choices) and all(_reasons(choice) for choice in choices),
        has_choices=bool(choices),
        completion_tokens=count(usage.get("completion_tokens")),
        chunk_tokens=_listed_tokens(choices),
        usage=usage or None,
        finish_reason=_finish_reason(choices),
        error=_error(data, value),
    )
    return event, value


def _finish_reason(choices: list[dict[str, Any]]) -> str | None:
    found = None
    for choice in choices:
        # Some servers write "" where others write null.
        found = _ended_as(found, str(choice.get("finish_reason") or "") or None)
    return found


def _ended_as(before: str | None, now: str | None) -> str | None:
    """Of two finish reasons the one that is no whole answer, else the later."""
    return before if before is not None and before not in FINISHED else now or before


def _error(data: bytes, value: dict[str, Any]) -> str | None:
    """What an event says of a failure, None for a part of an answer."""
    if value.get("error") is not None or value.get("object") == "error":
        return said_of(data)
    if "choices" in value or "usage" in value:
        return None
    return said_of(data) if "detail" in value else f"an event with neither choices nor usage: {said_of(data)}"


def count(value: Any) -> int:
    """A number of tokens as a server says it, `NONE` where it says something else."""
    return value if type(value) is int and 0 <= value <= _MOST else NONE


def _has_content(choice: dict[str, Any]) -> bool:
    message = _dict(choice.get("delta")) or _dict(choice.get("message"))
    return bool(choice.get("text")) or any(message.get(key) for key in _CONTENT_KEYS)


def _reasons(choice: dict[str, Any]) -> bool:
    message = _dict(choice.get("delta")) or _dict(choice.get("message"))
    found = [key for key in _CONTENT_KEYS if message.get(key)]
    return bool(found) and not choice.get("text") and all(key in _REASONING_KEYS for key in found)


def _listed_tokens(choices: list[dict[str, Any]]) -> int:
    counts = []
    for choice in choices:
        logprobs = _dict(choice.get("logprobs"))
        listed = choice.get("token_ids") or logprobs.get("tokens") or logprobs.get("content")
        if isinstance(listed, list):
            counts.append(len(listed))
    return sum(counts) if counts else NONE


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
