"""Requests as bytes: exact ids, lengths that fit, and rotation."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.access import Access
from swiftkv_bench.errors import InputError
from swiftkv_bench.load.request import Request, encode
from swiftkv_bench.load.target import Target
from swiftkv_bench.load.workload import Prompt

TARGET = Target("http://127.0.0.1:8000", "m")
ids = st.lists(st.integers(0, 200_000), min_size=1, max_size=40)


def prompt(token_ids: list[int], shared: int = 0, output: int = 5) -> Prompt:
    return Prompt(np.array(token_ids, dtype=np.uint32), output, shared)


def body(request: Request) -> dict[str, Any]:
    """The JSON of a request, after a look at its head."""
    head, _, payload = request.data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert f"Content-Length: {len(payload)}" in lines
    found: dict[str, Any] = json.loads(payload)
    return found


@given(ids, st.data())
def test_the_body_holds_exactly_the_ids(token_ids: list[int], case: st.DataObject) -> None:
    shared = case.draw(st.integers(0, len(token_ids) - 1))
    assert body(encode(prompt(token_ids, shared), TARGET)) == {
        "prompt": token_ids, "model": "m", "max_tokens": 5, "temperature": 0.0, "ignore_eos": True, "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }  # fmt: skip


@given(ids, st.data())
def test_a_rotated_request_has_the_same_length_and_its_own_ids_moved_on(
    token_ids: list[int], case: st.DataObject
) -> None:
    shared = case.draw(st.integers(0, len(token_ids) - 1))
    by = case.draw(st.integers(0, 100))
    plain = encode(prompt(token_ids, shared), TARGET)
    rotated = plain.rotated(by)
    own = token_ids[shared:]
    at = by % len(own)
    assert body(rotated) == {**body(plain), "prompt": token_ids[:shared] + own[at:] + own[:at]}
    assert len(rotated.data) == len(plain.data)


def test_the_head_names_host_path_and_key() -> None:
    target = Target("https://host.example:8443/p", "m", access=Access("k"))
    lines = encode(prompt([1]), target).data.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert lines[0] == "POST /p/v1/completions HTTP/1.1"
    assert {"Host: host.example:8443", "Content-Type: application/json", "Authorization: Bearer k"} <= set(lines)


def test_an_ipv6_host_is_in_brackets() -> None:
    assert b"\r\nHost: [::1]:8000\r\n" in encode(prompt([1]), Target("http://[::1]:8000", "m")).data


def test_running_usage_is_left_out_where_the_server_cannot() -> None:
    options = body(encode(prompt([1]), Target("http://h:1", "m", usage_per_chunk=False)))["stream_options"]
    assert options == {"include_usage": True}


def test_extra_fields_win() -> None:
    found = body(encode(prompt([1]), Target("http://h:1", "m", extra_body={"temperature": 0.7, "user": "u"})))
    assert (found["temperature"], found["user"]) == (0.7, "u")


def test_text_is_sent_as_text_and_to_chat_as_a_message() -> None:
    text = Prompt(None, 3, texts=('say "hi" \u00fc',))
    assert body(encode(text, TARGET))["prompt"] == 'say "hi" \u00fc'
    chat = body(encode(text, Target("http://h:1", "m", api="chat")))
    assert chat["messages"] == [{"role": "user", "content": 'say "hi" \u00fc'}]
    assert encode(text, TARGET).rotated(3) == encode(text, TARGET)


def test_ids_for_the_chat_endpoint_are_an_error() -> None:
    with pytest.raises(InputError, match="the chat endpoint takes text, not token ids; send text with --tokenizer"):
        encode(prompt([1]), Target("http://h:1", "m", api="chat"))
