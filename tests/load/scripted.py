"""A server that answers with the bytes it is told, and a client run in this process."""

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter
from types import TracebackType
from typing import Self

import numpy as np

from swiftkv_bench.load.client import Client
from swiftkv_bench.load.job import Job, Slice, empty_times
from swiftkv_bench.load.request import encode
from swiftkv_bench.load.target import Target
from swiftkv_bench.load.worker import event_loop
from swiftkv_bench.load.workload import Prompt

VOCABULARY = ((0, 256),)


class Answering:
    """One request being answered."""

    def __init__(self, connection: socket.socket, request: bytes, number: int) -> None:
        self._connection = connection
        self.request = request
        """Head and body as they came."""
        self.number = number
        """0 for the first request of the server."""

    def send(self, *pieces: bytes, apart_s: float = 0.002) -> None:
        """Sends pieces, each in a segment of its own."""
        for i, piece in enumerate(pieces):
            if i:
                time.sleep(apart_s)
            self._connection.sendall(piece)

    def close(self) -> None:
        """Closes in order (FIN)."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def reset(self) -> None:
        """Breaks the connection (RST)."""
        # A linger time of zero makes the kernel send RST instead of FIN.
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


class ScriptedServer:
    """Calls `answer` for every request; a thread each connection."""

    def __init__(self, answer: Callable[[Answering], None], tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        """Address."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with self._lock:
                self.connections += 1
                self._open.append(connection)
            while request := _read_request(connection):
                with self._lock:
                    number = len(self.requests)
                    self.requests.append(request)
                self._answer(Answering(connection, request, number))
        except OSError:
            # The client, or the test, closed it.
            connection.close()


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        got = connection.recv(65536)
        if not got:
            return b""
        data += got
    head = data[: data.index(b"\r\n\r\n") + 4]
    lengths = (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    length = next(lengths, 0)
    while len(data) < len(head) + length:
        data += connection.recv(65536)
    return data


def prompts(n: int, output_tokens: int = 3) -> list[Prompt]:
    """`n` different prompts of four tokens."""
    return [Prompt(np.array([i % 256, 1, 2, 3], dtype=np.uint32), output_tokens) for i in range(n)]


def job(
    target: Target | str,
    n: int = 1,
    *,
    due_s: Sequence[float] | None = None,
    of: Sequence[Prompt] | None = None,
    **changes: object,
) -> Job:
    """Requests, `n` or those of the given prompts, one after another or at due times."""
    where = Target(target, "fake", VOCABULARY) if isinstance(target, str) else target
    sent = prompts(n if due_s is None else len(due_s)) if of is None else of
    fields: dict[str, object] = {
        "target": where,
        "requests": [encode(prompt, where) for prompt in sent],
        "due_s": None if due_s is None else np.array(due_s),
        "tail_s": empty_times(),
        "concurrency": 1,
        "duration_s": None,
        "warmup": [],
        "idle_timeout_s": 20.0,
        **changes,
    }
    return Job(**fields)  # type: ignore[arg-type]


def run(
    job: Job, *, watch: Callable[[Client], None] = lambda _: None, until: Callable[[Client], bool] | None = None
) -> Slice:
    """Runs a job in this process until its last measured request has ended, or until something holds.

    Args:
        watch: called again and again meanwhile.
    """
    loop, name = event_loop()

    async def measured() -> Slice:
        over = asyncio.Event()
        client = Client(job, loop, over.set)
        await client.prepare()
        client.start(perf_counter() + 0.01)
        async with asyncio.timeout(60):
            while not (over.is_set() if until is None else until(client)):
                await asyncio.sleep(0.002)
                watch(client)
        client.stop("the test is over")
        return client.result(name)

    try:
        return loop.run_until_complete(measured())
    finally:
        # Transports that were aborted close in the next turn.
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
