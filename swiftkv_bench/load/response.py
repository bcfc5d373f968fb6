"""What a response says: when its chunks with content came, how many tokens they carry, how it ended.

A streamed response is hundreds of events that differ in a text and a few digits. JSON is parsed once for every
distinct shape of event; the others are compared with it byte by byte, which decides the same.
"""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from swiftkv_bench.load import framing, sse
from swiftkv_bench.load.framing import FramingError, Head
from swiftkv_bench.schema.requests import Float, Int, RequestStatus

ChunkTokens = npt.NDArray[np.int16] | npt.NDArray[np.int32]
_CONTENT_KEYS = ("content", "reasoning_content", "reasoning", "tool_calls")
_MESSAGE_CHARACTERS = 300
_MARK_BYTES = 12
_DONE = b"[DONE]"
_NONE = -1
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
    before: "Condensed | None" = None
    """What was read before `parts` and is kept in short."""


@dataclass(frozen=True, slots=True)
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
    completion_tokens: int
    """Running count from usage, `_NONE` without."""
    chunk_tokens: int
    """Tokens that the chunk itself lists, `_NONE` if it does not."""
    usage: dict[str, Any] | None
    error: str | None


class _MalformedError(ValueError):
    pass


class Condensed:
    """The first part of a streamed response, read: its whole chunks of framing with whole events in them."""

    __slots__ = ("bytes", "chunk_s", "chunk_tokens", "events", "head")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.events = _Events()
        self.chunk_s = array("d")
        self.chunk_tokens = array("i")
        self.bytes = 0
        """How much was condensed."""


def failed(status: RequestStatus, error: str, http_status: int = -1) -> Outcome:
    """The outcome of a request that has no usable response."""
    return Outcome(status, http_status, np.empty(0), np.empty(0, dtype=np.int16), error=error)


def condense(reply: Reply, max_shapes: int) -> Condensed | None:
    """The reply in short, to be followed by further reads; None where it is not whole one-line events, one a chunk.

    A raw stream takes some 100 times the memory of what it says. `reply.before` is changed and must not be used after.

    Args:
        max_shapes: gives up when more distinct shapes of events than this need JSON parsing.
    """
    raw = b"".join(reply.parts)
    try:
        head = framing.parse_head(raw) if reply.before is None else replace(reply.before.head, body_start=0)
    except FramingError:
        return None
    if head is None or head.status != 200 or not head.event_stream or not head.chunked:
        return None
    chunks = framing.event_chunks(raw, head.body_start)
    if chunks is None:
        return None
    found, raw_ends = chunks
    kept = Condensed(head) if reply.before is None else reply.before
    try:
        read = None if _DONE in found else kept.events.take(found, max_shapes)
    except _MalformedError:
        return None
    if read is None:
        return None
    tokens, chunk = read
    kept.chunk_s.frombytes(_read_times(reply, raw_ends[chunk]).tobytes())
    kept.chunk_tokens.frombytes(tokens.astype(np.intc).tobytes())
    kept.bytes += len(raw)
    return kept


def parse(reply: Reply, *, max_shapes: int | None = None) -> Outcome | None:
    """What a reply says. A chunk has content when its text is non-empty or the server counts tokens in it.

    Args:
        max_shapes: gives up, with None, when more distinct shapes of events than this would need JSON parsing.
    """
    raw = b"".join(reply.parts)
    try:
        head = framing.parse_head(raw) if reply.before is None else replace(reply.before.head, body_start=0)
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
    event, _ = _load(body.data)
    if event.error is not None:
        return failed("engine-error", f"the engine answered with an error: {event.error}", head.status)
    times = np.array(reply.times[-1:]) if event.has_content else np.empty(0)
    return _outcome(head, times, np.full(len(times), event.completion_tokens), event.usage)


def _parse_stream(reply: Reply, head: Head, body: framing.Body, max_shapes: int | None) -> Outcome | None:
    found, ends = sse.events(body.data)
    done = _DONE in found
    if done:
        found = found[: found.index(_DONE)]
    before = reply.before
    events = _Events() if before is None else before.events
    read = events.take(found, max_shapes)
    if read is None:
        return None
    tokens, chunk = read
    chunk_s = _read_times(reply, body.raw_offset(ends[chunk])) if len(chunk) else np.empty(0)
    if before is not None:
        chunk_s = np.concatenate([np.frombuffer(before.chunk_s), chunk_s])
        tokens = np.concatenate([np.frombuffer(before.chunk_tokens, dtype=np.intc), tokens])
    outcome = _outcome(head, chunk_s, tokens, events.usage)
    if events.total:
        # The running count outlives a missing last usage event.
        outcome = replace(outcome, output_tokens=events.total)
    if events.error is not None:
        return replace(outcome, status="engine-error", error=f"the stream carried an error: {events.error}")
    if not done:
        ended = "ended" if body.complete else "broke off"
        return replace(outcome, status="truncated", error=f"the stream {ended} without its end marker [DONE]")
    return outcome


def _read_times(reply: Reply, ends: Int) -> Float:
    """When the read came that brought the byte before each offset in what was received."""
    read_ends = np.cumsum(list(map(len, reply.parts)))
    return np.array(reply.times, dtype=np.float64)[np.searchsorted(read_ends, ends)]


def _outcome(head: Head, chunk_s: Float, tokens: Int, usage: dict[str, Any] | None) -> Outcome:
    usage = usage or {}
    wide = bool(tokens.max(initial=0) > np.iinfo(np.int16).max)
    return Outcome(
        status="ok",
        http_status=head.status,
        chunk_s=chunk_s,
        chunk_tokens=tokens.astype(np.int32) if wide else tokens.astype(np.int16),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count((usage.get("prompt_tokens_details") or {}).get("cached_tokens")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) else _NONE


class _Events:
    """What the events of one response say, taken in one or several times.

    A shape of content event is the bytes before its text and those after it with every digit zeroed. The first of a
    shape is read as JSON; another that has the same bytes, and a text that is a JSON string, is JSON as well, and
    differs in nothing but its text and digits.
    """

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None
        self.error: str | None = None
        self.total = 0
        """The last running count of output tokens, 0 if there was none."""
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
        self.usage = read.usage or self.usage
        self.error = self.error or read.error
        running, tokens = np.array(read.running, dtype=np.int64), np.array(read.listed, dtype=np.int64)
        counted = np.flatnonzero(running >= 0)
        if len(counted):
            tokens[counted] = np.diff(running[counted], prepend=self.total)
            self.total = int(running[counted[-1]])
        chunk = np.flatnonzero(np.array(read.content, dtype=np.bool_) | (tokens > 0))
        return tokens[chunk], chunk

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
                    running(_NONE if digits is None else int(rest[digits]))
                    listed(tokens)
                    continue
            if loaded == max_shapes:
                return False
            loaded += 1
            self._load(data, read)
        return True

    def _load(self, data: bytes, read: "_Read") -> None:
        """Reads one event as JSON."""
        event, value = _load(data)
        read.content.append(event.has_content)
        # Without choices it is a summary: the usage event that ends the stream.
        read.running.append(event.completion_tokens if event.has_choices else _NONE)
        read.listed.append(event.chunk_tokens)
        read.usage = event.usage or read.usage
        read.error = read.error or event.error
        text = _only_text(value)
        if text is not None and event.error is None:
            self._learn(data, event, *text)

    def _learn(self, data: bytes, event: _Event, key: str, text: str) -> None:
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
        self._prefix, self._mark = prefix, mark
        self._known[after.translate(_ZEROED)] = (digits, event.chunk_tokens)


class _Read:
    """Some events, one element an event; `_NONE` where an event does not say it."""

    __slots__ = ("content", "error", "listed", "running", "texts", "usage")

    def __init__(self) -> None:
        self.content: list[bool] = []
        self.running: list[int] = []
        self.listed: list[int] = []
        self.texts: list[bytes] = []
        """What stood in the place of a text where the rest was compared; to be JSON strings."""
        self.usage: dict[str, Any] | None = None
        self.error: str | None = None


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
        completion_tokens=_count(completion),
        chunk_tokens=_listed_tokens(choices),
        usage=usage,
        error=_error_text(data) if value.get("error") is not None else None,
    )
    return event, value


def _has_content(choice: dict[str, Any]) -> bool:
    message = choice.get("delta") or choice.get("message") or {}
    return bool(choice.get("text")) or any(message.get(key) for key in _CONTENT_KEYS)


def _listed_tokens(choices: list[dict[str, Any]]) -> int:
    counts = []
    for choice in choices:
        logprobs = choice.get("logprobs") or {}
        listed = choice.get("token_ids") or logprobs.get("tokens") or logprobs.get("content")
        if listed is not None:
            counts.append(len(listed))
    return sum(counts) if counts else _NONE


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
