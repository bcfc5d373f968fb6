"""Server-sent events: where each event of a body ends and what data it carries.

The grammar is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream: a byte order
mark at the start counts for nothing, nor do comments, `id`, `retry` and unknown fields, nor a last event that lacks its
blank line. Beyond it, errors are not lost: an event named `error` and a field `error` are given as `{"error": ...}`.
"""

import codecs
import json
import re
from collections.abc import Iterator

import numpy as np

from swiftkv_bench.schema.requests import Int

_SEPARATOR = re.compile(rb"(?>\r\n|\n|\r){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_PLAIN = b"data: "
_LOOK_BYTES = 64
_STARTS = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")


def events(body: bytes, *, first: bool = True) -> tuple[list[bytes], Int]:
    """Data of every complete event that has data, and where each ends in the body (exclusive, with its blank line).

    Left out are also blank data, and named events that are no part of an answer: pings.

    Args:
        first: whether the stream begins with this body.
    """
    if body.endswith(b"\n\n") and body.startswith(_PLAIN) and b"\r" not in body:
        data = body[len(_PLAIN) : -2].split(b"\n\n" + _PLAIN)
        if body.count(b"\n") == 2 * len(data):
            # One line an event, all of it data.
            return data, np.cumsum(np.array([len(one) for one in data], dtype=np.int64) + (len(_PLAIN) + 2))
    found = [(data, end) for data, end in _events(body, len(_mark(body)) if first else 0) if data.strip()]
    return [data for data, _ in found], np.array([end for _, end in found], dtype=np.int64)


def is_stream(body: bytes) -> bool:
    """Whether a body begins as an event stream, whatever its Content-Type says."""
    return body[len(_mark(body)) : _LOOK_BYTES].lstrip().startswith(_STARTS)


def _mark(body: bytes) -> bytes:
    return codecs.BOM_UTF8 if body.startswith(codecs.BOM_UTF8) else b""


def _events(body: bytes, start: int) -> Iterator[tuple[bytes, int]]:
    for separator in _SEPARATOR.finditer(body, start):
        yield _data(_LINE_END.split(body[start : separator.start()])), separator.end()
        start = separator.end()


def _data(lines: list[bytes]) -> bytes:
    """What an event of these lines carries, empty if nothing."""
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        # One space after the colon is not part of the value; a line without a colon is a field without one.
        fields.setdefault(name, []).append(value.removeprefix(b" "))
    data = b"\n".join(fields.get(b"data", []))
    name = fields.get(b"event", [b""])[-1]
    if b"error" in fields:
        return _error(b"\n".join(fields[b"error"]))
    if name == b"error":
        return data if b'"error"' in data else _error(data)
    return data if name in (b"", b"message") or b'"choices"' in data or b'"usage"' in data else b""


def _error(text: bytes) -> bytes:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text.decode("utf-8", "replace")
    return json.dumps({"error": value or "no message"}).encode()
