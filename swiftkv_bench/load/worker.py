"""A client process: takes one job on its standard input, gives one slice on its standard output.

A process of its own keeps the measurement apart from whatever the harness does meanwhile (drawing progress,
reading counters), and is what `--workers` multiplies. Protocol: messages of an 8-byte length and a pickle; from
the parent a `Job`, then the words of `Command`; to the parent `Said` tuples. The parent's end closes the process.
"""

import asyncio
import os
import pickle
import resource
import signal
import sys
from time import perf_counter
from typing import Any, BinaryIO, Literal

from swiftkv_bench.load.client import Client
from swiftkv_bench.load.job import Job, empty_times

Said = tuple[Literal["ready", "progress", "drained", "slice"], Any]
Command = tuple[Literal["go", "stop", "cancel", "cut"], float]
_PROGRESS_S = 0.5
_LENGTH_BYTES = 8
_DEFECT = 70
PARENTS_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""They reach the whole foreground group; the parent decides and says so."""
OVER = "the measured requests had ended"
_REASONS = {"cancel": "the run was interrupted first", "cut": "the time budget was used up first", "stop": OVER}


def write_message(stream: BinaryIO, message: object) -> None:
    """Writes one message; arrays go from memory to the pipe without a copy."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    stream.write(len(views).to_bytes(_LENGTH_BYTES, "little"))
    for view in views:
        stream.write(len(view).to_bytes(_LENGTH_BYTES, "little"))
        while view:
            # A raw pipe takes what fits.
            view = view[stream.write(view) :]
    stream.flush()


def read_message(stream: BinaryIO) -> Any:
    """Reads one message written by `write_message`.

    Raises:
        EOFError: the other end closed.
    """
    views = []
    for _ in range(int.from_bytes(_read(stream, _LENGTH_BYTES), "little")):
        views.append(_read(stream, int.from_bytes(_read(stream, _LENGTH_BYTES), "little")))
    return pickle.loads(views[0], buffers=views[1:])


def _read(stream: BinaryIO, size: int) -> bytearray:
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        # Raw streams have readinto; typing's BinaryIO does not say so.
        got = stream.readinto(view[at:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError("the other end of the pipe closed")
        at += got
    return data


def event_loop() -> tuple[asyncio.AbstractEventLoop, Literal["uvloop", "asyncio"]]:
    """uvloop's event loop, or asyncio's own where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop(), "asyncio"
    return uvloop.new_event_loop(), "uvloop"


class _Worker:
    def __init__(self, job: Job, loop: asyncio.AbstractEventLoop, loop_name: str, out: BinaryIO) -> None:
        self._job = job
        self._loop = loop
        self._loop_name = loop_name
        self._out = out
        self._client = Client(job, loop, lambda: self._say("drained", None))
        self._end: asyncio.Future[None] = loop.create_future()
        self._pending = bytearray()

    async def run(self) -> None:
        if self._job.warmup:
            await _warm_up(self._job, self._loop)
        await self._client.prepare()
        os.set_blocking(0, False)
        self._loop.add_reader(0, self._read_command)
        self._say("ready", None)
        await self._end
        self._loop.remove_reader(0)
        self._say("slice", self._client.result(self._loop_name))

    def _say(self, what: str, value: object) -> None:
        write_message(self._out, (what, value))

    def _read_command(self) -> None:
        data = os.read(0, 65536)
        if not data:
            # The parent is gone: nobody wants the result.
            os._exit(1)
        self._pending += data
        while b"\n" in self._pending:
            line, _, rest = bytes(self._pending).partition(b"\n")
            self._pending = bytearray(rest)
            self._obey(*line.decode().split())

    def _obey(self, word: str, value: str) -> None:
        if word == "go":
            self._client.start(float(value))
            self._loop.call_later(_PROGRESS_S, self._report)
        elif not self._end.done():
            self._client.stop(_REASONS[word])
            self._end.set_result(None)

    def _report(self) -> None:
        if not self._end.done():
            self._say("progress", self._client.progress)
            self._loop.call_later(_PROGRESS_S, self._report)


async def _warm_up(job: Job, loop: asyncio.AbstractEventLoop) -> None:
    over = loop.create_future()
    warm = Job(
        target=job.target,
        requests=job.warmup,
        due_s=None,
        tail_s=empty_times(),
        concurrency=1,
        duration_s=None,
        warmup=[],
        idle_timeout_s=job.idle_timeout_s,
        request_timeout_s=job.request_timeout_s,
    )
    client = Client(warm, loop, lambda: over.set_result(None))
    client.start(perf_counter())
    await over
    client.stop(OVER)
    client.result("")


def raise_file_limit() -> None:
    """Allows as many open sockets as the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _die(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A callback that raised leaves requests that nobody ends: stop at once, with the reason."""
    loop.default_exception_handler(context)
    os._exit(_DEFECT)


def main() -> None:
    """Runs the job on standard input."""
    for number in PARENTS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENTS_SIGNALS)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        job = read_message(os.fdopen(0, "rb", buffering=0, closefd=False))
    except EOFError:
        sys.exit(1)  # the parent is gone
    raise_file_limit()
    loop, name = event_loop()
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(_die)
    try:
        loop.run_until_complete(_Worker(job, loop, name, out).run())
    finally:
        loop.close()


if __name__ == "__main__":
    main()
