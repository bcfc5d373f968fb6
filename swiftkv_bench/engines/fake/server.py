"""HTTP/1.1 for the fake engine: routes, requests in, responses out."""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from swiftkv_bench.engines.fake import counters, faults, replies
from swiftkv_bench.engines.fake.asked import Asked, RefusedError, render_chat, understand
from swiftkv_bench.engines.fake.counters import Counters, PrefixCache
from swiftkv_bench.engines.fake.faults import ENDING, End, Fault, Script, is_kind
from swiftkv_bench.engines.fake.language import text_of, tokenise
from swiftkv_bench.engines.fake.options import Options
from swiftkv_bench.engines.fake.replies import Generated
from swiftkv_bench.engines.fake.scheduler import Run, Scheduler
from swiftkv_bench.engines.fake.write_log import WriteLog

VERSION = "0.0.0+fake"
_JSON = "application/json"
_TOLD = "the fake engine was told to refuse"
_PAGE = b"<html><h1>Welcome to the fake engine</h1></html>"
_REASONS = {
    201: "Created",
    307: "Temporary Redirect",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
}


@dataclass(frozen=True)
class Stream:
    """Where a streamed response goes."""

    chunked: bool
    """Whether its body is in chunked framing; else it ends with the connection."""
    fd: int | None
    """Socket that takes bytes directly; None where they are encrypted or others wait before them."""


class FakeEngine:
    """The engine behind all connections."""

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self.options = options
        self.scheduler = Scheduler(loop, options.max_num_seqs, with_player=options.writer == "auto")
        self.counters = Counters()
        self._cache = PrefixCache()
        self._turned_away = 0
        self._log = None if options.log is None else WriteLog(options.log)
        self._number = 0

    def protocol(self) -> "Connection":
        """A protocol for one more connection."""
        return Connection(self)

    def close(self) -> None:
        """Ends the writing of streams and writes the log."""
        self.scheduler.close()
        if self._log is not None:
            self._log.close()

    def simple(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body of everything that is no completion."""
        options = self.options
        if path in ("/health", "/ping", "/reset_prefix_cache"):
            if path == "/reset_prefix_cache":
                self._cache.clear()
            return 503 if ENDING.is_set() else 200, _JSON, b""
        if path == "/version":
            return _answer({"version": VERSION})
        if path == "/v1/models":
            card = {"id": options.model, "object": "model", "owned_by": "fake", "max_model_len": options.max_model_len}
            return _answer({"object": "list", "data": [card]})
        if path == "/metrics":
            scheduler = self.scheduler
            state = (scheduler.lateness, scheduler.running, scheduler.waiting, options.model)
            return 200, "text/plain; version=0.0.4", counters.page(self.counters, *state).encode()
        if path in ("/tokenize", "/detokenize"):
            return self._tokenizer(path, json.loads(body))
        return 404, _JSON, replies.error_body(404, f"there is no {path}")

    def _tokenizer(self, path: str, value: dict[str, Any]) -> tuple[int, str, bytes]:
        if path == "/detokenize":
            return _answer({"prompt": text_of(value["tokens"])})
        ids = tokenise(render_chat(value["messages"]) if "messages" in value else value["prompt"])
        return _answer({"count": len(ids), "max_model_len": self.options.max_model_len, "tokens": ids})

    def refusal(self, fault: Fault | None) -> tuple[int, str, bytes, str] | None:
        """Status, content type, body and a further header of a response that takes the place of an answer."""
        if fault is None:
            return None
        if fault.kind == "busy" and self._turned_away < fault.after:
            self._turned_away += 1
            return 429, _JSON, replies.error_body(429, _TOLD), f"retry-after: {fault.n}\r\n"
        if fault.kind in ("http-500", "http-429"):
            code = int(fault.kind[5:])
            return code, _JSON, replies.error_body(code, _TOLD), ""
        if fault.kind == "redirect":
            return 307, _JSON, b"", "Location: http://elsewhere:8000/v1/completions\r\n"
        return (200, "text/html", _PAGE, "") if fault.kind == "page" else None

    def run(
        self, asked: Asked, write: Callable[[bytes | End], None], ended: Callable[[], None], stream: Stream | None
    ) -> Run:
        """Submits a completion; its bytes are given to `write`, or go to the stream's socket, when they are due."""
        self._number += 1
        number, generated = self._number, self._generate(asked)
        uncached = max(len(one.prompt) - one.cached_tokens for one in generated)
        first_s = self.options.ttft_s + uncached * self.options.ttft_per_token_s
        count = max(len(one.tokens) for one in generated)
        end_s = first_s + (count - 1) * self.options.itl_s

        def begin() -> Script:
            if stream is not None:
                events = replies.streamed(asked, generated, number, first_s, self.options)
                script = faults.apply(asked.fault, events)
                return faults.chunked(script) if stream.chunked else script
            return replies.delayed(replies.whole(asked, generated, number, self.options), end_s)

        def over(run: Run) -> None:
            self._count(run, generated, first_s, end_s)
            if self._log is not None:
                self._log.add(run)
            ended()

        # A fault may end otherwise than by a byte.
        direct = stream is not None and asked.fault is None
        run = Run(begin, write, over, stream.fd if stream is not None and direct else None)
        self.scheduler.submit(run)
        return run

    def _generate(self, asked: Asked) -> list[Generated]:
        # An echo without generation still runs the model for one token, as vLLM does.
        asked = replace(asked, max_tokens=max(1, asked.max_tokens))
        generated = []
        for prompt in asked.prompts:
            cached = 0
            if self.options.prefix_cache:
                cached = self._cache.hits(prompt, asked.cache_salt)
                self.counters.prefix_queries += len(prompt)
                self.counters.prefix_hits += cached
            generated.append(replies.generate(asked, prompt, cached, self.options))
        return generated

    def _count(self, run: Run, generated: list[Generated], first_s: float, end_s: float) -> None:
        count, queued_s = self.counters, run.started_s - run.arrived_s
        for one in generated:
            count.prompt_tokens += len(one.prompt)
            count.generation_tokens += len(one.tokens)
            count.finished[one.finish_reason] = count.finished.get(one.finish_reason, 0) + 1
            count.queue_s.add(queued_s)
            count.prefill_s.add(first_s)
            count.decode_s.add(end_s - first_s)
            count.ttft_s.add(queued_s + first_s)
            count.e2e_s.add(queued_s + end_s)


def _answer(value: dict[str, Any]) -> tuple[int, str, bytes]:
    return 200, _JSON, json.dumps(value).encode()


class Connection(asyncio.Protocol):
    """One client connection; one request at a time."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._buffer = bytearray()
        self._run: Run | None = None
        self._busy = False
        self._served = False
        """Whether a completion came before."""
        self._chunked = True
        self._transport: asyncio.Transport
        self._fd: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client came."""
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        if transport.get_extra_info("ssl_object") is None:
            self._fd = transport.get_extra_info("socket").fileno()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the client has gone; what it asked for is dropped."""
        self._fd = None
        if self._run is not None:
            self._engine.scheduler.drop(self._run)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes of requests."""
        self._buffer += data
        while not self._busy and self._take_request():
            pass

    def _take_request(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(fields.get("content-length", "0"))
        if len(self._buffer) < end + 4 + length:
            return False
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        _, path, *_ = lines[0].split(" ")
        self._handle(path.partition("?")[0], fields, body)
        return True

    def _handle(self, path: str, fields: dict[str, str], body: bytes) -> None:
        key = self._engine.options.api_key
        if key is not None and path.startswith("/v1") and fields.get("authorization") != f"Bearer {key}":
            self._respond(401, _JSON, replies.error_body(401, "Unauthorized"))
        elif path in ("/v1/completions", "/v1/chat/completions"):
            self._complete(body, chat=path.endswith("chat/completions"))
        else:
            self._respond(*self._engine.simple(path, body))

    def _complete(self, body: bytes, *, chat: bool) -> None:
        try:
            asked = understand(body, self._engine.options, chat=chat)
        except RefusedError as e:
            self._respond(e.code, _JSON, replies.error_body(e.code, str(e)))
            return
        if is_kind(asked.fault, "drop-idle") and self._served:
            self._transport.abort()
            return
        self._served = True
        if (refusal := self._engine.refusal(asked.fault)) is not None:
            self._respond(*refusal)
            return
        self._busy = True
        if not asked.stream or is_kind(asked.fault, "whole"):
            self._run = self._engine.run(asked, self._write_whole, self._ended, None)
            return
        self._chunked = not is_kind(asked.fault, "no-length")
        how = "transfer-encoding: chunked" if self._chunked else "connection: close"
        kind = "text/plain" if is_kind(asked.fault, "plain-type") else "text/event-stream; charset=utf-8"
        status = "201 Created" if is_kind(asked.fault, "http-201") else "200 OK"
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{how}\r\n\r\n"
        self._send(head.encode())
        fd = self._fd if self._transport.get_write_buffer_size() == 0 else None
        self._run = self._engine.run(asked, self._write_event, self._stream_ended, Stream(self._chunked, fd))

    def _respond(self, status: int, kind: str, body: bytes, more: str = "") -> None:
        reason = _REASONS.get(status, "Internal Server Error")
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\n\r\n"
        self._send(head.encode() + body)

    def _write_whole(self, data: bytes | End) -> None:
        if not isinstance(data, End):
            self._respond(200, _JSON, data)

    def _write_event(self, data: bytes | End) -> None:
        if isinstance(data, End):
            self._end_with(data)
        else:
            self._send(data)

    def _end_with(self, end: End) -> None:
        if end is End.RESET:
            # A linger time of zero makes the kernel send RST instead of FIN.
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        elif end is End.CLOSE:
            self._transport.close()

    def _stream_ended(self) -> None:
        run = self._run
        if run is not None and isinstance(run.pending, End):
            # Closed already, or stalled: the connection stays as it is.
            return
        if self._chunked:
            self._ended()
        else:
            self._transport.close()

    def _ended(self) -> None:
        self._run = None
        self._busy = False
        if self._buffer:
            self.data_received(b"")

    def _send(self, data: bytes) -> None:
        # Straight to the kernel where nothing waits: a transport would write at the end of the loop's turn.
        if self._fd is not None and self._transport.get_write_buffer_size() == 0:
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                written = 0
            except OSError:
                return
            if written == len(data):
                return
            data = data[written:]
        self._transport.write(data)
