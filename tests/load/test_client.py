"""The client against a server that sends scripted bytes: what it records of every way a response can go."""

import asyncio
import gc
import itertools
import socket
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from swiftkv_bench.load.client import Client, Progress
from swiftkv_bench.load.job import Slice
from swiftkv_bench.load.target import Target
from swiftkv_bench.load.worker import event_loop
from swiftkv_bench.load.workload import Prompt
from swiftkv_bench.schema.perf import STATUS
from tests.load import streams
from tests.load.scripted import Answering, ScriptedServer, job, prompts, run
from tests.load.streams import END, chat, completion, data, framed, last, plain

EVENTS = [
    (data(completion("a", 1)), True), (data(completion("b", 2)), True), (data(completion("c", 3)), True),
    (data(last(3)), False), (END, False),
]  # fmt: skip
WHOLE = framed(EVENTS).raw
CUT = WHOLE[: len(WHOLE) // 2]


def say(*pieces: bytes) -> Callable[[Answering], None]:
    return lambda answering: answering.send(*pieces)


def say_and_close(piece: bytes) -> Callable[[Answering], None]:
    def answer(answering: Answering) -> None:
        answering.send(piece)
        answering.close()

    return answer


def statuses(found: Slice) -> list[str]:
    return [STATUS[code] for code in found.status]


def test_a_response_is_recorded_with_its_times_tokens_and_order() -> None:
    with ScriptedServer(say(WHOLE)) as server:
        found = run(job(server.url, 3))
    assert statuses(found) == ["ok"] * 3
    assert found.chunk_count.tolist() == [3, 3, 3]
    assert found.chunk_tokens.tolist() == [1] * 9
    assert (found.output_tokens.tolist(), found.prompt_tokens.tolist()) == ([3, 3, 3], [7, 7, 7])
    assert (found.output_tokens_asked.tolist(), found.prompt_tokens_asked.tolist()) == ([3, 3, 3], [4, 4, 4])
    times = np.column_stack([found.sent_s, found.chunk_s.reshape(3, 3), found.end_s])
    assert (np.diff(times, axis=1) >= 0).all()
    assert (found.sent_s[1:] >= found.end_s[:-1]).all()


def test_a_response_is_whole_when_its_last_byte_came_at_whatever_byte_it_is_cut() -> None:
    # Keep-alive makes an end that is missed, or seen too early, the next request's failure as well.
    cuts = range(1, len(WHOLE))
    with ScriptedServer(lambda a: a.send(WHOLE[: cuts[a.number]], WHOLE[cuts[a.number] :], apart_s=0.0005)) as server:
        found = run(job(server.url, len(cuts)))
        assert server.connections == 1
    assert set(statuses(found)) == {"ok"}
    assert found.chunk_count.tolist() == [3] * len(cuts)


@pytest.mark.parametrize("trailer", [b"", b"x-took: 3\r\n"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_single_bytes_with_trailers_and_other_line_ends(newline: bytes, trailer: bytes) -> None:
    events = [(event.replace(b"\n", newline), content) for event, content in EVENTS]
    raw = framed(events, trailer=trailer).raw
    with ScriptedServer(lambda a: a.send(*(raw[i : i + 1] for i in range(len(raw))), apart_s=0)) as server:
        found = run(job(server.url, 2))
        assert server.connections == 1
    assert (statuses(found), found.chunk_count.tolist()) == (["ok", "ok"], [3, 3])


def test_a_body_with_a_length_keeps_the_connection() -> None:
    with ScriptedServer(say(plain(EVENTS, with_length=True).raw)) as server:
        found = run(job(server.url, 3))
        assert server.connections == 1
    assert (statuses(found), found.chunk_count.tolist()) == (["ok"] * 3, [3, 3, 3])


def test_a_body_that_ends_with_the_connection_takes_a_new_one_each() -> None:
    def answer(answering: Answering) -> None:
        answering.send(plain(EVENTS, with_length=False).raw)
        answering.close()

    with ScriptedServer(answer) as server:
        found = run(job(server.url, 3))
        assert server.connections == 3
    assert (statuses(found), found.chunk_count.tolist()) == (["ok"] * 3, [3, 3, 3])


def test_a_server_that_says_close_is_not_sent_another_request_on_that_connection() -> None:
    raw = WHOLE.replace(b"transfer-encoding", b"connection: close\r\ntransfer-encoding")
    with ScriptedServer(say(raw)) as server:
        found = run(job(server.url, 3))
        assert server.connections == 3
    assert statuses(found) == ["ok"] * 3


def test_a_connection_that_the_server_closed_meanwhile_is_replaced() -> None:
    closed = threading.Event()

    def answer(answering: Answering) -> None:
        answering.send(WHOLE)
        if answering.number == 0:
            answering.close()
            closed.set()

    with ScriptedServer(answer) as server:
        found = run(job(server.url, due_s=[0.0, 1.5, 1.6]))
        assert closed.is_set()
        # Arrivals keep connections in reserve as well.
        assert server.connections >= 2
    assert statuses(found) == ["ok"] * 3


@pytest.mark.parametrize("ends", [Answering.close, Answering.reset])
def test_a_used_connection_that_ends_without_a_byte_costs_no_request(ends: Callable[[Answering], None]) -> None:
    with ScriptedServer(lambda a: ends(a) if a.number == 1 else a.send(WHOLE)) as server:
        found = run(job(server.url, 3))
        assert len(server.requests) == 4
        assert server.requests[2] == server.requests[1]
    assert (statuses(found), found.sent_again) == (["ok"] * 3, 1)


BROKEN: dict[str, tuple[Callable[[Answering], None], str, int, str]] = {
    "reset before the head": (lambda a: a.reset(), "reset", 0, "the connection broke (ConnectionResetError) after 0 "),
    "close before the head": (lambda a: a.close(), "reset", 0, "the connection closed after 0 bytes"),
    "close within the head": (say_and_close(WHOLE[:30]), "reset", 0, "the connection closed after 30 bytes, before"),
    "close in the stream": (
        say_and_close(framed(EVENTS[:2]).raw[:-5]), "truncated", 2, "the stream broke off before its end",
    ),
    "no end marker": (say(framed(EVENTS[:4]).raw), "truncated", 3, "the stream ended without a finish_reason"),
    "no JSON": (
        say(framed([EVENTS[0], (b"data: {oops\n\n", False), (END, False)]).raw), "malformed", 0, "an event is no JSON",
    ),
    "no HTTP": (say(b"SSH-2.0-OpenSSH\r\n"), "malformed", 0, "the answer is no HTTP/1.1 response: b'SSH-"),
    "wrong chunk size": (
        say(streams.HEAD + streams.CHUNKED + b"5\r\nabcdefgh\r\n\r\n"), "malformed", 0, "the answer has a chunk",
    ),
    "error event": (
        say(framed([EVENTS[0], (data({"error": {"message": "no memory"}}), False), (END, False)]).raw),
        "engine-error", 1, "the engine answered with an error: no memory",
    ),
    "HTTP 400": (
        say(b'HTTP/1.1 400 Bad\r\ncontent-length: 32\r\n\r\n{"error":{"message":"too long"}}'),
        "http-error", 0, "HTTP 400: too long",
    ),
    "HTTP 503 chunked": (
        say(b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n", b"4\r\nbusy\r\n", b"0\r\n\r\n"),
        "http-error", 0, "HTTP 503: busy",
    ),
    "HTTP 500 empty": (say(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"), "http-error", 0, "HTTP 500: no message"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_failure_is_a_record_with_its_kind_and_the_next_request_goes_on(name: str) -> None:
    fails, status, chunks, message = BROKEN[name]
    # A connection that had carried another and closes without a byte is no failure of the request.
    at = 0 if "before" in name else 1
    with ScriptedServer(lambda a: fails(a) if a.number == at else a.send(WHOLE)) as server:
        found = run(job(server.url, 3))
    assert statuses(found) == [status if i == at else "ok" for i in range(3)]
    assert found.chunk_count.tolist() == [chunks if i == at else 3 for i in range(3)]
    assert list(found.errors) == [at]
    assert found.errors[at].startswith(message)
    assert found.sent_again == 0
    assert not np.isnan(found.sent_s).any()
    assert not np.isnan(found.end_s).any()


def test_a_reset_in_the_stream_keeps_what_came_before() -> None:
    events = framed(EVENTS[:2]).raw[:-5]

    def answer(answering: Answering) -> None:
        answering.send(events)
        # The kernel may throw away what was not read yet when the reset comes.
        arrived.wait(20)
        answering.reset()

    arrived = threading.Event()

    def watch(client: Client) -> None:
        if any(b"".join(exchange.parts) == events for exchange in client.exchanges):
            arrived.set()

    with ScriptedServer(answer) as server:
        found = run(job(server.url), watch=watch)
    assert (statuses(found), found.chunk_count.tolist()) == (["reset"], [2])
    assert found.errors[0] == f"the connection broke (ConnectionResetError) after {len(events)} bytes"


def test_a_stall_ends_after_the_idle_timeout_and_frees_the_client() -> None:
    def answer(answering: Answering) -> None:
        answering.send(CUT if answering.number == 0 else WHOLE)

    with ScriptedServer(answer) as server:
        found = run(job(server.url, 2, idle_timeout_s=0.2))
    assert statuses(found) == ["stalled", "ok"]
    assert found.errors == {0: "nothing arrived for 0.2 s"}
    assert found.chunk_count[0] == sum(end <= len(CUT) for end in framed(EVENTS).content_ends)
    assert found.end_s[0] - found.sent_s[0] > 0.2


def test_a_slow_stream_is_no_stall() -> None:
    pieces = [WHOLE[i : i + 200] for i in range(0, len(WHOLE), 200)]
    with ScriptedServer(lambda a: a.send(*pieces, apart_s=0.1)) as server:
        found = run(job(server.url, idle_timeout_s=2.0))
    assert statuses(found) == ["ok"]


def test_a_pause_of_the_client_is_no_stall_of_the_server() -> None:
    def answer(answering: Answering) -> None:
        answering.send(CUT)
        paused.wait(20)
        answering.send(WHOLE[len(CUT) :])

    paused = threading.Event()

    def watch(client: Client) -> None:
        if not paused.is_set() and any(exchange.parts for exchange in client.exchanges):
            paused.set()
            time.sleep(1.0)

    with ScriptedServer(answer) as server:
        found = run(job(server.url, idle_timeout_s=0.5), watch=watch)
    assert statuses(found) == ["ok"]


def test_nobody_listening_is_a_connect_error_of_every_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = run(job(f"http://127.0.0.1:{port}", due_s=[0.0, 0.01, 0.02]))
    assert statuses(found) == ["connect-error"] * 3
    assert found.errors[0].startswith(f"no connection to 127.0.0.1:{port}: ")
    assert np.isnan(found.sent_s).all()


def test_bytes_that_nobody_asked_for_end_the_connection_and_not_the_client() -> None:
    with ScriptedServer(lambda a: a.send(WHOLE + b"HTTP/1.1 200 OK\r\n\r\n")) as server:
        found = run(job(server.url, due_s=[0.0, 0.3]))
    assert len(found.status) == 2
    assert statuses(found)[1] == "ok"


def test_what_has_not_ended_when_the_load_is_stopped_is_cancelled() -> None:
    # Told apart by their prompts: after a pause of the machine both may be sent at once, and arrive in any order.
    with ScriptedServer(lambda a: a.send(WHOLE if b'"prompt":[0,' in a.request else CUT)) as server:
        found = run(
            job(server.url, due_s=[0.0, 0.1, 60.0]), until=lambda client: client.progress == Progress(2, 1, 0, 1)
        )
    assert statuses(found) == ["ok", "cancelled", "cancelled"]
    assert set(found.errors.values()) == {"the test is over"}
    assert np.isnan(found.sent_s).tolist() == [False, False, True]
    assert found.scheduled_s.tolist() == pytest.approx([0.0, 0.1, 60.0], abs=1e-9)


def test_requests_leave_when_they_are_due_and_never_before() -> None:
    due = [0.0, 0.05, 0.05, 0.11, 0.3]
    with ScriptedServer(say(WHOLE)) as server:
        found = run(job(server.url, due_s=due))
    assert found.scheduled_s.tolist() == pytest.approx(due, abs=1e-9)
    assert (found.sent_s >= found.scheduled_s).all()


def test_the_start_collects_no_garbage_which_would_delay_the_first_request() -> None:
    collected: list[str] = []
    loop, name = event_loop()
    with ScriptedServer(say(WHOLE)) as server:
        client = Client(job(server.url, due_s=[0.0]), loop, lambda: None)
        loop.run_until_complete(client.prepare())
        gc.callbacks.append(lambda phase, _: collected.append(phase))
        try:
            client.start(time.perf_counter())
            disabled = not gc.isenabled()
        finally:
            gc.callbacks.pop()
            client.stop("the test is over")
            client.result(name)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert disabled
    assert collected == []
    assert gc.isenabled()


def test_a_slow_server_does_not_slow_an_open_loop() -> None:
    everyone = threading.Barrier(5)

    def answer(answering: Answering) -> None:
        # Nobody is answered before all have been sent.
        everyone.wait(30)
        answering.send(WHOLE)

    with ScriptedServer(answer) as server:
        found = run(job(server.url, due_s=[0.0, 0.01, 0.02, 0.03, 0.04]))
    assert statuses(found) == ["ok"] * 5


@pytest.mark.parametrize("size", [{"n": 40}, {"n": 8, "duration_s": 1.5}])
def test_a_closed_loop_never_has_more_in_flight_than_asked(size: dict[str, float]) -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def answer(answering: Answering) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        answering.send(WHOLE[:-5], b"")
        with lock:
            now[0] -= 1
        answering.send(WHOLE[-5:])

    with ScriptedServer(answer) as server:
        found = run(job(server.url, int(size["n"]), concurrency=4, duration_s=size.get("duration_s")))
    assert most[0] <= 4
    assert set(statuses(found)) == {"ok"}
    edges = np.concatenate(
        [np.stack([found.sent_s, 0 * found.sent_s + 1]), np.stack([found.end_s, 0 * found.end_s - 1])], 1
    )
    # At equal times an end comes before the start that it allows.
    order = np.lexsort((edges[1], edges[0]))
    assert np.cumsum(edges[1][order]).max() == 4
    assert np.array_equal(found.scheduled_s, found.sent_s)


def test_a_closed_loop_of_given_length_sends_different_prompts_when_it_has_gone_round() -> None:
    with ScriptedServer(say(WHOLE)) as server:
        found = run(job(server.url, 2, duration_s=1.0))
        bodies = [request.partition(b"\r\n\r\n")[2] for request in server.requests]
    assert len(found.status) == len(bodies) > 2
    assert len(set(bodies[:8])) == 8


def test_load_after_the_window_goes_on_until_the_last_measured_request_and_is_not_recorded() -> None:
    tail = [0.05 + 0.02 * i for i in range(500)]

    def answer(answering: Answering) -> None:
        measured = b'"prompt":[0,1,' in answering.request
        answering.send(WHOLE[:-5], WHOLE[-5:], apart_s=0.3 if measured else 0.0)

    with ScriptedServer(answer) as server:
        found = run(job(server.url, due_s=[0.0], tail_s=np.array(tail)))
        assert 3 < len(server.requests) < 500
    assert statuses(found) == ["ok"]


def test_chat_sends_text_and_reads_deltas() -> None:
    role = data(chat({"role": "assistant", "content": ""}, 0))
    answer = framed([(role, False), (data(chat({"content": "a"}, 1)), True), (data(last(1)), False), (END, False)])
    with ScriptedServer(say(answer.raw)) as server:
        target = Target(server.url, "m", api="chat")
        found = run(job(target, of=[Prompt(None, 1, texts=("h\u00e9llo",))]))
        assert server.requests[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert b'"messages":[{"role":"user","content":"h\\u00e9llo"}]' in server.requests[0]
    assert (statuses(found), found.chunk_tokens.tolist()) == (["ok"], [1])
    assert found.prompt_tokens_asked.tolist() == [-1]


@pytest.mark.parametrize("apart", [1, 37, 64])
def test_a_long_stream_is_the_same_however_many_events_a_read_has(apart: int) -> None:
    events = [(data(completion(chr(97 + i % 26), i + 1)), True) for i in range(300)]
    raw = framed([*events, (data(last(300)), False), (END, False)]).raw
    edges = [0, *framed(events).content_ends[apart - 1 :: apart], len(raw)]
    # Ends of the framing's chunks, two bytes after those of their events.
    cuts = [at + 2 if 0 < at < len(raw) else at for at in edges]
    pieces = [raw[start:stop] for start, stop in itertools.pairwise(cuts)]
    with ScriptedServer(lambda a: a.send(*pieces, apart_s=0.0005)) as server:
        found = run(job(server.url, 2))
        assert server.connections == 1
    assert (statuses(found), found.output_tokens.tolist()) == (["ok"] * 2, [300, 300])
    assert found.chunk_tokens.tolist() == [1] * 600
    assert (np.diff(found.chunk_s.reshape(2, 300), axis=1) >= 0).all()


def test_a_long_stream_that_breaks_off_keeps_what_came_before() -> None:
    events = [(data(completion("a", i + 1)), True) for i in range(100)]
    written = framed(events)
    edges = [0, *(end + 2 for end in written.content_ends[:80])]
    pieces = [written.raw[start:stop] for start, stop in itertools.pairwise(edges)]

    def answer(answering: Answering) -> None:
        answering.send(*pieces, apart_s=0.0005)
        answering.close()

    with ScriptedServer(answer) as server:
        found = run(job(server.url))
    assert (statuses(found), found.chunk_count.tolist()) == (["truncated"], [80])
    assert found.errors[0] == "the stream broke off before its end"


def test_many_connections_at_once() -> None:
    with ScriptedServer(say(WHOLE)) as server:
        found = run(job(server.url, 200, concurrency=50))
        assert server.connections == 50
    assert statuses(found) == ["ok"] * 200
    assert prompts(1)[0].tokens == 4
