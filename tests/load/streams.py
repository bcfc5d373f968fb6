"""Streamed responses built byte by byte, with where each chunk of content ends: what parsing is compared with."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
END = b'data: {"choices":[{"index":0,"text":"","finish_reason":"stop"}]}\n\n' + DONE
"""How a whole answer ends: why, without content, and the end marker."""


def data(value: object, newline: bytes = b"\n", **dumps: Any) -> bytes:
    """One event of JSON."""
    return b"data: " + json.dumps(value, **dumps).encode() + 2 * newline


def completion(text: str, tokens: int | None = None, prompt: int = 7, **choice: Any) -> dict[str, Any]:
    """A chunk of /v1/completions as vLLM writes it; `tokens` so far in its running usage, None without one."""
    value: dict[str, Any] = {
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": None, **choice}],
    }  # fmt: skip
    return value if tokens is None else {**value, "usage": usage(tokens, prompt)}


def chat(delta: dict[str, Any], tokens: int | None = None, prompt: int = 7) -> dict[str, Any]:
    """A chunk of /v1/chat/completions."""
    value: dict[str, Any] = {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }  # fmt: skip
    return value if tokens is None else {**value, "usage": usage(tokens, prompt)}


def usage(tokens: int, prompt: int = 7) -> dict[str, int]:
    """A usage object."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + tokens, "completion_tokens": tokens}


def last(tokens: int, prompt: int = 7) -> dict[str, Any]:
    """The usage event that ends a stream."""
    return {"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": [], "usage": usage(tokens, prompt)}


def chunk(piece: bytes) -> bytes:
    """A piece of a body in chunked framing."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@dataclass
class Written:
    """A response as bytes. `content_ends`: where in them each event with content is complete."""

    raw: bytes = b""
    content_ends: list[int] = field(default_factory=list)


def framed(events: Sequence[tuple[bytes, bool]], cuts: Sequence[int] | None = None, trailer: bytes = b"") -> Written:
    """Events, each with whether it has content, in chunked framing.

    Args:
        cuts: where the framing cuts the body; None: after every event.
    """
    body = b"".join(event for event, _ in events)
    ends, at = [], 0
    for event, has_content in events:
        at += len(event)
        if has_content:
            ends.append(at)
    if cuts is None:
        cuts, at = [], 0
        for event, _ in events:
            at += len(event)
            cuts.append(at)
    edges = sorted({0, len(body), *cuts})
    written, raw_end = Written(HEAD + CHUNKED), {}
    for start, stop in itertools.pairwise(edges):
        begin = len(written.raw) + len(b"%x\r\n" % (stop - start))
        raw_end.update({end: begin + end - start for end in ends if start < end <= stop})
        written.raw += chunk(body[start:stop])
    written.raw += b"0\r\n" + trailer + b"\r\n"
    written.content_ends = [raw_end[end] for end in ends]
    return written


def plain(events: Sequence[tuple[bytes, bool]], *, with_length: bool) -> Written:
    """The same in a plain body, which ends by its length or with the connection."""
    body = b"".join(event for event, _ in events)
    head = HEAD + (b"content-length: %d\r\n\r\n" % len(body) if with_length else b"connection: close\r\n\r\n")
    written, at = Written(head + body), len(head)
    for event, has_content in events:
        at += len(event)
        if has_content:
            written.content_ends.append(at)
    return written


def reads(raw: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The bytes as reads that are cut at the given offsets."""
    edges = sorted({0, len(raw), *(cut for cut in cuts if 0 < cut < len(raw))})
    return [raw[start:stop] for start, stop in itertools.pairwise(edges)]


def read_of(ends: Sequence[int], cuts: Sequence[int], length: int) -> list[int]:
    """Number of the read that brings the byte before each offset."""
    edges = sorted({0, length, *(cut for cut in cuts if 0 < cut < length)})
    return [next(i for i, stop in enumerate(edges[1:]) if end <= stop) for end in ends]
