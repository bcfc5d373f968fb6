"""The fake engine over HTTP: both writers say the same, places, cache, counters, refusals."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_engine import counters, events, fake_engine, post

BODY: dict[str, Any] = {"model": "fake", "prompt": [65, 66, 67], "max_tokens": 5}
STREAMED = {**BODY, "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}


@pytest.fixture(scope="module", params=["auto", "python"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with fake_engine("--writer", request.param) as address:
        yield address


def text_of(found: list[dict[str, Any]]) -> str:
    return "".join(event["choices"][0]["text"] for event in found if event["choices"])


def test_a_stream_says_what_the_whole_answer_says(url: str) -> None:
    whole = json.loads(post(url, BODY)[1])
    found = events(post(url, STREAMED)[1])
    assert text_of(found) == whole["choices"][0]["text"]
    assert found[-1]["usage"] == whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    assert [event["usage"]["completion_tokens"] for event in found] == [1, 2, 3, 4, 5, 5]
    assert [event["choices"][0]["finish_reason"] for event in found[:-1]] == [None] * 4 + ["length"]


def test_usage_is_told_only_where_it_was_asked_for(url: str) -> None:
    found = events(post(url, {**BODY, "stream": True})[1])
    assert len(found) == 5
    assert not any("usage" in event for event in found)


def test_several_prompts_advance_together(url: str) -> None:
    found = events(post(url, {**STREAMED, "prompt": [[65], [66, 67]], "max_tokens": 2})[1])
    assert [event["choices"][0]["index"] for event in found[:-1]] == [0, 1, 0, 1]
    assert found[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_a_chat_opens_with_an_empty_role_delta(url: str) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "stream": True}
    deltas = [event["choices"][0]["delta"] for event in events(post(url, body, "/v1/chat/completions")[1])]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [len(delta["content"]) for delta in deltas[1:]] == [1, 1, 1]


def test_a_reader_that_is_slow_gets_every_byte(url: str) -> None:
    # Far more than the sockets' buffers hold: writes are refused and go on where they stopped.
    body = json.dumps({**STREAMED, "max_tokens": 60_000}).encode()
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)
        time.sleep(0.2)
        received = bytearray()
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += connection.recv(1 << 20)
    assert received.count(b"data: ") == 60_002
    counts = [int(part.partition(b"}")[0]) for part in received.split(b'"completion_tokens":')[1:]]
    assert counts == [*range(1, 60_001), 60_000]


@pytest.mark.parametrize("writer", ["auto", "python"])
def test_a_client_that_leaves_frees_its_place(writer: str) -> None:
    with fake_engine("--writer", writer, "--max-num-seqs", 1, "--ttft", 0.01, "--itl", 0.01) as url:
        body = json.dumps({**STREAMED, "max_tokens": 60_000}).encode()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            connection.sendall(head + body)
            assert b"data: " in connection.recv(65536) + connection.recv(65536)
        assert len(events(post(url, STREAMED)[1])) == 6


@pytest.mark.parametrize("writer", ["auto", "python"])
def test_requests_without_a_place_wait_and_the_engine_tells_how_long(writer: str) -> None:
    arguments = ("--writer", writer, "--max-num-seqs", 1, "--ttft", 0.2, "--itl", 0.01)
    with fake_engine(*arguments) as url:
        threads = [threading.Thread(target=post, args=(url, STREAMED)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        label = '{engine="0",model_name="fake"}'
        found = counters(url)
        # A request counts a moment after its last byte.
        until_s = time.monotonic() + 10
        while found[f"vllm:num_requests_running{label}"] and time.monotonic() < until_s:
            found = counters(url)
    assert found[f"vllm:request_queue_time_seconds_count{label}"] == 4
    # The k-th waits for k - 1 others of 0.24 s each: 1.44 s in all, less what the threads started apart.
    assert found[f"vllm:request_queue_time_seconds_sum{label}"] > 0.7
    assert found[f"vllm:request_prefill_time_seconds_sum{label}"] == pytest.approx(4 * 0.2)
    assert found[f"vllm:request_decode_time_seconds_sum{label}"] == pytest.approx(4 * 0.04)
    assert found[f"vllm:generation_tokens_total{label}"] == 20
    assert found[f"vllm:prompt_tokens_total{label}"] == 12
    assert found[f"vllm:num_requests_running{label}"] == found[f"vllm:num_requests_waiting{label}"] == 0


@pytest.mark.parametrize("writer", ["auto", "python"])
def test_every_write_of_a_stream_is_in_the_lateness_page(writer: str) -> None:
    with fake_engine("--writer", writer) as url:
        post(url, STREAMED)
        found = counters(url)
    # Five tokens, usage, end marker, last chunk.
    assert found["fake:lateness_seconds_count"] == found['fake:lateness_seconds_bucket{le="+Inf"}'] == 8
    assert 0 < found["fake:lateness_seconds_worst"] <= found["fake:lateness_seconds_sum"]


def test_a_prefix_is_cached_in_whole_blocks_and_can_be_forgotten() -> None:
    with fake_engine("--prefix-cache", "--ttft-per-token", 0.001) as url:
        prompt = list(range(40))
        cached = []
        for ids in (prompt, prompt, [*prompt[:20], 99], [*range(50, 90)]):
            details = json.loads(post(url, {**BODY, "prompt": ids})[1])["usage"].get("prompt_tokens_details")
            cached.append(0 if details is None else details["cached_tokens"])
        assert cached == [0, 32, 16, 0]
        label = '{engine="0",model_name="fake"}'
        found = counters(url)
        assert found[f"vllm:prefix_cache_hits_total{label}"] == 48
        assert found[f"vllm:prefix_cache_queries_total{label}"] == 141
        # Tokens that are cached are not computed again.
        assert found[f"vllm:request_prefill_time_seconds_sum{label}"] == pytest.approx(0.141 - 0.048)
        assert post(url, {}, "/reset_prefix_cache")[0] == 200
        assert "prompt_tokens_details" not in json.loads(post(url, {**BODY, "prompt": prompt})[1])["usage"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({**BODY, "model": "other"}, 404, "The model `other` does not exist."),
        ({**BODY, "prompt": []}, 400, "Either prompt or prompt_embeds must be provided and non-empty."),
        ({**BODY, "prompt": [512]}, 400, "a token id is out of vocabulary (0 to 511)"),
        ({**BODY, "max_tokens": 0}, 400, "max_tokens must be at least 1, got 0."),
        ({**BODY, "n": 2}, 400, "the fake engine gives one choice per prompt, without beam search"),
        ({**BODY, "fault": "explode"}, 400, "there is no fault 'explode'"),
        ({**BODY, "max_tokens": 131_072}, 400, "This model's maximum context length is 131072 tokens."),
    ],
)
def test_what_it_refuses_it_refuses_as_vllm_does(url: str, body: dict[str, Any], status: int, message: str) -> None:
    found = post(url, body)
    assert found[0] == status
    assert json.loads(found[1])["error"]["message"].startswith(message)


def test_a_key_is_required_where_one_was_set() -> None:
    with fake_engine("--api-key", "k") as url:
        assert [post(url, BODY)[0], post(url, BODY, Authorization="Bearer k")[0]] == [401, 200]


@pytest.mark.parametrize("writer", ["auto", "python"])
def test_the_log_tells_when_every_piece_of_a_whole_response_was_written(writer: str, tmp_path: Path) -> None:
    log = tmp_path / "writes.jsonl"
    before_s = time.perf_counter()
    with fake_engine("--writer", writer, "--log", log, "--ttft", 0.02, "--itl", 0.01) as url:
        events(post(url, STREAMED)[1])
        after_s = time.perf_counter()
        post(url, BODY)
    stream, whole = (json.loads(line) for line in log.read_text().splitlines())
    # Five tokens, usage, the end marker, the last chunk.
    due_s = [stream["read_s"] + 0.02 + 0.01 * min(i, 4) for i in range(8)]
    assert before_s < stream["read_s"] < due_s[0]
    assert len(stream["written_s"]) == len(due_s)
    # Due times are whole nanoseconds, and the clock is read after a write: the client may have the last piece by then.
    assert all(due - 1e-6 <= written for due, written in zip(due_s, stream["written_s"], strict=True))
    assert max(stream["written_s"][:-1]) < after_s
    assert len(whole["written_s"]) == 1


def test_a_log_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "swiftkv_bench.engines.fake", "--log", str(tmp_path / "none" / "log")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "cannot write --log" in done.stderr
