"""When the fake engine says what: places in the batch, due times of every write, and its own lateness."""

import asyncio
import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from swiftkv_bench.engines.fake.faults import End, Script
from swiftkv_bench.load.pacer import NEVER, Pacer

LATENESS_BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
_WRITES_A_TURN = 256
"""After so many writes, requests that came in meanwhile are read."""


@dataclass
class Lateness:
    """How late writes were: handed to the kernel, minus due."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENESS_BUCKETS_S) + 1))
    total_s: float = 0.0
    worst_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts one write."""
        self.buckets[bisect_left(LATENESS_BUCKETS_S, seconds)] += 1
        self.total_s += seconds
        if seconds > self.worst_s:
            self.worst_s = seconds

    @property
    def n(self) -> int:
        """Writes counted."""
        return sum(self.buckets)

    def below(self, share: float) -> float:
        """Upper bound of the bucket below which a share of the writes lies; the worst above the last bucket."""
        wanted, seen = share * self.n, 0
        for bound, count in zip(LATENESS_BUCKETS_S, self.buckets, strict=False):
            seen += count
            if seen >= wanted:
                return bound
        return self.worst_s


class Run:
    """One response on its way."""

    __slots__ = ("alive", "arrived_s", "begin", "ended", "pending", "script", "started_s", "write")

    def __init__(
        self, begin: Callable[[], Script], write: Callable[[bytes | End], None], ended: Callable[["Run"], None]
    ) -> None:
        self.begin = begin
        """Makes the script, when the request gets its place in the batch."""
        self.write = write
        self.ended = ended
        """Called when the script is through."""
        self.alive = True
        self.arrived_s = perf_counter()
        self.started_s = 0.0
        self.script: Script
        self.pending: bytes | End


class Scheduler:
    """Runs scripts. A heap of due times; the kernel timer wakes it for the earliest."""

    def __init__(self, loop: asyncio.AbstractEventLoop, places: int | None) -> None:
        self.lateness = Lateness()
        self.running = 0
        self._places = places
        self._queue: deque[Run] = deque()
        self._heap: list[tuple[float, int, Run]] = []
        self._count = 0
        self._pacer = Pacer(loop, self._write_due)

    @property
    def waiting(self) -> int:
        """Requests without a place."""
        return len(self._queue)

    def submit(self, run: Run) -> None:
        """Starts a response, or queues it until there is a place."""
        if self._places is None or self.running < self._places:
            self._start(run)
        else:
            self._queue.append(run)

    def drop(self, run: Run) -> None:
        """Ends a response whose client has gone."""
        if not run.alive:
            return
        run.alive = False
        if run in self._queue:
            self._queue.remove(run)
        else:
            self._release()

    def close(self) -> None:
        """Stops."""
        self._pacer.close()

    def _start(self, run: Run) -> None:
        self.running += 1
        run.started_s = perf_counter()
        run.script = run.begin()
        offset_s, run.pending = next(run.script)
        self._count += 1
        heapq.heappush(self._heap, (run.started_s + offset_s, self._count, run))
        self._arm()

    def _release(self) -> None:
        self.running -= 1
        if self._queue:
            self._start(self._queue.popleft())

    def _arm(self) -> None:
        at_s = self._heap[0][0] if self._heap else NEVER
        if at_s != self._pacer.at_s:
            self._pacer.arm(at_s)

    def _write_due(self, now_s: float) -> None:
        heap, add = self._heap, self.lateness.add
        # Whoever starts a run meanwhile would arm a timer that is armed below anyway.
        self._pacer.at_s = NEVER
        for _ in range(_WRITES_A_TURN):
            if not heap or heap[0][0] > now_s:
                break
            due_s, number, run = heap[0]
            if not run.alive:
                heapq.heappop(heap)
                continue
            run.write(run.pending)
            now_s = perf_counter()
            add(now_s - due_s)
            step = next(run.script, None)
            if step is None:
                heapq.heappop(heap)
                run.alive = False
                run.ended(run)
                self._release()
            else:
                run.pending = step[1]
                heapq.heapreplace(heap, (run.started_s + step[0], number, run))
        self._arm()
