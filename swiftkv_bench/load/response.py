"""What a response amounts to: when its chunks with content came, how many tokens they carry, how it ended."""

from array import array
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from swiftkv_bench.load import framing, sse
from swiftkv_bench.load.events import FINISHED, Events, MalformedError, count, load
from swiftkv_bench.load.framing import FramingError, Head
from swiftkv_bench.refusal import said_of
from swiftkv_bench.schema.requests import Float, Int, RequestStatus

ChunkTokens = npt.NDArray[np.int16] | npt.NDArray[np.int32]
_DONE = b"[DONE]"


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
    reasoning_chunks: int = 0
    """How many of the chunks, from the first on, are reasoning and no answer."""
    error: str | None = None
    """One sentence for every status but `ok`."""


class Condensed:
    """The first part of a streamed response, read: its whole chunks of framing with whole events in them."""

    __slots__ = ("bytes", "chunk_s", "chunk_tokens", "events", "head")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.events = Events()
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
    if head is None or not head.ok or not head.event_stream or not head.chunked:
        return None
    chunks = framing.event_chunks(raw, head.body_start)
    if chunks is None:
        return None
    found, raw_ends = chunks
    kept = Condensed(head) if reply.before is None else reply.before
    try:
        read = None if _DONE in found else kept.events.take(found, max_shapes)
    except MalformedError:
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
    if not head.ok:
        return failed("http-error", _refusal(raw, head, body), head.status)
    try:
        if reply.before is not None or _is_stream(head, body):
            return _parse_stream(reply, head, body, max_shapes)
        return _parse_whole(reply, head, body)
    except MalformedError as e:
        return failed("malformed", str(e), head.status)


def last_content_s(reply: Reply) -> float | None:
    """When the last chunk with content came of a reply that is under way; None before the first. Changes nothing."""
    outcome = parse(replace(reply, before=deepcopy(reply.before)))
    return None if outcome is None or not len(outcome.chunk_s) else float(outcome.chunk_s[-1])


def _is_stream(head: Head, body: framing.Body) -> bool:
    """By what it looks like: proxies and servers write either with the other's Content-Type."""
    return sse.is_stream(body.data) or (head.event_stream and not body.data.lstrip().startswith(b"{"))


def _refusal(raw: bytes, head: Head, body: framing.Body) -> str:
    to = framing.location(raw, head) if 300 <= head.status < 400 else None
    if to is not None:
        return f"HTTP {head.status}: the server redirects to {to}; give that address"
    return f"HTTP {head.status}: {said_of(body.data)}"


def _parse_whole(reply: Reply, head: Head, body: framing.Body) -> Outcome:
    if not body.complete:
        return failed("truncated", f"the response ended after {len(body.data)} bytes, before its end", head.status)
    try:
        event, _ = load(body.data)
    except MalformedError as e:
        kind = head.content_type or "something without a Content-Type"
        text = f"the server answered {kind} and no event stream: {said_of(body.data)}; is it an OpenAI-compatible API?"
        raise MalformedError(text) from e
    times = np.array(reply.times[-1:]) if event.has_content else np.empty(0)
    outcome = _outcome(head, times, np.full(len(times), event.completion_tokens), event.usage)
    return _judged(outcome, event.error, event.finish_reason, whole=True)


def _parse_stream(reply: Reply, head: Head, body: framing.Body, max_shapes: int | None) -> Outcome | None:
    before = reply.before
    found, ends = sse.events(body.data, first=before is None)
    done = _DONE in found
    if done:
        found = found[: found.index(_DONE)]
    events = Events() if before is None else before.events
    read = events.take(found, max_shapes)
    if read is None:
        return None
    tokens, chunk = read
    chunk_s = _read_times(reply, body.raw_offset(ends[chunk])) if len(chunk) else np.empty(0)
    if before is not None:
        chunk_s = np.concatenate([np.frombuffer(before.chunk_s), chunk_s])
        tokens = np.concatenate([np.frombuffer(before.chunk_tokens, dtype=np.intc), tokens])
    outcome = replace(
        _outcome(head, chunk_s, tokens, events.usage),
        output_tokens=events.output_tokens,
        reasoning_chunks=events.reasoning,
    )
    return _judged(outcome, events.error, events.finish_reason, whole=done or body.complete)


def _judged(outcome: Outcome, error: str | None, finish_reason: str | None, *, whole: bool) -> Outcome:
    """The outcome with how its answer ended: only a whole one that says why it is finished is `ok`."""
    if error is not None:
        return replace(outcome, status="engine-error", error=f"the engine answered with an error: {error}")
    if finish_reason is not None and finish_reason not in FINISHED:
        text = f"the engine ended the answer with finish_reason {finish_reason!r}"
        return replace(outcome, status="engine-error", error=text)
    if not whole:
        return replace(outcome, status="truncated", error="the stream broke off before its end")
    if finish_reason is None:
        return replace(outcome, status="truncated", error="the stream ended without a finish_reason")
    return outcome


def _read_times(reply: Reply, ends: Int) -> Float:
    """When the read came that brought the byte before each offset in what was received."""
    read_ends = np.cumsum(list(map(len, reply.parts)))
    return np.array(reply.times, dtype=np.float64)[np.searchsorted(read_ends, ends)]


def _outcome(head: Head, chunk_s: Float, tokens: Int, usage: dict[str, Any] | None) -> Outcome:
    usage = usage or {}
    details = usage.get("prompt_tokens_details")
    wide = bool(tokens.max(initial=0) > np.iinfo(np.int16).max)
    return Outcome(
        status="ok",
        http_status=head.status,
        chunk_s=chunk_s,
        chunk_tokens=tokens.astype(np.int32) if wide else tokens.astype(np.int16),
        prompt_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        cached_tokens=count(details.get("cached_tokens") if isinstance(details, dict) else None),
    )
