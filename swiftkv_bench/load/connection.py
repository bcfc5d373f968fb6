"""Keep-alive connections: one request at a time, every read stamped as it comes.

Owns sockets and the end of a response. What the bytes say is `load.response`'s part, when to send is
`load.client`'s.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from time import perf_counter
from typing import cast

from swiftkv_bench.access import Route
from swiftkv_bench.load import framing, response
from swiftkv_bench.load.framing import ChunkScanner, FramingError, Head
from swiftkv_bench.load.pacer import Pacer
from swiftkv_bench.load.response import Condensed, Reply
from swiftkv_bench.load.tunnel import open_tunnel
from swiftkv_bench.schema.requests import RequestStatus

_LAST_CHUNK = b"\r\n0\r\n\r\n"
CONDENSE_READS = 64
"""Reads of a stream that are kept as they came; then what they say is kept instead."""
CONDENSE_SHAPES = 10
"""JSON events parsed for it; streams that need more are kept raw until their end."""
CONNECT_TIMEOUT_S = 30.0
MAX_IDLE_S = 2.0
"""A used connection idle for longer is not used again: servers close theirs after a few seconds (uvicorn: 5 s),
and a request that meets the closing would be lost."""


class Exchange:
    """One request under way: what has been received, and when."""

    __slots__ = (
        "before", "before_s", "condense_at", "content_s", "index", "parts", "reused", "scheduled_s", "sent_s", "times",
    )  # fmt: skip

    def __init__(self, index: int, scheduled_s: float) -> None:
        self.index = index
        self.scheduled_s = scheduled_s
        self.sent_s = float("nan")
        self.content_s = float("nan")
        """When content last came, as far as it was looked for; at first when it was sent."""
        self.reused = False
        """Whether its connection had carried another before."""
        self.parts: list[bytes] = []
        self.times: list[float] = []
        self.before: Condensed | None = None
        """What was received before `parts`."""
        self.before_s = float("nan")
        """When the last of that was received."""
        self.condense_at = CONDENSE_READS
        """Reads in `parts` at which they are condensed."""

    def reply(self, *, closed: bool) -> Reply:
        """What was received, to be parsed."""
        return Reply(self.parts, self.times, closed, self.before)

    def condense(self) -> None:
        """Keeps in short what was received, where it is whole events; else tries again later."""
        condensed = response.condense(self.reply(closed=False), CONDENSE_SHAPES)
        if condensed is None:
            self.condense_at = 2 * len(self.parts)
            return
        self.before, self.before_s = condensed, self.times[-1]
        self.parts, self.times, self.condense_at = [], [], CONDENSE_READS

    def look_for_content(self) -> None:
        """Brings `content_s` up to date; what else came is no movement."""
        found = response.last_content_s(self.reply(closed=False))
        self.content_s = self.content_s if found is None else max(found, self.content_s)

    @property
    def received_bytes(self) -> int:
        """How much was received."""
        return sum(map(len, self.parts)) + (0 if self.before is None else self.before.bytes)

    @property
    def last_s(self) -> float:
        """When anything last moved."""
        if self.times:
            return self.times[-1]
        return self.sent_s if self.before is None else self.before_s


Finished = Callable[["Connection", Exchange, RequestStatus | None, str | None], None]
"""Called once an exchange: with None when its response is whole or the server closed, else with what went wrong."""


class Connection(asyncio.Protocol):
    """One connection to the server."""

    def __init__(self, pacer: Pacer, finished: Finished, lost: Callable[["Connection"], None]) -> None:
        self.idle_since_s: float | None = None
        """When its last response ended; None before the first request."""
        self.closed = False
        self.exchange: Exchange | None = None
        self._pacer = pacer
        self._finished = finished
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._fd: int | None = None
        self._head: Head | None = None
        self._scanner: ChunkScanner | None = None
        self._scanned = 0
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection is up."""
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        if transport.get_extra_info("ssl_object") is None:
            self._fd = transport.get_extra_info("socket").fileno()

    def send(self, exchange: Exchange, data: bytes) -> None:
        """Hands a request to the kernel and stamps it just before the first byte."""
        self.exchange = exchange
        self._head = None
        self._received = 0
        exchange.reused = self.idle_since_s is not None
        exchange.sent_s = exchange.content_s = perf_counter()
        if self._transport is None:
            raise RuntimeError("send needs a connection that is up")
        if self._fd is None:
            self._transport.write(data)
            return
        # A transport would write at the end of the loop's turn; nothing is queued before these bytes.
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            written = 0
        except OSError:
            # connection_lost follows and ends the exchange.
            return
        if written < len(data):
            self._transport.write(memoryview(data)[written:])

    def data_received(self, data: bytes) -> None:
        """asyncio: a read. Stamps it, keeps it, and only then looks whether it ends the response."""
        now = perf_counter()
        exchange = self.exchange
        if exchange is None:
            self.abort()
            return
        exchange.times.append(now)
        exchange.parts.append(data)
        if self._head is None or self._scanner is not None or data[-4:] == b"\r\n\r\n" or len(data) < 7:
            self._look_for_end(exchange, data)
        if now >= self._pacer.at_s:
            self._pacer.fire(now)
        elif len(exchange.parts) >= exchange.condense_at and self.exchange is exchange and self._scanner is None:
            exchange.condense()

    def eof_received(self) -> bool:
        """asyncio: the server sends no more; the transport is closed."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self.closed = True
        exchange, self.exchange = self.exchange, None
        self._lost(self)
        if exchange is None:
            return
        if exc is None and exchange.received_bytes:
            self._finished(self, exchange, None, None)
        else:
            how = "closed" if exc is None else f"broke ({type(exc).__name__})"
            self._finished(self, exchange, "reset", f"the connection {how} after {exchange.received_bytes} bytes")

    def abort(self) -> Exchange | None:
        """Closes at once; the exchange under way, if any, is returned and not reported."""
        exchange, self.exchange = self.exchange, None
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        return exchange

    def _look_for_end(self, exchange: Exchange, data: bytes) -> None:
        try:
            ended = self._ended(exchange, data)
        except FramingError as e:
            self.exchange = None
            self._finished(self, exchange, "malformed", str(e))
            self.abort()
            return
        if ended:
            self.exchange = None
            self._scanner = None
            self.idle_since_s = exchange.times[-1]
            keep = self._head is not None and self._head.keep_alive
            if not keep:
                self.abort()
            self._finished(self, exchange, None, None)

    def _ended(self, exchange: Exchange, data: bytes) -> bool:
        head = self._head
        if head is None:
            raw = b"".join(exchange.parts)
            head = self._head = framing.parse_head(raw)
            if head is None:
                return False
            self._received = len(raw) - head.body_start
            self._scanned = 0
            if head.chunked and not head.event_stream:
                self._scanner = ChunkScanner()
                return self._scanner.feed(raw[head.body_start :])
        else:
            self._received += len(data)
        if head.length is not None:
            return self._received >= head.length
        if self._scanner is not None:
            return self._scanner.feed(data)
        if not head.chunked or self._received == 0:
            return False
        return self._last_chunk_seen(exchange, head)

    def _last_chunk_seen(self, exchange: Exchange, head: Head) -> bool:
        tail = exchange.parts[-1]
        if len(tail) < len(_LAST_CHUNK):
            tail = b"".join(exchange.parts[-len(_LAST_CHUNK) :])
        if tail.endswith(_LAST_CHUNK):
            # No line of an event stream is a bare "0": this can only be the framing.
            return True
        if tail.endswith(b"\r\n\r\n"):
            # A trailer, or a stream whose lines end in CRLF: follow the framing from here on.
            self._scanner = ChunkScanner()
            start = head.body_start if exchange.before is None else 0
            return self._scanner.feed(b"".join(exchange.parts)[start:])
        return False


class Pool:
    """Idle connections, the most recently used on top, and a reserve of fresh ones below."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        route: Route,
        tls: ssl.SSLContext | None,
        make: Callable[["Pool"], Connection],
    ) -> None:
        self.opening = 0
        self.last_error: OSError | None = None
        self._loop = loop
        self._route = route
        self._tls = tls
        self._make = make
        self._idle: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: list[Callable[[Connection | None], None]] = []

    @property
    def idle(self) -> int:
        """Connections ready to be used."""
        return len(self._idle)

    def take(self, now_s: float) -> Connection | None:
        """A connection that is up and fresh enough, None if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.closed:
                continue
            if connection.idle_since_s is not None and now_s - connection.idle_since_s > MAX_IDLE_S:
                connection.abort()
                continue
            return connection
        return None

    def give(self, connection: Connection) -> None:
        """Takes a connection back, for whoever waits for one or for later."""
        if connection.closed:
            return
        if self._waiters:
            self._waiters.pop(0)(connection)
        else:
            self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """Drops a connection that is gone."""
        if connection in self._idle:
            self._idle.remove(connection)

    def wait(self, then: Callable[[Connection | None], None]) -> None:
        """Calls `then` with the next connection that is up, or with None when opening one failed."""
        self._waiters.append(then)
        if self.opening < len(self._waiters):
            self.open()

    def open(self, then: Callable[[Connection | None], None] | None = None) -> asyncio.Task[None]:
        """Opens one more connection, for `then` alone where that is given; it gets None when opening fails."""
        self.opening += 1
        task = self._loop.create_task(self._open(then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """Closes what is idle and stops opening."""
        for connection in self._idle:
            connection.abort()
        self._idle.clear()
        for task in self._tasks:
            task.cancel()

    async def _connected(self) -> Connection:
        route, name = self._route, self._route.host if self._tls else None
        if self._tls is None or route.proxy is None:
            host, port = route.address
            _, connection = await self._loop.create_connection(
                lambda: self._make(self), host, port, ssl=self._tls, server_hostname=name
            )
            return connection
        tunnel = await open_tunnel(self._loop, route)
        _, connection = await self._loop.create_connection(
            lambda: self._make(self), sock=tunnel, ssl=self._tls, server_hostname=name
        )
        return connection

    async def _open(self, then: Callable[[Connection | None], None] | None) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await self._connected()
        except OSError as e:
            self.last_error = e
            self.opening -= 1
            if then is not None:
                then(None)
            elif self._waiters:
                self._waiters.pop(0)(None)
            return
        self.opening -= 1
        if then is not None:
            then(connection)
        elif self._waiters:
            self._waiters.pop(0)(connection)
        else:
            # Below the used ones, so that these stay warm.
            self._idle.insert(0, connection)
