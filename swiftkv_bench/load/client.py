"""Sends the requests of a job when they are due and records what comes back.

One event loop, no task per request: the pacer calls `_send_due`, connections call `_finished`. Latencies are not
computed here; `swiftkv_bench.metrics` does it from the record.

Requests are numbered conversation by conversation: those of the ramp before the window are below 0, the measured ones
from 0 on, those that keep the load on behind them.
"""

import asyncio
import gc
import re
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from swiftkv_bench.load.connection import Connection, Exchange, Pool
from swiftkv_bench.load.job import Job, Slice
from swiftkv_bench.load.pacer import NEVER, Pacer
from swiftkv_bench.load.rows import EndedAs, Rows
from swiftkv_bench.schema.requests import RequestStatus

_INLINE_SHAPES = 10
"""JSON events parsed at the end of a response; one that needs more waits for the end of the window."""
_RESERVE_S = 0.1
"""Connections kept in reserve: arrivals in so many seconds."""
_RESERVE_MOST = 64
_CONNECT_AT_ONCE = 64
_BROKEN_OFF = "an earlier turn of its conversation failed"


@dataclass(frozen=True)
class Progress:
    """Measured requests so far."""

    sent: int
    finished: int
    failed: int
    in_flight: int


class Client:
    """Runs one job. `prepare`, then `start`; `drained` is called when the last measured request has ended."""

    def __init__(self, job: Job, loop: asyncio.AbstractEventLoop, drained: Callable[[], None]) -> None:
        self._job = job
        self._loop = loop
        self._drained = drained
        self._requests = job.requests
        self._rows = Rows()
        self._active: dict[Connection, Exchange] = {}
        self._waiting: dict[int, float] = {}
        self._next = 0
        """Conversations begun, those of the ramp among them."""
        self._begun = 0
        """Measured requests that were due."""
        self._in_flight = 0
        self._held: deque[tuple[int, float]] = deque()
        """Requests that are due and wait for their place under the cap."""
        self._thinking: dict[int, asyncio.TimerHandle] = {}
        """Next turns whose time has not come, by number."""
        self._open = True
        self._is_drained = False
        self._pacer = Pacer(loop, self._send_due)
        self._route = job.target.route
        self._pool = Pool(loop, self._route, job.target.access.context() if self._route.tls else None, self._connect)
        self._ramp = len(job.ramp_s)
        self._due = np.concatenate([job.ramp_s, [] if job.due_s is None else job.due_s, job.tail_s])
        self._due_list = array("d")
        self._until_s = NEVER
        self._reserve = 0
        self._sent_again = 0
        self._sweep_s = min(1.0, job.idle_timeout_s / 4, job.request_timeout_s / 4)
        self._t0 = self._cpu0 = 0.0
        self._delay0: float | None = None

    @property
    def progress(self) -> Progress:
        """Measured requests so far."""
        return Progress(self._begun, len(self._rows), self._rows.failed, self._begun - len(self._rows))

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Requests in flight, as far as they have come."""
        return tuple(self._active.values())

    @property
    def _wanted(self) -> int:
        """Measured conversations."""
        return self._measured // self._job.turns

    @property
    def _measured(self) -> int:
        return self._next * self._job.turns if self._job.duration_s is not None else len(self._requests)

    async def prepare(self) -> None:
        """Opens connections, and keeps the garbage collector away until `result`.

        Connections that fail are left to the requests that will need them. A collection takes tens of milliseconds:
        it is made here, because in `start` it would delay the first request.
        """
        wanted = self._job.concurrency
        for first in range(0, wanted, _CONNECT_AT_ONCE):
            await asyncio.gather(*(self._pool.open() for _ in range(min(_CONNECT_AT_ONCE, wanted - first))))
            if self._pool.last_error is not None:
                break
        gc.collect()
        gc.freeze()
        gc.disable()

    def start(self, t0_s: float) -> None:
        """Opens the window at a time on the `perf_counter` axis."""
        self._t0 = t0_s
        self._due_list = array("d", (self._due + t0_s).tobytes())
        gaps_s = np.diff(self._due)
        typical_s = float(np.median(gaps_s)) if len(gaps_s) else 0.0
        self._reserve = 0 if typical_s == 0 else min(_RESERVE_MOST, 2 + int(_RESERVE_S / typical_s))
        if self._job.duration_s is not None:
            self._until_s = t0_s + self._job.duration_s
        self._mark()
        if self._ramp:
            self._loop.call_later(max(0.0, t0_s - perf_counter()), self._mark)
        self._loop.call_later(self._sweep_s, self._sweep)
        if self._job.due_s is None:
            self._pacer.arm(t0_s)
        elif self._due_list:
            self._pacer.arm(self._due_list[0])
        else:
            self._loop.call_soon(self._check_drained)

    def _mark(self) -> None:
        """What the process has spent before the window."""
        self._cpu0, self._delay0 = process_time(), run_queue_delay_s()

    def stop(self, error: str) -> None:
        """Ends all load; measured requests that have not ended become `cancelled` for the reason given."""
        self._open = False
        self._pacer.arm(NEVER)
        now = perf_counter()
        for connection, exchange in list(self._active.items()):
            connection.abort()
            self._record(exchange, ("cancelled", error), now, closed=True)
        self._active.clear()
        due = [*self._waiting.items(), *self._held]
        due += [(index, now) for index in self._thinking]
        for handle in self._thinking.values():
            handle.cancel()
        if self._job.due_s is not None:
            first = self._next - self._ramp
            due += [(i * self._job.turns, self._due_list[i + self._ramp]) for i in range(max(0, first), self._wanted)]
        for index, scheduled_s in due:
            self._record(Exchange(index, scheduled_s), ("cancelled", error), now, closed=True)
        self._pool.close()
        self._pacer.close()

    def result(self, loop_name: str) -> Slice:
        """The record of all measured requests. Parses what was left to be parsed; call it once, after `stop`."""
        cpu_s, delay_s = process_time() - self._cpu0, run_queue_delay_s()
        gc.enable()
        gc.unfreeze()
        waited = None if delay_s is None or self._delay0 is None else delay_s - self._delay0
        sent = [self._requests[i % len(self._requests)] for i in range(len(self._rows))]
        columns = self._rows.columns(self._t0)
        via, hide = f" ({self._route.via.strip()})" if self._route.via else "", self._job.target.access.hide
        columns["errors"] = {i: hide(text) + via for i, text in columns["errors"].items()}
        return Slice(
            prompt_tokens_asked=np.array([request.prompt_tokens for request in sent], dtype=np.int64),
            output_tokens_asked=np.array([request.output_tokens for request in sent], dtype=np.int64),
            turn=np.arange(len(sent), dtype=np.int64) % self._job.turns,
            cpu_s=cpu_s,
            run_queue_delay_s=waited,
            max_rss_bytes=max_rss_bytes(),
            loop=loop_name,
            pacer=self._pacer.kind,
            sent_again=self._sent_again,
            tail_requests=max(0, self._next - self._ramp - self._wanted) * self._job.turns,
            **columns,
        )

    def _connect(self, pool: Pool) -> Connection:
        return Connection(self._pacer, self._finished, pool.forget)

    def _send_due(self, now_s: float) -> None:
        if not self._open:
            return
        if self._job.due_s is None:
            self._pacer.arm(NEVER)
            for _ in range(self._job.concurrency):
                self._send_closed_loop()
            return
        due, i = self._due_list, self._next
        while i < len(due) and due[i] <= now_s:
            self._next = i + 1
            self._send((i - self._ramp) * self._job.turns, due[i])
            i += 1
            now_s = perf_counter()
        self._pacer.arm(due[i] if i < len(due) else NEVER)

    def _send_closed_loop(self) -> None:
        now, index = perf_counter(), self._next * self._job.turns
        over = now >= self._until_s if self._job.duration_s is not None else index >= len(self._requests)
        if not over and self._open:
            self._next += 1
            self._send(index, now)

    def _send(self, index: int, scheduled_s: float) -> None:
        self._begun += 0 <= index < self._measured
        if self._job.most_in_flight is not None and (self._held or self._in_flight >= self._job.most_in_flight):
            self._held.append((index, scheduled_s))
        else:
            self._send_now(index, scheduled_s)

    def _send_held(self) -> None:
        while self._held and self._open and self._in_flight < (self._job.most_in_flight or 0):
            self._send_now(*self._held.popleft())

    def _send_turn(self, index: int) -> None:
        del self._thinking[index]
        if self._open:
            self._send(index, perf_counter())

    def _send_now(self, index: int, scheduled_s: float) -> None:
        self._in_flight += 1
        connection = self._pool.take(perf_counter())
        if connection is None:
            self._waiting[index] = scheduled_s
            self._pool.wait(lambda found: self._send_when_connected(found, index))
        else:
            self._send_on(connection, index, scheduled_s)
        if self._pool.idle + self._pool.opening < self._reserve:
            self._pool.open()

    def _send_when_connected(self, connection: Connection | None, index: int) -> None:
        scheduled_s = self._waiting.pop(index, None)
        if scheduled_s is None:
            return
        if connection is None:
            reason = f"no connection to {self._route.authority}: {self._pool.last_error}"
            exchange = Exchange(index, scheduled_s)
            self._record(exchange, ("connect-error", reason), perf_counter(), closed=True)
            self._after(index, ok=False)
        else:
            self._send_on(connection, index, scheduled_s)

    def _send_on(self, connection: Connection, index: int, scheduled_s: float) -> None:
        base = self._requests[index % len(self._requests)]
        exchange = Exchange(index, scheduled_s)
        self._active[connection] = exchange
        connection.send(exchange, base.rotated(index // len(self._requests)).data)
        if self._job.due_s is None or index % self._job.turns:
            exchange.scheduled_s = exchange.sent_s

    def _finished(
        self, connection: Connection, exchange: Exchange, status: RequestStatus | None, error: str | None
    ) -> None:
        self._active.pop(connection, None)
        if status == "reset" and exchange.reused and not exchange.received_bytes and self._open:
            # The server had closed it before the request came.
            self._send_again(exchange)
            return
        end_s = exchange.last_s if status is None else perf_counter()
        ended_as = None if status is None else (status, error or "")
        self._pool.give(connection)
        ok = self._record(exchange, ended_as, end_s, closed=connection.closed)
        self._after(exchange.index, ok=ok)

    def _send_again(self, exchange: Exchange) -> None:
        index = exchange.index
        self._sent_again += 0 <= index < self._measured
        self._waiting[index] = exchange.scheduled_s
        self._pool.open(lambda found: self._send_when_connected(found, index))

    def _after(self, index: int, *, ok: bool) -> None:
        # From the loop, so that a server that refuses at once does not recurse.
        self._in_flight -= 1
        if self._held:
            self._loop.call_soon(self._send_held)
        if ok and (index + 1) % self._job.turns:
            self._thinking[index + 1] = self._loop.call_later(self._job.think_s, self._send_turn, index + 1)
        elif self._job.due_s is None:
            self._loop.call_soon(self._send_closed_loop)
        if index < self._measured:
            self._loop.call_soon(self._check_drained)

    def _record(self, exchange: Exchange, ended_as: EndedAs, end_s: float, *, closed: bool) -> bool:
        """Keeps a measured request; whether it is known to be good so far. A failed one ends its conversation."""
        index = exchange.index
        if not 0 <= index < self._measured:
            return ended_as is None
        times_s = (exchange.scheduled_s, exchange.sent_s, end_s)
        ok = self._rows.add(index, times_s, exchange.reply(closed=closed), ended_as, _INLINE_SHAPES)
        turns = self._job.turns
        if not ok and (index + 1) % turns:
            stopped = ended_as is not None and ended_as[0] == "cancelled"
            self._begun += 1
            self._record(
                Exchange(index + 1, end_s), ended_as if stopped else ("cancelled", _BROKEN_OFF), end_s, closed=True
            )
        return ok

    def _check_drained(self) -> None:
        if self._is_drained or not self._open or (self._job.due_s is None and self._active):
            return
        over = self._job.duration_s is None or perf_counter() >= self._until_s
        if over and len(self._rows) >= self._measured:
            self._is_drained = True
            self._drained()

    def _sweep(self) -> None:
        if not self._open:
            return
        now = perf_counter()
        for connection, exchange in list(self._active.items()):
            reason = self._stalled(exchange, now)
            if reason is not None:
                del self._active[connection]
                connection.abort()
                self._record(exchange, ("stalled", reason), now, closed=True)
                self._after(exchange.index, ok=False)
        self._check_drained()
        self._loop.call_later(self._sweep_s, self._sweep)

    def _stalled(self, exchange: Exchange, now: float) -> str | None:
        """Why a request is given up; None while it moves."""
        idle_s, whole_s = self._job.idle_timeout_s, self._job.request_timeout_s
        if now - exchange.sent_s > whole_s:
            return f"it was not finished after {whole_s:g} s (--request-timeout)"
        if now - exchange.content_s <= idle_s:
            return None
        if now - exchange.last_s > idle_s:
            return f"nothing arrived for {idle_s:g} s"
        exchange.look_for_content()
        return None if now - exchange.content_s <= idle_s else f"no content arrived for {idle_s:g} s"


def run_queue_delay_s() -> float | None:
    """Seconds this process's main thread has waited for a processor; None where the kernel does not say."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


def max_rss_bytes() -> int | None:
    """Peak resident memory of this process; None where the kernel does not say."""
    # getrusage's figure outlives fork and exec: it is the parent's peak where that was higher.
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return None if found is None else int(found.group(1)) * 1024
