"""Which model of another's server is asked, ways through proxies, and servers that say when to come back."""

import json
import time
from collections.abc import Mapping, Sequence

import pytest

from swiftkv_bench.access import Access
from swiftkv_bench.engines.client import Client, retry_after_s
from swiftkv_bench.engines.served import asked_model
from swiftkv_bench.errors import EngineError, InputError
from tests.load.scripted import Answering, ScriptedServer

FLAG = "--baseline-model"
BASE = {"id": "base", "root": "/models/base", "max_model_len": 4096}
ADAPTER = {"id": "adapter", "root": "/adapters/a", "parent": "base"}


def _http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _asked(
    entries: Sequence[Mapping[str, object]], named: str | None, likely: str | None = None
) -> tuple[str, int | None]:
    answer = _http(json.dumps({"data": entries}).encode())
    with ScriptedServer(lambda a: a.send(answer)) as server, Client(server.url, patient=False) as client:
        found = asked_model(client, named, FLAG, likely)
    return found.name, found.max_model_len


@pytest.mark.parametrize("name", ["base", "/models/base"])
def test_the_named_model_is_asked_wherever_it_stands(name: str) -> None:
    assert _asked([ADAPTER, BASE], name) == ("base", 4096)


def test_an_alias_means_its_model() -> None:
    assert _asked([ADAPTER, {"id": "x.gguf", "aliases": ["small"]}], "small") == ("x.gguf", None)


def test_the_context_stands_where_llama_cpp_says_it_too() -> None:
    assert _asked([{"id": "x.gguf", "meta": {"n_ctx": 2048, "n_ctx_train": 8192}}], None) == ("x.gguf", 2048)


def test_a_model_that_is_not_listed_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"--baseline-model other is not served at .*; it lists base, adapter"):
        _asked([BASE, ADAPTER], "other")


def test_several_models_and_none_named_is_refused_with_the_list() -> None:
    with pytest.raises(InputError, match=r"serves base, adapter; say with --baseline-model which"):
        _asked([BASE, ADAPTER], None)


def test_two_names_of_one_model_need_no_choice() -> None:
    assert _asked([BASE, {**BASE, "id": "alias"}], None) == ("base", 4096)


def test_a_server_without_a_list_is_asked_for_the_named_model_only() -> None:
    answer = _http(b"", "404 Not Found")
    with ScriptedServer(lambda a: a.send(answer)) as server, Client(server.url, patient=False) as client:
        assert asked_model(client, "mine", FLAG).name == "mine"
        with pytest.raises(EngineError, match=r"does not list its models \(HTTP 404\); name the one to ask"):
            asked_model(client, None, FLAG)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "[::1]"])
def test_a_loopback_address_is_never_reached_through_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert Access(proxy="http://other:1").route(f"http://{host}:8000").proxy is None


def test_the_environment_and_its_exceptions_choose_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:secret@proxy:3128")
    monkeypatch.setenv("no_proxy", "inside")
    route = Access().route("http://outside:8000")
    assert (route.address, route.via) == (("proxy", 3128), " through the proxy proxy:3128 (HTTP_PROXY)")
    assert "secret" not in repr(route)
    assert Access().route("http://inside:8000").proxy is None


def test_a_proxy_is_told_the_whole_address() -> None:
    with ScriptedServer(lambda a: a.send(_http(b"{}"))) as proxy:
        with Client("http://far.example:8000", Access(proxy=proxy.url), patient=False) as client:
            assert client.get_json("/v1/models") == {}
        assert proxy.requests[0].startswith(b"GET http://far.example:8000/v1/models HTTP/1.1\r\n")


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    def answer(asked: Answering) -> None:
        asked.send(_http(b"", "429 Busy", "Retry-After: 1\r\n") if asked.number == 0 else _http(b"{}"))

    with ScriptedServer(answer) as server, Client(server.url) as client:
        begun = time.monotonic()
        assert client.get_json("/x") == {}
        assert time.monotonic() - begun >= 1.0


def test_both_forms_of_retry_after_are_read() -> None:
    assert retry_after_s("120") == 120.0
    assert retry_after_s("Thu, 01 Jan 1970 00:01:40 GMT", now_s=40.0) == 60.0
    assert (retry_after_s("soon"), retry_after_s(None)) == (None, None)
