"""The client of probes and scoring: stale connections, lost servers, refusals, and its end."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from swiftkv_bench.engines.client import Client, LostError, RefusedError
from swiftkv_bench.errors import InputError
from tests.accuracy.toy_engine import ToyEngine

BODY = {"model": "toy", "prompt": [1, 2, 3], "max_tokens": 5}


def _post(client: Client) -> str:
    text: str = client.post("/v1/completions", BODY)["choices"][0]["text"]
    return text


def test_connections_that_the_server_closed_meanwhile_are_replaced() -> None:
    together = threading.Barrier(8)

    def reply(_: list[int]) -> str:
        together.wait(30)
        return "yes"

    with ToyEngine(hangs_up=True, reply=reply) as engine, Client(engine.url) as client:
        with ThreadPoolExecutor(8) as pool:  # leaves eight idle connections, all closed at the other end
            assert list(pool.map(lambda _: _post(client), range(8))) == ["yes"] * 8
        engine.reply = lambda _: "again"
        assert _post(client) == "again"
        assert len(engine.requests) == 9


def test_a_server_that_is_gone_is_lost_and_says_so() -> None:
    with ToyEngine() as engine:
        url = engine.url
    with Client(url) as client, pytest.raises(LostError, match=r"did not answer in 4 attempts .*is the server running"):
        _post(client)


def test_an_error_of_the_server_is_a_refusal_with_its_message_and_not_tried_again() -> None:
    with ToyEngine(refuses="the prompt is too long") as engine, Client(engine.url) as client:
        with pytest.raises(RefusedError, match="HTTP 400: the prompt is too long") as raised:
            _post(client)
        assert (raised.value.status, len(engine.requests)) == (400, 1)


def test_a_closed_client_cuts_what_is_under_way_and_does_not_try_again() -> None:
    with ToyEngine(holds_after=0) as engine, ThreadPoolExecutor(1) as pool:
        client = Client(engine.url)
        answer = pool.submit(_post, client)
        assert engine.holding.wait(30)
        client.close()
        with pytest.raises(LostError):
            answer.result(30)
        engine.release.set()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://"])
def test_an_address_that_is_none_is_an_error(url: str) -> None:
    with pytest.raises(InputError, match="is no address of a server"):
        Client(url)


def test_a_path_prefix_is_kept_and_v1_is_not_doubled() -> None:
    with ToyEngine() as engine, Client(engine.url + "/v1/") as client:
        _post(client)
        assert engine.paths == ["/v1/completions"]
