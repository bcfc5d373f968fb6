"""What a response says: when its chunks with content came, how many tokens they carry, how it ended.

A streamed response is hundreds of events that differ in a text and a few digits. JSON is parsed once for every
distinct shape of event; the others are compared with it byte by byte, which decides the same.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from swiftkv_bench.load import framing, sse
from swiftkv_bench.load.framing import FramingError, Head
from swiftkv_bench.schema.perf import Float, RequestStatus

ChunkTokens = npt.NDArray[np.int16] | npt.NDArray[np.int32]
_CONTENT_KEYS = ("content", "reasoning_content", "reasoning", "tool_calls")
_MESSAGE_CHARACTERS = 300
_MARK_BYTES = 12
_ZEROED = bytes(48 if 48 <= i <= 57 else i for i in range(256))


@dataclass(frozen=True)
class Reply:
    """A response as it was received."""

    parts: Sequence[bytes]
    """What each read gave."""
    times: Sequence[float]
    """When each read gave it, any axis."""
    closed: bool = False
    """Whether the server closed the connection after the last read."""


@dataclass(frozen=True)
class Outcome:
    """What a reply amounts to."""

    status: RequestStatus
    http_status: int
    """-1 if there was no response head."""
    chunk_s: Float
    """shape (chunks,): arrival of each chunk with content."""
    chunk_tokens: ChunkTokens
    """shape (chunks,): tokens in each, -1 where the server does not tell."""
    prompt_tokens: int = -1
    output_tokens: int = -1
    cached_tokens: int = -1
    error: str | None = None
    """One sentence for every status but `ok`."""


@dataclass(frozen=True)
class _Event:
    """What one event's JSON says."""

    has_content: bool
    has_choices: bool
    completion_tokens: int | None
    """Running count from usage."""
    chunk_tokens: int | None
    """Tokens that the chunk itself lists."""
    usage: dict[str, Any] | None
    error: str | None


class _MalformedError(ValueError):
    pass


def failed(status: RequestStatus, error: str, http_status: int = -1) -> Outcome:
    """The outcome of a request that has no usable response."""
    return Outcome(status, http_status, np.empty(0), np.empty(0, dtype=np.int16), error=error)


def parse(reply: Reply, *, max_shapes: int | None = None) -> Outcome | None:
    """What a reply says. A chunk has content when its text is non-empty or the server counts tokens in it.

    Args:
        max_shapes: gives up, with None, when more distinct shapes of events than this would need JSON parsing.
    """
    raw = b"".join(reply.parts)
    try:
        head = framing.parse_head(raw)
        if head is None:
            return failed("reset", f"the connection closed after {len(raw)} bytes, before the response head was whole")
        body = framing.read_body(raw, head, closed=reply.closed)
    except FramingError as e:
        return failed("malformed", str(e))
    if head.status != 200:
        return failed("http-error", f"HTTP {head.status}: {_error_text(body.data)}", head.status)
    try:
        if not head.event_stream:
            return _parse_whole(reply, head, body)
        return _parse_stream(reply, head, body, max_shapes)
    except _MalformedError as e:
        return failed("malformed", str(e), head.status)


def _parse_whole(reply: Reply, head: Head, body: framing.Body) -> Outcome:
    if not body.complete:
        return failed("truncated", f"the response ended after {len(body.data)} bytes, before its end", head.status)
    event = _read_event(body.data)
    if event.error is not None:
        return failed("engine-error", f"the engine answered with an error: {event.error}", head.status)
    chunks = [(event.completion_tokens if event.completion_tokens is not None else -1, len(reply.times) - 1)]
    return _outcome(reply, head, chunks if event.has_content else [], event.usage)


def _parse_stream(reply: Reply, head: Head, body: framing.Body, max_shapes: int | None) -> Outcome | None:
    found = sse.events(body.data)
    done = next((i for i, (data, _) in enumerate(found) if data == b"[DONE]"), None)
    read = _read_events([data for data, _ in found[:done]], max_shapes)
    if read is None:
        return None
    ends = np.array([end for _, end in found[:done]], dtype=np.int64)
    read_ends = np.cumsum([len(part) for part in reply.parts])
    reads = np.searchsorted(read_ends, body.raw_offset(ends)) if len(ends) else ends
    chunks, usage, error, before = [], None, None, 0
    for event, index in zip(read, reads, strict=False):
        tokens = event.chunk_tokens
        if event.completion_tokens is not None:
            tokens = event.completion_tokens - before
            before = event.completion_tokens
        if event.has_choices and (event.has_content or (tokens or 0) > 0):
            chunks.append((-1 if tokens is None else tokens, int(index)))
        usage = event.usage or usage
        error = error or event.error
    outcome = _outcome(reply, head, chunks, usage)
    if before:
        # The running count outlives a missing last usage event.
        outcome = replace(outcome, output_tokens=before)
    if error is not None:
        return replace(outcome, status="engine-error", error=f"the stream carried an error: {error}")
    if done is None:
        ended = "ended" if body.complete else "broke off"
        return replace(outcome, status="truncated", error=f"the stream {ended} without its end marker [DONE]")
    return outcome


def _outcome(reply: Reply, head: Head, chunks: list[tuple[int, int]], usage: dict[str, Any] | None) -> Outcome:
    usage = usage or {}
    tokens = np.array([count for count, _ in chunks], dtype=np.int32)
    return Outcome(
        status="ok",
        http_status=head.status,
        chunk_s=np.array([reply.times[index] for _, index in chunks], dtype=np.float64),
        chunk_tokens=tokens if tokens.max(initial=0) > np.iinfo(np.int16).max else tokens.astype(np.int16),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count((usage.get("prompt_tokens_details") or {}).get("cached_tokens")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) else -1


def _read_events(found: list[bytes], max_shapes: int | None) -> list[_Event] | None:
    """Every event read, or None when more than `max_shapes` would need JSON."""
    shapes, read = _Shapes(), []
    texts: list[bytes] = []
    for data in found:
        event = shapes.match(data, texts)
        if event is None:
            if max_shapes is not None and shapes.parsed >= max_shapes:
                return None
            event = shapes.learn(data)
        read.append(event)
    _check_texts(texts)
    return read


class _Shapes:
    """Shapes of content events seen so far: the bytes before the text, and those after it with digits zeroed."""

    def __init__(self) -> None:
        self.parsed = 0
        self._prefix = b""
        self._mark = b""
        self._known: dict[bytes, tuple[_Event, slice | None]] = {}

    def match(self, data: bytes, texts: list[bytes]) -> _Event | None:
        """The event, if its shape is known; its text is appended to `texts`, to be checked as JSON strings."""
        start = len(self._prefix)
        if not start or not data.startswith(self._prefix):
            return None
        end = data.find(self._mark, start)
        if end < 0:
            return None
        suffix = data[end:]
        known = self._known.get(suffix.translate(_ZEROED))
        if known is None:
            return None
        model, digits = known
        text = data[start:end]
        texts.append(text)
        return _Event(
            has_content=bool(text),
            has_choices=True,
            completion_tokens=None if digits is None else int(suffix[digits]),
            chunk_tokens=model.chunk_tokens,
            usage=None,
            error=None,
        )

    def learn(self, data: bytes) -> _Event:
        """Reads the event's JSON and, if it is a content event of one choice, remembers its shape."""
        self.parsed += 1
        event, value = _load(data)
        text = _only_text(value)
        if event.has_content is False or text is None or event.error is not None:
            return event
        key, written = text
        field = f'"{key}":'.encode() + json.dumps(written, ensure_ascii=False).encode()
        # The text must be found where the shape says, written as it will be compared.
        if data.count(field) != 1:
            return event
        at = data.index(field) + len(key) + 4
        end = at + len(field) - len(key) - 5
        suffix = data[end:]
        digits = _digits_of(suffix, event.completion_tokens)
        if event.completion_tokens is not None and digits is None:
            return event
        if not self._prefix:
            self._prefix, self._mark = data[:at], suffix[:_MARK_BYTES]
        if data[:at] == self._prefix and suffix[:_MARK_BYTES] == self._mark:
            self._known[suffix.translate(_ZEROED)] = (event, digits)
        return event


def _only_text(value: dict[str, Any]) -> tuple[str, str] | None:
    """Key and text of the one string that a content event carries."""
    choices = value.get("choices") or []
    if len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    part = choices[0].get("delta") or choices[0]
    keys = [key for key in ("text", *_CONTENT_KEYS) if part.get(key)]
    if len(keys) != 1 or not isinstance(part[keys[0]], str):
        return None
    return keys[0], part[keys[0]]


def _digits_of(suffix: bytes, count: int | None) -> slice | None:
    marker = b'"completion_tokens":'
    if count is None or suffix.count(marker) != 1:
        return None
    at = suffix.index(marker) + len(marker)
    digits = b"%d" % count
    return slice(at, at + len(digits)) if suffix[at:].startswith(digits) else None


def _check_texts(texts: list[bytes]) -> None:
    """All texts at once as a JSON array of strings: that many come out if, and only if, each is a JSON string."""
    try:
        read = json.loads(b'["' + b'","'.join(texts) + b'"]') if texts else []
    except ValueError as e:
        raise _MalformedError(f"an event's text is no JSON string: {e}") from e
    if len(read) != len(texts):
        raise _MalformedError("an event's text is no JSON string")


def _read_event(data: bytes) -> _Event:
    return _load(data)[0]


def _load(data: bytes) -> tuple[_Event, dict[str, Any]]:
    try:
        value = json.loads(data)
    except ValueError as e:
        raise _MalformedError(f"an event is no JSON ({e}): {data[:80]!r}") from e
    if not isinstance(value, dict):
        raise _MalformedError(f"an event is no JSON object: {data[:80]!r}")
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else None
    completion = None if usage is None else usage.get("completion_tokens")
    choices = [choice for choice in value.get("choices") or [] if isinstance(choice, dict)]
    event = _Event(
        has_content=any(_has_content(choice) for choice in choices),
        has_choices=bool(choices),
        completion_tokens=completion if isinstance(completion, int) else None,
        chunk_tokens=_listed_tokens(choices),
        usage=usage,
        error=_error_text(data) if value.get("error") is not None else None,
    )
    return event, value


def _has_content(choice: dict[str, Any]) -> bool:
    message = choice.get("delta") or choice.get("message") or {}
    return bool(choice.get("text")) or any(message.get(key) for key in _CONTENT_KEYS)


def _listed_tokens(choices: list[dict[str, Any]]) -> int | None:
    counts = []
    for choice in choices:
        logprobs = choice.get("logprobs") or {}
        listed = choice.get("token_ids") or logprobs.get("tokens") or logprobs.get("content")
        if listed is not None:
            counts.append(len(listed))
    return sum(counts) if counts else None


def _error_text(body: bytes) -> str:
    """The message of an OpenAI-style error body, else the start of the body, on one line."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
        error = value.get("error", value) if isinstance(value, dict) else value
        message = error.get("message", error) if isinstance(error, dict) else error
        text = str(message)
    except ValueError:
        pass
    return " ".join(text.split())[:_MESSAGE_CHARACTERS] or "no message"
