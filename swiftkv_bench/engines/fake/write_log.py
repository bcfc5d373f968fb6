"""When each response was written, in a file: the truth that a client on the same machine can be held against."""

import json
from array import array
from pathlib import Path
from typing import NamedTuple, TextIO

from swiftkv_bench.engines.fake.player import NS_PER_S
from swiftkv_bench.engines.fake.scheduler import Run
from swiftkv_bench.errors import InputError


class WriteLog:
    """JSONL, a line for every response that was written whole, in the order in which they ended.

    Fields, seconds on the machine's monotonic clock (`perf_counter` on Linux, the same in all processes): `read_s`,
    when the request had been read; `written_s`, when each piece of the response had been handed to the kernel: of a
    stream one for every token, then usage and end marker where they are sent, and the end of a chunked body.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError when the file cannot be written."""
        try:
            self._file: TextIO = path.open("w", encoding="utf-8")
        except OSError as e:
            raise InputError(f"cannot write --log {path}: {e}; give a file in a folder that exists") from e
        self._times: list[tuple[float, array[int]]] = []

    def add(self, run: Run) -> None:
        """Keeps the times of a response that has ended; they are put into words at the end, where no stream waits."""
        self._times.append((run.arrived_s, run.written_ns))

    def close(self) -> None:
        """Writes the file."""
        with self._file:
            for read_s, written_ns in self._times:
                line = {"read_s": read_s, "written_s": [at_ns / NS_PER_S for at_ns in written_ns]}
                self._file.write(json.dumps(line) + "\n")


class Written(NamedTuple):
    """A line of the log."""

    read_s: float
    written_s: list[float]


def read_log(path: Path) -> list[Written]:
    """The lines of a log, in the order in which the requests were read."""
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return sorted((Written(line["read_s"], line["written_s"]) for line in lines), key=lambda one: one.read_s)
