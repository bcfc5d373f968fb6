"""A blocking HTTP client for probes and scoring: one kept-alive connection a thread, bounded retries.

Latency is not measured with it, so it stays simple; the load generator has a client of its own.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from swiftkv_bench.errors import EngineError

RETRY_DELAYS_S = (0.2, 1.0, 3.0)
"""Pauses before the second, third and fourth attempt of a request."""

_RETRIED_STATUS = frozenset({502, 503, 504})
_CONNECTION_LOST = (ConnectionError, http.client.HTTPException, TimeoutError, ssl.SSLError, OSError)


class RefusedError(EngineError):
    """The server answered a request with an error of the 4xx or 5xx kind.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class LostError(EngineError):
    """The server could not be reached, or went away and did not come back."""


class Client:
    """Posts JSON to one server from any number of threads. A context manager that closes its connections."""

    def __init__(self, base_url: str, api_key: str | None = None, *, timeout_s: float = 600.0) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or parts.hostname is None:
            raise EngineError(f"{base_url} is no address of a server; give http://host:port")
        self.base_url = base_url.rstrip("/")
        self._host, self._port = parts.hostname, parts.port
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
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
        return _json(self.base_url + path, self._request("POST", path, json.dumps(body).encode()))

    def get(self, path: str) -> str:
        """The body of an answer as text.

        Raises:
            RefusedError, LostError: as `post`.
        """
        return self._request("GET", path, None).decode("utf-8", "replace")

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
        lost: BaseException | None = None
        for delay_s in (0.0, *RETRY_DELAYS_S):
            if self._closed.wait(delay_s):
                break
            try:
                status, content = self._attempt(method, path, data)
            except _CONNECTION_LOST as e:
                lost = e
                # Servers close kept-alive connections after seconds; all idle ones are likely as stale as this one.
                self._drop_idle()
                continue
            if status in _RETRIED_STATUS:
                lost = EngineError(f"HTTP {status}")
                continue
            if status >= 400:
                raise RefusedError(status, f"{self.base_url}{path} answered HTTP {status}: {_message(content)}")
            return content
        raise LostError(
            f"{self.base_url}{path} did not answer in {1 + len(RETRY_DELAYS_S)} attempts "
            f"({type(lost).__name__}: {lost}); is the engine still running?"
        ) from lost

    def _attempt(self, method: str, path: str, data: bytes | None) -> tuple[int, bytes]:
        with self._lock:
            connection = self._idle.pop() if self._idle else self._kind(self._host, self._port, timeout=self._timeout_s)
            self._busy.add(connection)
        whole = False
        try:
            connection.request(method, self._prefix + path, body=data, headers=self._headers)
            response = connection.getresponse()
            content = response.read()
            whole = True
            return response.status, content
        finally:
            with self._lock:
                self._busy.discard(connection)
                keep = whole and not self._closed.is_set()
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()


def _json(url: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as e:
        raise EngineError(f"{url} answered something that is no JSON: {content[:80]!r}") from e


def _message(content: bytes) -> str:
    """The error message of an OpenAI-style error body, else its beginning."""
    text = content.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return _plain(text)
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message", text) if isinstance(error, dict) else str(error)
    return _plain(str(message))


def _plain(text: str) -> str:
    """One line of at most 300 characters that a terminal may show."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:300]
