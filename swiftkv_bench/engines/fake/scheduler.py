"""When the fake engine says what: places in the batch and due times of every write."""

import asyncio
import heapq
from array import array
from collections import deque
from collections.abc import Callable
from time import perf_counter

from swiftkv_bench.engines.fake.faults import End, Script
from swiftkv_bench.engines.fake.lateness import Lateness, together
from swiftkv_bench.engines.fake.player import NS_PER_S, Player, load
from swiftkv_bench.load.pacer import NEVER, Pacer

_WRITES_A_TURN = 256
"""After so many writes, requests that came in meanwhile are read."""


class Run:
    """One response on its way."""

    __slots__ = ("alive", "arrived_s", "begin", "ended", "fd", "pending", "script", "started_s", "write", "written_ns")

    def __init__(
        self,
        begin: Callable[[], Script],
        write: Callable[[bytes | End], None],
        ended: Callable[["Run"], None],
        fd: int | None = None,
    ) -> None:
        self.begin = begin
        """Makes the script, when the request gets its place in the batch."""
        self.write = write
        self.ended = ended
        """Called when the script is through."""
        self.fd = fd
        """Socket to which the script's bytes may go past `write`; None: they may not, or it may hold an `End`."""
        self.alive = True
        self.arrived_s = perf_counter()
        self.started_s = 0.0
        self.script: Script
        self.pending: bytes | End = b""
        self.written_ns = array("q")
        """When each step was handed to the kernel, `perf_counter_ns`."""


class Scheduler:
    """Runs scripts: by the player, where there is one, those that may go straight to a socket; else by a heap of due
    times, for the earliest of which the kernel timer wakes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, places: int | None, *, with_player: bool = True) -> None:
        self.running = 0
        self._places = places
        self._queue: deque[Run] = deque()
        self._heap: list[tuple[float, int, Run]] = []
        self._count = 0
        self._lateness = Lateness()
        self._pacer = Pacer(loop, self._write_due)
        library = load() if with_player else None
        self._player = None if library is None else Player[Run](library, loop, self._played)

    @property
    def writer(self) -> str:
        """What writes streams: `C` or `Python`."""
        return "Python" if self._player is None else "C"

    @property
    def lateness(self) -> Lateness:
        """Of all writes so far."""
        return self._lateness if self._player is None else together([self._lateness, self._player.lateness()])

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
        if run in self._queue:
            run.alive = False
            self._queue.remove(run)
        elif self._player is None or not self._player.drop(run):
            self._abandon(run)
        # Else the player tells whether all of it had been written before the client left.

    def close(self) -> None:
        """Stops."""
        self._pacer.close()
        if self._player is not None:
            self._player.close()

    def _start(self, run: Run) -> None:
        self.running += 1
        run.started_s = perf_counter()
        run.script = run.begin()
        if self._player is not None and run.fd is not None:
            steps = [(offset_s, data) for offset_s, data in run.script if isinstance(data, bytes)]
            if self._player.play(run, run.fd, run.started_s, steps):
                return
            run.script = iter(steps)
        offset_s, run.pending = next(run.script)
        self._count += 1
        heapq.heappush(self._heap, (run.started_s + offset_s, self._count, run))
        self._arm()

    def _played(self, run: Run, whole: bool, written_ns: "array[int]") -> None:
        run.written_ns = written_ns
        if whole:
            self._end(run)
        else:
            self._abandon(run)

    def _abandon(self, run: Run) -> None:
        run.alive = False
        self._release()

    def _end(self, run: Run) -> None:
        run.alive = False
        run.ended(run)
        self._release()

    def _release(self) -> None:
        self.running -= 1
        if self._queue:
            self._start(self._queue.popleft())

    def _arm(self) -> None:
        at_s = self._heap[0][0] if self._heap else NEVER
        if at_s != self._pacer.at_s:
            self._pacer.arm(at_s)

    def _write_due(self, now_s: float) -> None:
        heap, add = self._heap, self._lateness.add
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
            run.written_ns.append(int(now_s * NS_PER_S))
            step = next(run.script, None)
            if step is None:
                heapq.heappop(heap)
                self._end(run)
            else:
                run.pending = step[1]
                heapq.heapreplace(heap, (run.started_s + step[0], number, run))
        self._arm()
