"""What is read out of a response: times, tokens, ends and errors, however its bytes were cut."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.load import sse
from swiftkv_bench.load.response import Outcome, Reply, condense, parse
from tests.load import streams
from tests.load.streams import DONE, END, Written, chat, completion, data, framed, last, plain, read_of, reads

KEYS = [
    "choices", "text", "delta", "message", "content", "reasoning_content", "tool_calls", "logprobs", "tokens",
    "token_ids", "usage", "completion_tokens", "prompt_tokens", "prompt_tokens_details", "cached_tokens", "error",
]  # fmt: skip
WORDS = ["Wie", ' "geht"', " es\\n", " dir", " \u00fc\U0001f600", " 0\r\n\r\n", " ?"]


def outcome(raw: bytes, cuts: Sequence[int] = (), *, closed: bool = False) -> Outcome:
    """The response parsed; read number i came at i + 1 seconds."""
    parts = reads(raw, cuts)
    found = parse(Reply(parts, [float(i + 1) for i in range(len(parts))], closed))
    assert found is not None
    return found


def stream(*events: bytes, done: bool = True) -> Written:
    """All given events have content."""
    return framed([*((event, True) for event in events), *([(END, False)] if done else [])])


def words(count: bool = True) -> list[tuple[bytes, bool]]:
    """A whole stream of `WORDS`, one token each."""
    events = [(data(completion(word, i + 1 if count else None)), True) for i, word in enumerate(WORDS)]
    return [*events, (data(last(len(WORDS))), False), (END, False)]


@pytest.mark.parametrize("count", [True, False])
@pytest.mark.parametrize("form", ["chunked", "one chunk", "length", "closed"])
def test_a_stream_cut_at_any_byte_says_the_same(form: str, count: bool) -> None:
    events = words(count)
    written = {
        "chunked": framed(events),
        "one chunk": framed(events, cuts=[]),
        "length": plain(events, with_length=True),
        "closed": plain(events, with_length=False),
    }[form]
    for cut in range(1, len(written.raw)):
        found = outcome(written.raw, [cut], closed=form == "closed")
        assert (found.status, found.http_status, found.error) == ("ok", 200, None)
        assert found.chunk_s.tolist() == [1.0 if end <= cut else 2.0 for end in written.content_ends]
        assert found.chunk_tokens.tolist() == ([1] if count else [-1]) * len(WORDS)
        assert (found.prompt_tokens, found.output_tokens, found.cached_tokens) == (7, len(WORDS), -1)


@st.composite
def streams_in_pieces(draw: st.DrawFn) -> tuple[Written, list[int], list[int], list[int]]:
    """A stream with anything in it that a server may put there; cuts of its reads; tokens a chunk; times."""
    newline = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    as_chat, counted = draw(st.booleans()), draw(st.booleans())
    separators = draw(st.sampled_from([None, (",", ":")]))
    ascii_only = draw(st.booleans())
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    events: list[tuple[bytes, bool]] = []
    tokens: list[int] = []
    total = 0
    if as_chat:
        role = chat({"role": "assistant", "content": ""}, 0 if counted else None)
        events.append((data(role, newline), False))
    for part, size in draw(st.lists(st.tuples(text, st.integers(1, 5)), max_size=8)):
        if draw(st.booleans()):
            events.append((b": keep-alive" + 2 * newline, False))
        total += size
        key = draw(st.sampled_from(["content", "reasoning_content"]))
        value = chat({key: part}, total) if as_chat else completion(part, total)
        if not counted:
            del value["usage"]
        has_content = counted or part != ""
        events.append((data(value, newline, separators=separators, ensure_ascii=ascii_only), has_content))
        if has_content:
            tokens.append(size if counted else -1)
    events += [(data(last(total), newline), False), (END.replace(b"\n", newline), False)]
    body = sum(len(event) for event, _ in events)
    written = framed(events, draw(st.none() | st.lists(st.integers(1, body), max_size=12)))
    cuts = draw(st.lists(st.integers(1, len(written.raw) - 1), max_size=12))
    return written, cuts, tokens, [total]


@given(streams_in_pieces())
def test_any_stream_in_any_pieces_gives_its_times_and_tokens(
    case: tuple[Written, list[int], list[int], list[int]],
) -> None:
    written, cuts, tokens, (total,) = case
    found = outcome(written.raw, cuts)
    assert (found.status, found.output_tokens, found.prompt_tokens) == ("ok", total, 7)
    assert found.chunk_s.tolist() == [i + 1.0 for i in read_of(written.content_ends, cuts, len(written.raw))]
    assert found.chunk_tokens.tolist() == tokens


@given(streams_in_pieces())
def test_a_bound_on_parsing_gives_up_or_says_the_same(case: tuple[Written, list[int], list[int], list[int]]) -> None:
    written, cuts, _, _ = case
    parts = reads(written.raw, cuts)
    reply = Reply(parts, [float(i) for i in range(len(parts))])
    bounded, whole = parse(reply, max_shapes=3), parse(reply)
    assert whole is not None
    if bounded is not None:
        assert repr(bounded) == repr(whole)


@given(streams_in_pieces(), st.sets(st.integers(1, 12)))
def test_a_stream_kept_in_short_on_the_way_says_the_same(
    case: tuple[Written, list[int], list[int], list[int]], after: set[int]
) -> None:
    written, cuts, _, _ = case
    parts = reads(written.raw, cuts)
    whole = parse(Reply(parts, [float(i) for i in range(len(parts))]))
    kept = Reply([], [])
    for i, part in enumerate(parts):
        kept = Reply([*kept.parts, part], [*kept.times, float(i)], before=kept.before)
        condensed = condense(kept, 100) if i in after else None
        kept = kept if condensed is None else Reply([], [], before=condensed)
    assert repr(parse(kept)) == repr(whole)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_whole_events_are_kept_in_short_and_parts_of_events_are_not(newline: bytes) -> None:
    written = framed([(data(completion(word, i + 1), newline), True) for i, word in enumerate("abc")])
    ends = {end + 2: i + 1 for i, end in enumerate(written.content_ends)}
    for cut in range(1, len(written.raw) - len(b"0\r\n\r\n") + 1):
        condensed = condense(Reply([written.raw[:cut]], [1.0]), 10)
        assert (0 if condensed is None else len(condensed.chunk_s)) == (ends.get(cut, 0) if newline == b"\n" else 0)


def test_several_events_in_one_read_come_at_the_same_time() -> None:
    written = framed(words())
    assert outcome(written.raw).chunk_s.tolist() == [1.0] * len(WORDS)


def test_several_tokens_in_a_chunk_are_counted_from_the_running_usage() -> None:
    events = [data(completion("abc", 3)), data(completion("d", 4)), data(completion("ef", 6))]
    assert outcome(stream(*events).raw).chunk_tokens.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    "choice",
    [
        {"token_ids": [5, 6]},
        {"logprobs": {"tokens": ["a", "b"], "token_logprobs": [-1.0, -2.0]}},
        {"logprobs": {"content": [{"token": "a"}, {"token": "b"}]}},
    ],
)
def test_several_tokens_in_a_chunk_are_counted_where_it_lists_them(choice: dict[str, Any]) -> None:
    events = [data(completion("ab", **choice)), data(completion("cd", **choice))]
    assert outcome(stream(*events).raw).chunk_tokens.tolist() == [2, 2]


def test_more_tokens_in_a_chunk_than_two_bytes_hold() -> None:
    events = [data(completion("a", 1)), data(completion("b" * 9, 40_001))]
    assert outcome(stream(*events).raw).chunk_tokens.tolist() == [1, 40_000]


def test_an_empty_role_delta_is_no_token() -> None:
    events = [(data(chat({"role": "assistant", "content": ""}, 0)), False), (data(chat({"content": "a"}, 1)), True)]
    written = framed([*events, (END, False)])
    assert outcome(written.raw, [written.content_ends[0] - 1]).chunk_s.tolist() == [2.0]


def test_an_empty_text_that_the_server_counts_is_a_token() -> None:
    # A token that completes no character, as with byte-level vocabularies.
    events = [data(completion("a", 1)), data(completion("", 2)), data(completion("\u00fc", 3))]
    assert outcome(stream(*events).raw).chunk_tokens.tolist() == [1, 1, 1]


def test_an_empty_text_that_nobody_counts_is_none() -> None:
    events = [(data(completion("a")), True), (data(completion("")), False), (data(completion("b")), True)]
    written = framed([*events, (END, False)])
    assert outcome(written.raw).chunk_tokens.tolist() == [-1, -1]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_is_content(key: str) -> None:
    found = outcome(stream(data(chat({key: "hm"}, 1)), data(chat({"content": "42"}, 2))).raw)
    assert found.chunk_tokens.tolist() == [1, 1]
    assert found.reasoning_chunks == 1


@pytest.mark.parametrize("n", [0, 1, 2, 40])
def test_reasoning_is_counted_however_events_are_read(n: int) -> None:
    # The first event of a shape is read as JSON, the others are compared with it.
    thought = [data(chat({"reasoning_content": "hm"}, i + 1)) for i in range(n)]
    answer = [data(chat({"content": "so"}, n + i + 1)) for i in range(5)]
    found = outcome(stream(*thought, *answer).raw)
    assert (found.reasoning_chunks, len(found.chunk_s)) == (n, n + 5)


def test_tool_calls_are_content() -> None:
    call = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}
    assert outcome(stream(data(chat(call, 4))).raw).chunk_tokens.tolist() == [4]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("field", "values"),
    [
        # Of the standard: 9.2.6, "Interpreting an event stream"; each stands before a whole event.
        (b": a comment", []),
        (b":", []),
        (b"retry: 10", []),
        (b"retry: never", []),
        (b"id", []),
        (b"unknown: x", []),
        (b"data", []),
        (b"data:", []),
        (b"data: ", []),
        (b"event: ping|data: {}", []),
        (b"event: message|data: [1]", [b"[1]"]),
        (b"event|data:[1]", [b"[1]"]),
        (b"data: [1,|data: 2]", [b"[1,\n2]"]),
        (b"data:  [1]", [b" [1]"]),
        (b" data: [1]", []),
        (b"DATA: [1]", []),
        (b"data : [1]", []),
    ],
)
def test_events_are_read_as_browsers_read_them(field: bytes, values: list[bytes], newline: bytes) -> None:
    block = field.replace(b"|", newline) + 2 * newline
    for mark in (b"", b"\xef\xbb\xbf"):
        found, ends = sse.events(mark + block + b"data: {}" + 2 * newline + b"data: cut off" + newline)
        assert found == [*values, b"{}"]
        assert ends[-1] == len(mark + block + b"data: {}" + 2 * newline)


def test_a_byte_order_mark_inside_a_stream_is_no_field() -> None:
    assert sse.events(b"\xef\xbb\xbfdata: 1\n\n", first=False)[0] == []


def test_comments_and_other_fields_are_no_events() -> None:
    noise = (b": ping\n\n", b"event: message\n\n", b"retry: 10\nid: 4\n\n")
    events = [(piece, False) for piece in noise] + [(b"id: 5\n" + data(completion("a", 1)), True), (END, False)]
    assert outcome(framed(events).raw).chunk_tokens.tolist() == [1]


def test_an_event_of_several_data_lines_is_one() -> None:
    text = json.dumps(completion("a", 1), indent=1)
    event = b"".join(b"data: " + line.encode() + b"\n" for line in text.split("\n")) + b"\n"
    found = outcome(stream(event).raw)
    assert (found.status, found.chunk_tokens.tolist()) == ("ok", [1])


def test_cached_tokens_are_read_from_usage() -> None:
    value = last(1)
    value["usage"]["prompt_tokens_details"] = {"cached_tokens": 6}
    assert outcome(stream(data(completion("a")), data(value)).raw).cached_tokens == 6


def test_without_usage_the_counts_are_missing_and_not_zero() -> None:
    found = outcome(stream(data(completion("a")), data(completion("b"))).raw)
    assert (found.status, found.prompt_tokens, found.output_tokens) == ("ok", -1, -1)
    assert found.chunk_tokens.tolist() == [-1, -1]


def test_the_running_count_outlives_a_missing_usage_event() -> None:
    assert outcome(stream(data(completion("a", 1)), data(completion("b", 2))).raw).output_tokens == 2


@pytest.mark.parametrize(
    ("running", "tokens"), [((1, 3, 6), [1, 2, 3]), ((0, 1, 2), [0, 1, 1]), ((1, 1, 1), [1, 0, 0])]
)
def test_the_usage_event_wins_over_a_running_count_that_differs(running: Sequence[int], tokens: list[int]) -> None:
    events = [(data(completion("a", count)), True) for count in running]
    found = outcome(framed([*events, (data(last(3)), False), (END, False)]).raw)
    assert (found.output_tokens, found.chunk_tokens.tolist()) == (3, tokens)


def test_a_count_that_only_the_last_chunk_has_is_that_of_the_answer() -> None:
    events = [(data(completion("a")), True), (data(completion("b")), True)]
    ends = data(completion("", 2, finish_reason="stop"))
    found = outcome(framed([*events, (ends, False), (DONE, False)]).raw)
    assert (found.output_tokens, found.chunk_tokens.tolist()) == (2, [-1, -1])


@pytest.mark.parametrize("reason", [None, ""])
@pytest.mark.parametrize("marker", [b"", DONE])
def test_a_stream_that_does_not_say_why_it_ended_is_truncated_and_keeps_its_chunks(
    marker: bytes, reason: str | None
) -> None:
    pieces = [data(completion(text, i + 1, finish_reason=reason)) for i, text in enumerate("ab")]
    found = outcome(framed([*((piece, True) for piece in pieces), (marker, False)]).raw)
    assert (found.status, found.error) == ("truncated", "the stream ended without a finish_reason")
    assert found.chunk_s.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "function_call", "eos_token", "stop_sequence"])
@pytest.mark.parametrize("marker", [b"", DONE, b"data: [DONE]", b"data: [DONE]\n"])
def test_a_finish_reason_and_the_end_of_the_framing_end_an_answer(reason: str, marker: bytes) -> None:
    ends = completion("b", 2, finish_reason=reason)
    found = outcome(framed([(data(completion("a", 1)), True), (data(ends), True), (marker, False)]).raw)
    assert (found.status, found.error, found.output_tokens) == ("ok", None, 2)


@pytest.mark.parametrize("reason", ["abort", "error", "content_filter", "time"])
@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_that_ends_for_another_reason_has_failed(reason: str, streamed: bool) -> None:
    ends = completion("b", 2, finish_reason=reason)
    events = [(data(completion("a", 1)), True), (data(ends), True), (data(last(2)), False), (DONE, False)]
    found = outcome(framed(events).raw if streamed else whole_answer(ends))
    assert (found.status, found.error) == (
        "engine-error", f"the engine ended the answer with finish_reason {reason!r}",
    )  # fmt: skip
    assert len(found.chunk_s) == (2 if streamed else 1)


def test_of_several_choices_the_one_that_failed_decides() -> None:
    choices = [{"index": i, "text": "a", "finish_reason": reason} for i, reason in enumerate(["length", "abort"])]
    found = outcome(stream(data({"choices": choices})).raw)
    assert found.error == "the engine ended the answer with finish_reason 'abort'"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (b'data: {"error":{"message":"out of memory","code":500}}\n\n', "out of memory"),
        (b'data: {"error":"out of memory"}\n\n', "out of memory"),
        (b'event: error\ndata: {"message":"out of memory"}\n\n', "out of memory"),
        (b'event: error\ndata: {"error":{"message":"out of memory"}}\n\n', "out of memory"),
        (b"event: error\ndata: out of memory\n\n", "out of memory"),
        (b'event: error\ndata: {"choices":[],"message":"out of memory"}\n\n', "out of memory"),
        (b'error: {"code":500,"message":"out of memory"}\n\n', "out of memory"),
        (b"error: out of memory\n\n", "out of memory"),
        (b"error\n\n", "no message"),
        (b'data: {"object":"error","message":"out of memory","code":500}\n\n', "out of memory"),
        (b'data: {"detail":"out of memory"}\n\n', "out of memory"),
        (b'data: {"id":7}\n\n', 'an event with neither choices nor usage: {"id":7}'),
        (b"data: {}\n\n", "an event with neither choices nor usage: {}"),
    ],
)
def test_an_event_that_is_no_part_of_an_answer_is_the_servers_error(event: bytes, said: str) -> None:
    found = outcome(framed([(data(completion("a", 1)), True), (event, False), (END, False)]).raw)
    assert (found.status, found.error) == ("engine-error", f"the engine answered with an error: {said}")
    assert len(found.chunk_s) == 1


@pytest.mark.parametrize(
    "event", [data({"choices": [], "prompt_filter_results": []}), data({"choices": [], "usage": None}), data(last(1))]
)
def test_events_with_empty_choices_or_usage_belong_to_an_answer(event: bytes) -> None:
    assert outcome(framed([(data(completion("a", 1)), True), (event, False), (END, False)]).raw).status == "ok"


def test_a_stream_that_breaks_off_is_truncated_at_any_byte() -> None:
    written = framed(words())
    done = written.raw.index(b"data: [DONE]\n\n") + len(b"data: [DONE]\n\n")
    head = written.raw.index(b"\r\n\r\n") + 4
    for cut in range(head, done):
        found = outcome(written.raw[:cut], closed=True)
        assert found.status == "truncated"
        assert len(found.chunk_s) == sum(end <= cut for end in written.content_ends)


def test_a_response_that_breaks_off_in_its_head_is_a_reset() -> None:
    written = framed(words())
    for cut in range(1, written.raw.index(b"\r\n\r\n") + 4):
        found = outcome(written.raw[:cut], closed=True)
        assert (found.status, found.http_status) == ("reset", -1)
        assert found.error == f"the connection closed after {cut} bytes, before the response head was whole"


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"id":"cmpl-1","choices":[{"index":0,"te\n\n',
        b"data: []\n\n",
        b"data: null\n\n",
        b"data: \xff\xfe\n\n",
    ],
)
def test_an_event_that_is_no_json_object_is_malformed(event: bytes) -> None:
    found = outcome(stream(data(completion("a", 1)), event).raw)
    assert (found.status, found.http_status) == ("malformed", 200)
    assert found.error is not None
    assert found.error.startswith("an event is no JSON")


@pytest.mark.parametrize("text", [b'a","x":"b', b"a\\", b"\\x41", b"\\u12", b"a\x01"])
def test_bytes_in_place_of_a_text_are_judged_as_json_does_although_the_rest_is_known(text: bytes) -> None:
    good = data(completion("SLOT", 1), separators=(",", ":"))
    later = good.replace(b'"completion_tokens":1', b'"completion_tokens":2').replace(b"SLOT", text)
    try:
        json.loads(later[len(b"data: ") :])
        expected = "ok"
    except ValueError:
        expected = "malformed"
    assert outcome(stream(good, later).raw).status == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"too  long\\nby far"}}', "too long by far"),
        (b'{"object":"error","message":"old style","code":400}', "old style"),
        (b'{"detail":"no"}', "no"),
        (b"<html>bad\r\ngateway</html>", "<html>bad gateway</html>"),
        (b"", "no message"),
        (b"x" * 5000, "x" * 300),
    ],
)
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_http_error_tells_its_status_and_message(status: int, body: bytes, message: str) -> None:
    raw = b"HTTP/1.1 %d No\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
    found = outcome(raw)
    assert (found.status, found.http_status, found.error) == ("http-error", status, f"HTTP {status}: {message}")
    assert len(found.chunk_s) == 0


def whole_answer(value: object, content_type: str = "application/json") -> bytes:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_an_answer_that_is_not_streamed_is_one_chunk_at_its_last_read(content_type: str) -> None:
    raw = whole_answer({**completion("abc", finish_reason="stop"), "usage": streams.usage(3)}, content_type)
    found = outcome(raw, [20, len(raw) - 1])
    assert (found.status, found.chunk_s.tolist(), found.chunk_tokens.tolist()) == ("ok", [3.0], [3])
    assert outcome(raw[:-1], closed=True).status == "truncated"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_a_stream_with_another_content_type_is_a_stream(content_type: str) -> None:
    written = framed(words())
    raw = written.raw.replace(b"text/event-stream; charset=utf-8", content_type.encode())
    found = outcome(raw, [written.content_ends[0] + len(raw) - len(written.raw)])
    assert (found.status, found.chunk_s.tolist()) == ("ok", [1.0] + [2.0] * (len(WORDS) - 1))


@pytest.mark.parametrize("status", [200, 201, 206])
def test_every_status_of_success_is_an_answer(status: int) -> None:
    raw = framed(words()).raw.replace(b"200 OK", b"%d Fine" % status)
    found = outcome(raw)
    assert (found.status, found.http_status, len(found.chunk_s)) == ("ok", status, len(WORDS))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_names_where_it_leads(status: int) -> None:
    raw = b"HTTP/1.1 %d Moved\r\nLocation: https://Other/v1/completions\r\ncontent-length: 2\r\n\r\n{}" % status
    found = outcome(raw)
    assert (found.status, found.http_status) == ("http-error", status)
    assert found.error == f"HTTP {status}: the server redirects to https://Other/v1/completions; give that address"


def test_a_page_is_named_by_its_kind_and_beginning() -> None:
    body = b"<html><h1>Welcome</h1></html>"
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    found = outcome(raw)
    assert (found.status, found.error) == (
        "malformed",
        "the server answered text/html and no event stream: <html><h1>Welcome</h1></html>; is it an OpenAI-compatible "
        "API?",
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\n",
        streams.HEAD + streams.CHUNKED + b"zz\r\n",
        streams.HEAD + streams.CHUNKED + b"3\r\nabcdef\r\n",
    ],
)
def test_bytes_that_are_no_response_are_malformed(raw: bytes) -> None:
    found = outcome(raw, closed=True)
    assert found.status == "malformed"
    assert found.error is not None
    assert found.error.startswith("the answer ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=5), max_size=4))
def test_events_of_any_json_have_an_outcome(values: list[dict[str, object]]) -> None:
    written = stream(*(data(value) for value in values))
    condensed = condense(Reply([written.raw[: -len(b"0\r\n\r\n")]], [1.0]), 10)
    found = outcome(written.raw)
    assert found.status in ("ok", "engine-error")
    assert found.status == "ok" or found.error is not None
    assert condensed is None or len(condensed.chunk_s) == len(found.chunk_s)
    assert len(found.chunk_tokens) == len(found.chunk_s) <= len(values)
    assert -1 <= found.output_tokens < 2**31


def test_informational_heads_are_skipped() -> None:
    written = framed(words())
    found = outcome(b"HTTP/1.1 100 Continue\r\n\r\n" + written.raw)
    assert (found.status, len(found.chunk_s)) == ("ok", len(WORDS))


def test_trailers_and_chunk_extensions_belong_to_the_framing() -> None:
    written = framed(words(), trailer=b"x-took: 3\r\n")
    raw = written.raw
    at = raw.index(b"\r\n\r\n") + 4
    size, _, rest = raw[at:].partition(b"\r\n")
    found = outcome(raw[:at] + size + b";name=value\r\n" + rest)
    assert (found.status, found.output_tokens, len(found.chunk_s)) == ("ok", len(WORDS), len(WORDS))
    assert isinstance(found.chunk_tokens, np.ndarray)
