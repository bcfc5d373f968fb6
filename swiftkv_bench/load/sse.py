"""Server-sent events: where each event of a body ends and what data it carries.

The grammar is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream.
"""

import re
from itertools import accumulate

_SEPARATOR = re.compile(rb"(?>\r\n|\n|\r){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_PLAIN = b"data: "


def events(body: bytes) -> list[tuple[bytes, int]]:
    """Data and end offset (exclusive, its blank line included) of every complete event that has data.

    Comments, fields other than `data` and a last event without its blank line are left out.
    """
    if b"\r" in body:
        return _events(_split(body))
    pieces = body.split(b"\n\n")
    ends = accumulate(len(piece) + 2 for piece in pieces)
    pieces.pop()
    return _events(list(zip(pieces, ends, strict=False)))


def _split(body: bytes) -> list[tuple[bytes, int]]:
    pieces, start = [], 0
    for separator in _SEPARATOR.finditer(body):
        pieces.append((body[start : separator.start()], separator.end()))
        start = separator.end()
    return pieces


def _events(pieces: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
    found = []
    for piece, end in pieces:
        if piece.startswith(_PLAIN) and b"\n" not in piece and b"\r" not in piece:
            found.append((piece[6:], end))
            continue
        data = _data(piece)
        if data is not None:
            found.append((data, end))
    return found


def _data(event: bytes) -> bytes | None:
    lines = []
    for line in _LINE_END.split(event):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(_PLAIN) else line[5:])
    return b"\n".join(lines) if lines else None
