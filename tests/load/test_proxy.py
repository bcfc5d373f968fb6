"""Load through an HTTP proxy: forwarded requests, a CONNECT tunnel, and what failures name."""

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from swiftkv_bench.access import Access
from swiftkv_bench.load.target import Target
from swiftkv_bench.schema.perf import STATUS
from tests.load.scripted import VOCABULARY, Answering, ScriptedServer, job, run
from tests.load.test_client import WHOLE
from tests.load.test_tls import certificate

__all__ = ["certificate"]
KEY = "Basic " + base64.b64encode(b"me:secret").decode()


@contextmanager
def tunnels_to(server: ScriptedServer, heads: list[bytes]) -> Iterator[str]:
    """A proxy that lets every CONNECT through to one server; the heads that it was sent."""

    def answer(answering: Answering) -> None:
        heads.append(answering.request)
        client = answering._connection
        with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0)) as other:
            answering.send(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
            back = threading.Thread(target=_pipe, args=(other, client), daemon=True)
            back.start()
            _pipe(client, other)
            back.join()

    with ScriptedServer(answer) as proxy:
        yield proxy.url.removeprefix("http://")


def _pipe(source: socket.socket, to: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The other direction closed first.
        return


def test_plain_requests_are_forwarded_with_the_whole_address_and_the_proxys_key() -> None:
    with ScriptedServer(lambda a: a.send(WHOLE)) as proxy:
        access = Access(proxy=proxy.url.replace("//", "//me:secret@"))
        found = run(job(Target("http://engine.example:8000", "fake", VOCABULARY, access=access), 3))
        heads = [request.split(b"\r\n\r\n")[0].split(b"\r\n") for request in proxy.requests]
    assert [STATUS[code] for code in found.status] == ["ok"] * 3
    assert {head[0] for head in heads} == {b"POST http://engine.example:8000/v1/completions HTTP/1.1"}
    assert all(b"Host: engine.example:8000" in head for head in heads)
    assert all(f"Proxy-Authorization: {KEY}".encode() in head for head in heads)


def test_encrypted_requests_go_through_a_tunnel(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    heads: list[bytes] = []
    with ScriptedServer(lambda a: a.send(WHOLE), context) as server, tunnels_to(server, heads) as proxy:
        access = Access(proxy=f"http://me:secret@{proxy}", verify_tls=False)
        found = run(job(Target("https://engine.example", "fake", VOCABULARY, access=access), 3))
        inside = [request.split(b"\r\n")[0] for request in server.requests]
    assert [STATUS[code] for code in found.status] == ["ok"] * 3
    assert found.chunk_count.tolist() == [3] * 3
    assert inside == [b"POST /v1/completions HTTP/1.1"] * 3
    assert all(b"Proxy-Authorization" not in request for request in server.requests)
    (head,) = set(heads)
    assert head.split(b"\r\n") == [
        b"CONNECT engine.example:443 HTTP/1.1",
        b"Host: engine.example:443",
        f"Proxy-Authorization: {KEY}".encode(),
        b"",
        b"",
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy refused the connection with HTTP 407"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the proxy is no HTTP proxy: the answer is no HTTP/1.1 response"),
    ],
)
def test_a_proxy_that_lets_nothing_through_is_named(answer: bytes, said: str) -> None:
    with ScriptedServer(lambda a: a.send(answer)) as proxy:
        target = Target("https://engine.example", "fake", VOCABULARY, access=Access(proxy=proxy.url))
        found = run(job(target))
        port = urlsplit(proxy.url).port
    assert [STATUS[code] for code in found.status] == ["connect-error"]
    assert found.errors[0].startswith(f"no connection to engine.example:443: {said}")
    assert found.errors[0].endswith(f"(through the proxy 127.0.0.1:{port} (--proxy))")


def test_a_server_on_this_machine_is_reached_without_the_proxy() -> None:
    with ScriptedServer(lambda a: a.send(WHOLE)) as server, ScriptedServer(lambda a: a.close()) as proxy:
        found = run(job(Target(server.url, "fake", VOCABULARY, access=Access(proxy=proxy.url))))
        assert proxy.requests == []
    assert [STATUS[code] for code in found.status] == ["ok"]
