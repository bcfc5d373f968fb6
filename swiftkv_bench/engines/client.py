"""The HTTP client for everything but load: probes, scoring, counters, health. JSON or text, retries within bounds.

Latency is not measured with it, so it stays simple; the load generator has a client of its own. How a server is
reached is `swiftkv_bench.access`' part.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from swiftkv_bench import units
from swiftkv_bench.access import OPEN, Access
from swiftkv_bench.errors import EngineError
from swiftkv_bench.observer import Observer, Silent
from swiftkv_bench.refusal import said_of

RETRY_DELAYS_S = (0.2, 1.0, 3.0)
"""Pauses before the second, third and fourth attempt of a request."""
RETRY_AFTER_MOST_S = 60.0
"""A server that tells to wait longer is asked again after so long."""
RETRY_AFTER_WAITS = 20
"""How often a request waits as it is told before it has failed."""

_BUSY = frozenset({429, 503})
_RETRIED_STATUS = frozenset({429, 502, 503, 504})
_CONNECTION_LOST = (ConnectionError, http.client.HTTPException, TimeoutError, ssl.SSLError, OSError)


class RefusedError(EngineError):
    """The server answered a request with an error of the 3xx, 4xx or 5xx kind.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class LostError(EngineError):
    """The server could not be reached, or went away and did not come back."""


@dataclass(frozen=True)
class _Answer:
    status: int
    content: bytes
    location: str | None
    retry_after: str | None


class Client:
    """Asks one server from any number of threads. A context manager that closes its connections."""

    def __init__(
        self,
        base_url: str,
        access: Access = OPEN,
        *,
        timeout_s: float = 600.0,
        patient: bool = True,
        observer: Observer | None = None,
    ) -> None:
        """
        Args:
            patient: whether a request that failed is tried again.
            observer: told when a server orders to wait.

        Raises:
            InputError: this is no address of a server.
        """
        self.base_url = base_url.rstrip("/")
        self._access = access
        self._route = self._access.route(self.base_url)
        self._context = self._access.context() if self._route.tls else None
        self._prefix = self._route.target(urlsplit(self.base_url).path.rstrip("/").removesuffix("/v1"))
        self._timeout_s = timeout_s
        self._delays_s = RETRY_DELAYS_S if patient else ()
        self._waits = RETRY_AFTER_WAITS if patient else 0
        self._observer = Silent() if observer is None else observer
        self._lock = threading.Lock()
        self._waiting = 0
        """Requests that wait as they were told."""
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._closed = threading.Event()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON answer to a JSON request.

        Raises:
            RefusedError: the server answered with an error.
            LostError: the connection was lost and retries did not bring it back.
            EngineError: the answer is no JSON.
        """
        return self._json(path, self._request("POST", path, json.dumps(body).encode()))

    def read_times(self, path: str, body: dict[str, Any]) -> list[float]:
        """When each piece of a streamed answer was read, seconds from the send.

        Raises:
            RefusedError, LostError: as `post`, without further attempts.
        """
        with contextlib.closing(self._connection()) as connection:
            begun = time.perf_counter()
            try:
                connection.request("POST", self._prefix + path, json.dumps(body).encode(), self._headers)
                response = connection.getresponse()
                times = []
                while response.read1(65536):
                    times.append(time.perf_counter() - begun)
            except _CONNECTION_LOST as e:
                raise self._lost(path, 1, f"{type(e).__name__}: {' '.join(str(e).split())}") from e
        if response.status >= 300:
            raise RefusedError(response.status, f"{self.base_url}{path} answered HTTP {response.status} to a stream")
        return times

    def get(self, path: str) -> str:
        """The body of an answer as text.

        Raises:
            RefusedError, LostError: as `post`.
        """
        return self._request("GET", path, None).decode("utf-8", "replace")

    def get_json(self, path: str) -> Any:
        """The body of an answer as JSON.

        Raises:
            RefusedError, LostError, EngineError: as `post`.
        """
        return self._json(path, self._request("GET", path, None))

    def close(self) -> None:
        """Closes idle connections and cuts those in use, whose requests then fail without further attempts."""
        self._closed.set()
        self._drop_idle()
        with self._lock:
            for connection in self._busy:
                if connection.sock is not None:
                    with contextlib.suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(self, method: str, path: str, data: bytes | None) -> bytes:
        failed = waited = 0
        lost: EngineError | None = None
        while not self._closed.is_set():
            told_s = cause = None
            try:
                answer = self._attempt(method, path, data)
            except _CONNECTION_LOST as e:
                # Servers close kept-alive connections after seconds; all idle ones are likely as stale as this one.
                self._drop_idle()
                cause, lost = e, self._lost(path, failed + 1, f"{type(e).__name__}: {' '.join(str(e).split())}")
            else:
                if answer.status < 300:
                    return answer.content
                lost = self._refused(path, failed + 1, answer)
                if answer.status not in _RETRIED_STATUS:
                    raise lost
                told_s = retry_after_s(answer.retry_after) if answer.status in _BUSY else None
            if told_s is not None and waited < self._waits:
                waited += 1
                self._wait(path, told_s)
            elif failed < len(self._delays_s):
                failed += 1
                self._closed.wait(self._delays_s[failed - 1])
            else:
                raise lost from cause
        raise lost if lost is not None else LostError(f"{self.base_url}{path} was not asked: this client is closed")

    def _wait(self, path: str, told_s: float) -> None:
        """Waits as a busy server tells."""
        wait_s = min(told_s, RETRY_AFTER_MOST_S)
        with self._lock:
            self._waiting += 1
            text = f"{self.base_url}{path} is busy and says to wait {units.duration(told_s)}"
            self._observer.progress("busy", text)
        self._closed.wait(wait_s)
        with self._lock:
            self._waiting -= 1
            if not self._waiting:
                self._observer.finish("busy")

    def _refused(self, path: str, times: int, answer: _Answer) -> EngineError:
        where = f"{self.base_url}{path}{self._route.via}"
        if answer.status in _RETRIED_STATUS - {429}:
            return self._lost(path, times, f"HTTP {answer.status}: {self._said(answer)}")
        if answer.status < 400:
            to = answer.location or "no address"
            return RefusedError(answer.status, f"{where} redirects (HTTP {answer.status}) to {to}; give that address")
        return RefusedError(answer.status, f"{where} answered HTTP {answer.status}: {self._said(answer)}")

    def _said(self, answer: _Answer) -> str:
        return self._access.hide(said_of(answer.content))

    def _lost(self, path: str, times: int, why: str) -> LostError:
        attempts = f" in {times} attempts" if times > 1 else ""
        repair = "are server and proxy running there?" if self._route.via else "is the server running there?"
        return LostError(f"{self.base_url}{path} did not answer{attempts}{self._route.via} ({why}); {repair}")

    def _attempt(self, method: str, path: str, data: bytes | None) -> _Answer:
        with self._lock:
            connection = self._idle.pop() if self._idle else self._connection()
            self._busy.add(connection)
        whole = False
        try:
            connection.request(method, self._prefix + path, data, self._headers)
            response = connection.getresponse()
            content = response.read()
            whole = True
            return _Answer(response.status, content, response.getheader("Location"), response.getheader("Retry-After"))
        finally:
            with self._lock:
                self._busy.discard(connection)
                keep = whole and not self._closed.is_set()
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()

    @property
    def _headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json", **self._access.headers, **self._route.headers}

    def _connection(self) -> http.client.HTTPConnection:
        route = self._route
        host, port = route.address
        if self._context is None:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        connection = http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._context)
        if route.proxy is not None:
            connection.set_tunnel(route.host, route.port, dict(route.proxy.headers))
        return connection

    def _json(self, path: str, content: bytes) -> Any:
        try:
            return json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as e:
            where = f"{self.base_url}{path}{self._route.via}"
            raise EngineError(
                f"{where} answered something that is no JSON: {content[:80]!r}; is it an OpenAI-compatible server?"
            ) from e


def retry_after_s(value: str | None, now_s: float | None = None) -> float | None:
    """Seconds that a Retry-After header tells to wait, in either of its forms; None where it tells none.

    Args:
        now_s: time since the epoch; None: now.
    """
    text = "" if value is None else value.strip()
    if text.isdigit() and text.isascii():
        return float(text)
    try:
        at_s = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, at_s - (time.time() if now_s is None else now_s))
