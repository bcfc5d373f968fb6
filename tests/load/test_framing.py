"""HTTP/1.1 framing: heads, and chunked bodies cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.load.framing import ChunkScanner, FramingError, Head, parse_head, read_body

pieces = st.lists(st.binary(min_size=1, max_size=30) | st.just(b"\r\n") | st.just(b"0\r\n\r\n"), max_size=8)


def chunked(parts: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    return b"".join(b"%X%b\r\n%b\r\n" % (len(p), extension, p) for p in parts) + b"0\r\n" + trailer + b"\r\n"


@given(pieces, st.sampled_from([b"", b";a=b"]), st.sampled_from([b"", b"x: y\r\n"]), st.data())
def test_a_chunked_body_is_read_whatever_is_in_it(
    parts: list[bytes], extension: bytes, trailer: bytes, case: st.DataObject
) -> None:
    raw = b"head" + chunked(parts, extension, trailer)
    body = read_body(raw, Head(200, 4, True, None, "text/event-stream", True), closed=False)
    assert (body.data, body.complete) == (b"".join(parts), True)
    ends = body.piece_ends
    assert ends.tolist() == [len(b"".join(parts[: i + 1])) for i in range(len(parts))]
    for i, part in enumerate(parts):
        assert raw[: body.raw_ends[i]].endswith(part)
    cut = case.draw(st.integers(4, len(raw) - 1))
    assert not read_body(raw[:cut], Head(200, 4, True, None, "text/event-stream", True), closed=True).complete


@given(pieces, st.sampled_from([b"", b"x: y\r\n"]), st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_the_scanner_finds_the_end_at_the_last_byte_and_not_before(
    parts: list[bytes], trailer: bytes, steps: list[int]
) -> None:
    raw = chunked(parts, trailer=trailer)
    scanner, at, i = ChunkScanner(), 0, 0
    while at < len(raw):
        assert not scanner.complete
        step = steps[i % len(steps)]
        scanner.feed(raw[at : at + step])
        at, i = at + step, i + 1
    assert scanner.complete
    assert [raw[a:b] for a, b in scanner.spans] == parts


@pytest.mark.parametrize(
    "raw", [b"5\r\nabcdefgh\r\n", b"3\r\nabcdef\r\n", b"g\r\n", b"-3\r\n", b"1_0\r\n", b"\r\n0\r\n"]
)
def test_wrong_chunk_sizes_are_errors(raw: bytes) -> None:
    with pytest.raises(FramingError, match="the answer has a chunk"):
        ChunkScanner().feed(raw)


@pytest.mark.parametrize(
    ("raw", "head"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Head(200, 19, False, None, "", True)),
        (b"HTTP/1.1 200\r\n\r\n", Head(200, 16, False, None, "", True)),
        (b"HTTP/1.0 200 OK\r\n\r\n", Head(200, 19, False, None, "", False)),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n", Head(200, 38, False, None, "", False)),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", Head(200, 43, False, None, "", True)),
        (b"HTTP/1.1 204 No\r\n\r\n", Head(204, 19, False, 0, "", True)),
        (b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH:5\r\n\r\n", Head(200, 37, False, 5, "", True)),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Type: Text/Event-Stream\r\n\r\n",
            Head(200, 80, True, None, "text/event-stream", True),
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\n\r\n", Head(404, 44, False, None, "", True)),
    ],
)
def test_heads(raw: bytes, head: Head) -> None:
    assert parse_head(raw) == head
    for cut in range(1, len(raw)):
        assert parse_head(raw[:cut]) is None


def test_a_plain_body_is_whole_by_its_length_or_by_the_close() -> None:
    with_length, without = Head(200, 2, False, 3, "", True), Head(200, 2, False, None, "", True)
    assert read_body(b"xxabc", with_length, closed=False).complete
    assert not read_body(b"xxab", with_length, closed=True).complete
    assert read_body(b"xxab", without, closed=True).complete
    assert not read_body(b"xxab", without, closed=False).complete
