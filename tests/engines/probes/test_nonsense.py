"""Servers that answer nonsense: one sentence that names the address, never a defect of ours."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from swiftkv_bench.access import Access
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.embedded.vocabulary import task_words
from swiftkv_bench.engines.attached import AttachedServer
from swiftkv_bench.engines.probes import probe_engine
from swiftkv_bench.errors import EngineError
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.engine import EngineSpec
from tests.load.scripted import Answering, ScriptedServer

MODELS = {"data": [{"id": "m", "max_model_len": -5}]}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, tokenizer_json(task_words()), 16384)
    return str(folder)


def _http(content: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content


def _answering(answer: bytes) -> Callable[[Answering], None]:
    def reply(asked: Answering) -> None:
        asked.send(answer)
        asked.close()

    return reply


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-OpenSSH_9.2); is the server running there?"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", "is the server running there?"),
        (_http(b"[" * 100_000), "is no JSON"),
        (_http(b"\xff\xfe"), "is no JSON"),
        (_http(b"null"), "lists no model"),
        (_http(b'{"data": [{"id": null}]}'), "lists no model"),
        (_http(b"", "302 Found\r\nLocation: /v1/models"), "redirects (HTTP 302) to /v1/models; give that address"),
    ],
)
def test_what_is_no_list_of_models_is_one_sentence(answer: bytes, said: str) -> None:
    with ScriptedServer(_answering(answer)) as server:
        url = server.url
        with pytest.raises(EngineError) as raised:
            AttachedServer(_spec(url, "t")).wait_ready(Silent())
    text = str(raised.value)
    assert url in text
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([1, 2], "answered no choices"),
        (None, "answered no choices"),
        ({"choices": "x"}, "answered no choices"),
        ({"choices": [None]}, "answered no choices"),
        ({"choices": []}, "answered 0 choices to 1 prompts"),
        ({"choices": [{"text": "a", "logprobs": "b"}]}, "unknown form"),
        ({"choices": [{"text": "a", "logprobs": {"tokens": 3, "token_logprobs": "no"}}]}, "unknown form"),
    ],
)
def test_what_is_no_completion_is_one_sentence(answer: Any, said: str, tokenizer: str) -> None:
    def reply(asked: Answering) -> None:
        path = asked.request.split(b" ")[1]
        found = MODELS if path == b"/v1/models" else answer if path == b"/v1/completions" else {}
        asked.send(_http(json.dumps(found).encode()))
        asked.close()

    with ScriptedServer(reply) as server:
        spec = _spec(server.url, tokenizer)
        info = AttachedServer(spec).wait_ready(Silent())
        assert info.max_model_len is None
        with pytest.raises(EngineError, match=said) as raised:
            probe_engine(spec, info, Access())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("page", "shown"), [(b"<html>\n\x1b[31m bad", "<html> [31m bad"), (b"[" * 100_000, "[" * 300)])
def test_an_error_page_is_shown_as_one_line_without_control_characters(page: bytes, shown: str, tokenizer: str) -> None:
    def reply(asked: Answering) -> None:
        models = b"/v1/models" in asked.request
        asked.send(_http(json.dumps(MODELS).encode()) if models else _http(page, "500 X"))
        asked.close()

    with ScriptedServer(reply) as server:
        spec = _spec(server.url, tokenizer)
        info = AttachedServer(spec).wait_ready(Silent())
        with pytest.raises(EngineError) as raised:
            probe_engine(spec, info, Access())
    assert str(raised.value).endswith(f"answered HTTP 500: {shown}")


def _spec(url: str, tokenizer: str) -> EngineSpec:
    return EngineSpec(arm="baseline", kind="url", model="m", tokenizer=tokenizer, url=url, max_model_len=4096)
