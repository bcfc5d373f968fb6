"""Server-sent events, compared with a reader that goes line by line as the standard tells."""

import re

from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.load.sse import events

LINES = st.sampled_from([b"data: a", b"data", b"data:b", b"data:", b"data:  c", b": note", b"id: 1", b"retry", b""])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def by_the_standard(body: bytes) -> list[bytes]:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation, `data` only."""
    found: list[bytes] = []
    values: list[bytes] = []
    for line in re.findall(rb"([^\r\n]*)(?:\r\n|\n|\r)", body):
        if line == b"":
            # Blank data says nothing here.
            if b"\n".join(values).strip():
                found.append(b"\n".join(values))
            values = []
        elif line == b"data" or line.startswith(b"data:"):
            values.append(line[5:].removeprefix(b" "))
    return found


@given(st.lists(LINES, max_size=12), ENDS)
def test_events_are_those_of_the_standard(lines: list[bytes], end: bytes) -> None:
    body = b"".join(line + end for line in lines)
    assert events(body)[0] == by_the_standard(body)


@given(st.lists(LINES, max_size=12), ENDS)
def test_an_event_ends_with_its_blank_line(lines: list[bytes], end: bytes) -> None:
    body = b"".join(line + end for line in lines)
    found, ends = events(body)
    for i, at in enumerate(ends.tolist()):
        assert len(events(body[:at])[0]) == i + 1
        assert len(events(body[: at - len(end)])[0]) == i
    assert len(found) == len(ends)
