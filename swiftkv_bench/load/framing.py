"""HTTP/1.1 response framing: head, chunked and plain bodies, and which read completed which byte."""

import re
from dataclasses import dataclass

import numpy as np

from swiftkv_bench.schema.requests import Int

_HEAD_END = b"\r\n\r\n"
_DATA = b"\r\ndata: "
_EVENT_END = b"\n\n\r\n"
_AROUND_DATA = len(b"data: \n\n")
_LOCATION = re.compile(rb"^location:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_HEX_DIGITS = b"0123456789abcdefABCDEF"


class FramingError(ValueError):
    """Bytes that are no HTTP/1.1 response."""


@dataclass(frozen=True)
class Head:
    """What of a response head matters here."""

    status: int
    body_start: int
    """Offset of the first body byte."""
    chunked: bool
    length: int | None
    """Content-Length; None when absent or chunked."""
    content_type: str
    """As the server says it, in small letters; empty without one."""
    keep_alive: bool

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    @property
    def event_stream(self) -> bool:
        """Whether the body is called an event stream."""
        return self.content_type.startswith("text/event-stream")


@dataclass(frozen=True)
class Body:
    """A body without its framing. Offsets are ascending."""

    data: bytes
    piece_ends: Int
    """shape (pieces,): where each chunk of the framing ends in `data`."""
    raw_ends: Int
    """shape (pieces,): where its data ends in the response as received."""
    complete: bool
    """Whether the framing was brought to its end."""

    def raw_offset(self, end: Int) -> Int:
        """Offsets in the response of the bytes that end at `end` (exclusive) in `data`; same shape."""
        piece = np.searchsorted(self.piece_ends, end)
        return np.asarray(self.raw_ends[piece] - (self.piece_ends[piece] - end), dtype=np.int64)


def parse_head(raw: bytes) -> Head | None:
    """The head of a response, informational (1xx) ones skipped; None while it is incomplete.

    Raises:
        FramingError: the bytes are not HTTP/1.x.
    """
    start = 0
    while True:
        if raw[start : start + 7] != b"HTTP/1."[: len(raw) - start]:
            raise FramingError(f"the answer is no HTTP/1.1 response: {raw[start : start + 40]!r}")
        end = raw.find(_HEAD_END, start)
        if end < 0:
            return None
        lines = raw[start:end].decode("latin-1").split("\r\n")
        status = _status(lines[0])
        if status >= 200:
            return _head(status, lines, end + len(_HEAD_END))
        start = end + len(_HEAD_END)


def _status(line: str) -> int:
    fields = line.split(" ", 2)
    if len(fields) < 2 or not (fields[1].isdigit() and len(fields[1]) == 3):
        raise FramingError(f"the answer has no HTTP status: {line[:60]!r}")
    return int(fields[1])


def _head(status: int, lines: list[str], body_start: int) -> Head:
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip().lower()
    chunked = fields.get("transfer-encoding", "").endswith("chunked")
    length = fields.get("content-length")
    if length is not None and not length.isdigit():
        raise FramingError(f"the answer has a Content-Length that is no number: {length[:40]!r}")
    connection = fields.get("connection", "keep-alive" if lines[0].startswith("HTTP/1.1") else "close")
    return Head(
        status=status,
        body_start=body_start,
        chunked=chunked,
        length=0 if status in (204, 304) else None if chunked or length is None else int(length),
        content_type=fields.get("content-type", ""),
        keep_alive="close" not in connection,
    )


def location(raw: bytes, head: Head) -> str | None:
    """Where a response redirects to, as it is written; None when it does not say."""
    found = _LOCATION.search(raw, 0, head.body_start)
    return None if found is None else found.group(1).decode("latin-1").strip()


def read_body(raw: bytes, head: Head, *, closed: bool) -> Body:
    """Takes the framing off a response.

    Args:
        closed: whether the server closed the connection after it, which is what ends a body without a length.

    Raises:
        FramingError: a chunk size is no number or a chunk does not end where it says.
    """
    if head.chunked:
        return _split_chunks(raw, head.body_start) or _walk_chunks(raw, head.body_start)
    length = len(raw) - head.body_start if head.length is None else head.length
    data = raw[head.body_start : head.body_start + length]
    complete = closed if head.length is None else len(data) == head.length
    return Body(data, np.array([len(data)]), np.array([head.body_start + len(data)]), complete)


def event_chunks(raw: bytes, start: int) -> tuple[list[bytes], Int] | None:
    """What each chunk's event says and where the event ends in the response, of a body of one-line events.

    That is what servers write: each chunk of the framing is one event `data: ...`, its line ends in LF. None where the
    bytes from `start` on are something else, an incomplete chunk or the last one.
    """
    pieces = raw[start:].replace(_DATA, _EVENT_END).split(_EVENT_END)
    sizes, found = pieces[0:-1:2], pieces[1:-1:2]
    n = len(found)
    if pieces[-1] != b"" or len(sizes) != n or raw.count(b"\n", start) != 4 * n or raw.count(b"\r", start) != 2 * n:
        return None
    lengths = list(map(len, found))
    try:
        value = {size: int(size, 16) - _AROUND_DATA for size in set(sizes)}
    except ValueError:
        return None
    if [value[size] for size in sizes] != lengths:
        return None
    steps = np.array(lengths, dtype=np.int64) + np.array(list(map(len, sizes)), dtype=np.int64)
    return found, start + np.cumsum(steps + (len(_DATA) + len(_EVENT_END))) - len(b"\r\n")


def _split_chunks(raw: bytes, start: int) -> Body | None:
    # A complete body whose data has no CRLF alternates size, data, size, data, ..., 0, "", "".
    fields = raw[start:].split(b"\r\n")
    if len(fields) < 3 or len(fields) % 2 == 0 or fields[-3:] != [b"0", b"", b""]:
        return None
    sizes, pieces = fields[0:-3:2], fields[1:-3:2]
    lengths = list(map(len, pieces))
    try:
        value = {size: int(size, 16) for size in set(sizes)}
    except ValueError:
        return None
    if [value[size] for size in sizes] != lengths:
        return None
    piece_ends = np.cumsum(np.array(lengths, dtype=np.int64))
    heads = np.array(list(map(len, sizes)), dtype=np.int64) + 4
    raw_ends = start + piece_ends + np.cumsum(heads) - 2
    return Body(b"".join(pieces), piece_ends, raw_ends, True)


def _walk_chunks(raw: bytes, start: int) -> Body:
    scanner = ChunkScanner()
    scanner.feed(raw[start:])
    spans = scanner.spans
    pieces = [raw[start + begin : start + end] for begin, end in spans]
    piece_ends = np.cumsum(np.array([len(piece) for piece in pieces], dtype=np.int64))
    # A chunk that was cut off ends where the bytes do.
    raw_ends = np.array([min(start + end, len(raw)) for _, end in spans], dtype=np.int64)
    return Body(b"".join(pieces), piece_ends, raw_ends, scanner.complete)


class ChunkScanner:
    """Finds the end of a chunked body in bytes that arrive piece by piece; linear in their number."""

    def __init__(self) -> None:
        self.complete = False
        self.spans: list[tuple[int, int]] = []
        """Where the data of each chunk lies, from the first byte fed."""
        self._rest = b""
        self._skip = 0
        self._seen = 0
        self._in_data = False
        """Whether the next line ends a chunk's data."""
        self._in_trailer = False

    def feed(self, data: bytes) -> bool:
        """Takes further bytes; whether the body is complete.

        Raises:
            FramingError: a chunk size is no number or a chunk does not end where it says.
        """
        buffer = self._rest + data
        base = self._seen - len(self._rest)
        self._seen += len(data)
        at = 0
        while not self.complete:
            if self._skip:
                taken = min(self._skip, len(buffer) - at)
                self._skip -= taken
                at += taken
                if self._skip:
                    break
            end = buffer.find(b"\r\n", at)
            if end < 0:
                break
            line, at = buffer[at:end], end + 2
            self._take_line(line, base + at)
        self._rest = buffer[at:]
        return self.complete

    def _take_line(self, line: bytes, at: int) -> None:
        if self._in_trailer:
            self.complete = not line
            return
        if self._in_data:
            if line:
                raise FramingError(f"the answer has a chunk longer than its size says: {line[:40]!r}")
            self._in_data = False
            return
        size = _hex(line.split(b";", 1)[0].strip())
        if size == 0:
            self._in_trailer = True
            return
        self.spans.append((at, at + size))
        self._skip = size
        self._in_data = True


def _hex(digits: bytes) -> int:
    # int() takes signs, underscores and blanks as well.
    if not digits or digits.strip(_HEX_DIGITS):
        raise FramingError(f"the answer has a chunk size that is no number: {digits[:40]!r}")
    return int(digits, 16)
