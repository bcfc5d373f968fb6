"""A way through an HTTP proxy to a server that speaks TLS: CONNECT, as RFC 9110 section 9.3.6 has it."""

import asyncio
import socket

from swiftkv_bench.access import Route
from swiftkv_bench.load import framing

_MOST_BYTES = 65536


async def open_tunnel(loop: asyncio.AbstractEventLoop, route: Route) -> socket.socket:
    """A socket whose other end is the server, past the proxy.

    Raises:
        OSError: the proxy cannot be reached or does not let the connection through.
    """
    if route.proxy is None:
        raise ValueError("a tunnel needs a proxy")
    infos = await loop.getaddrinfo(route.proxy.host, route.proxy.port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = infos[0]
    tunnel = socket.socket(family, kind, protocol)
    try:
        tunnel.setblocking(False)
        await loop.sock_connect(tunnel, address)
        await loop.sock_sendall(tunnel, _request(route))
        await _let_through(loop, tunnel)
    except BaseException:
        tunnel.close()
        raise
    return tunnel


def _request(route: Route) -> bytes:
    headers = {} if route.proxy is None else route.proxy.headers
    lines = [f"CONNECT {route.authority} HTTP/1.1", f"Host: {route.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _let_through(loop: asyncio.AbstractEventLoop, tunnel: socket.socket) -> None:
    raw = b""
    while len(raw) < _MOST_BYTES:
        # The server says nothing before the client does, so that no byte of it can be in here.
        got = await loop.sock_recv(tunnel, 4096)
        raw += got
        try:
            head = framing.parse_head(raw)
        except framing.FramingError as e:
            raise OSError(f"the proxy is no HTTP proxy: {e}") from e
        if head is not None and 200 <= head.status < 300:
            return
        if head is not None:
            raise OSError(f"the proxy refused the connection with HTTP {head.status}")
        if not got:
            break
    raise OSError("the proxy closed the connection")
