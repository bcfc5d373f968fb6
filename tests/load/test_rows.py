"""Rows: filled in any order, read by number."""

import itertools

import numpy as np

from swiftkv_bench.load.response import Reply
from swiftkv_bench.load.rows import Rows
from swiftkv_bench.schema.requests import STATUS
from tests.load.streams import END, completion, data, framed


def reply(*counts: int) -> Reply:
    """A stream whose chunks have these running counts; each event is a read, at 1, 2, ... seconds after 100."""
    events = [(data(completion("x" * count, count)), True) for count in counts]
    raw = framed([*events, (END, False)])
    cuts = [0, *(end + 2 for end in raw.content_ends), len(raw.raw)]
    parts = [raw.raw[a:b] for a, b in itertools.pairwise(cuts)]
    return Reply(parts, [100.0 + i for i in range(1, len(parts) + 1)])


def test_rows_are_read_by_number_whatever_the_order_of_their_ends() -> None:
    rows = Rows()
    rows.add(2, (102.0, 102.5, 109.0), reply(1, 2, 3), None, 10)
    rows.add(0, (100.0, 100.5, 104.0), reply(2, 40_002), None, 10)
    rows.add(1, (101.0, float("nan"), 103.0), Reply([], []), ("connect-error", "nobody there"), 10)
    found = rows.columns(100.0)
    assert (len(rows), rows.failed) == (3, 1)
    assert [STATUS[code] for code in found["status"]] == ["ok", "connect-error", "ok"]
    assert found["errors"] == {1: "nobody there"}
    assert found["scheduled_s"].tolist() == [0.0, 1.0, 2.0]
    assert np.isnan(found["sent_s"]).tolist() == [False, True, False]
    assert found["output_tokens"].tolist() == [40_002, -1, 3]
    spans = zip(found["chunk_begin"], found["chunk_count"], strict=True)
    chunks = [(found["chunk_s"][a : a + n].tolist(), found["chunk_tokens"][a : a + n].tolist()) for a, n in spans]
    assert chunks == [([1.0, 2.0], [2, 40_000]), ([], []), ([1.0, 2.0, 3.0], [1, 1, 1])]


def test_a_reply_that_needs_more_json_is_read_at_the_end() -> None:
    rows = Rows()
    rows.add(1, (0.0, 0.0, 9.0), reply(1, 2), None, 0)
    rows.add(0, (0.0, 0.0, 9.0), reply(3), None, 10)
    found = rows.columns(0.0)
    assert found["status"].tolist() == [0, 0]
    assert (found["chunk_count"].tolist(), found["chunk_begin"].tolist()) == ([1, 2], [0, 1])
    assert found["chunk_tokens"].tolist() == [3, 1, 1]


def test_no_rows_are_empty_columns() -> None:
    found = Rows().columns(5.0)
    assert (found["chunk_s"].tolist(), found["status"].tolist(), found["errors"]) == ([], [], {})
