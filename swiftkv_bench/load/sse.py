"""Server-sent events: where each event of a body ends and what data it carries.

The grammar is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream.
"""

import re
from collections.abc import Iterator

import numpy as np

from swiftkv_bench.schema.requests import Int

_SEPARATOR = re.compile(rb"(?>\r\n|\n|\r){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_PLAIN = b"data: "


def events(body: bytes) -> tuple[list[bytes], Int]:
    """Data of every complete event that has data, and where each ends in the body (exclusive, with its blank line).

    Comments, fields other than `data` and a last event without its blank line are left out.
    """
    if body.endswith(b"\n\n") and body.startswith(_PLAIN) and b"\r" not in body:
        data = body[len(_PLAIN) : -2].split(b"\n\n" + _PLAIN)
        if body.count(b"\n") == 2 * len(data):
            # One line an event, all of it data.
            return data, np.cumsum(np.array([len(one) for one in data], dtype=np.int64) + (len(_PLAIN) + 2))
    found = [(data, end) for data, end in _events(body) if data is not None]
    return [data for data, _ in found], np.array([end for _, end in found], dtype=np.int64)


def _events(body: bytes) -> Iterator[tuple[bytes | None, int]]:
    start = 0
    for separator in _SEPARATOR.finditer(body):
        lines = _LINE_END.split(body[start : separator.start()])
        # One space after the colon is not part of the value.
        values = [line[6 if line.startswith(_PLAIN) else 5 :] for line in lines if line.startswith(b"data:")]
        yield b"\n".join(values) if values else None, separator.end()
        start = separator.end()
