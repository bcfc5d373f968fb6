"""Processor seconds and resident memory of another process over time, read from /proc."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

_EVERY_S = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """One reading; `at_s` on the `perf_counter` axis."""

    at_s: float
    cpu_s: float
    rss_bytes: int


class Sampler:
    """Reads a process every 50 ms until it has ended or `stop` is called."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._samples = [read(self._folder)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> list[Sample]:
        """The readings, in order of time."""
        self._over.set()
        self._thread.join()
        return self._samples

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            try:
                self._samples.append(read(self._folder))
            except OSError:
                return


def read(folder: Path) -> Sample:
    """A process now; `folder` is its folder in /proc."""
    spent_ns = sum(int((task / "schedstat").read_text().split()[0]) for task in (folder / "task").iterdir())
    resident = int((folder / "statm").read_text().split()[1])
    return Sample(perf_counter(), spent_ns / 1e9, resident * _PAGE)


def worker_of(pid: int, named: str) -> int:
    """The child of a process whose command line has the given word."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(child) for child in children if named.encode() in Path(f"/proc/{child}/cmdline").read_bytes())
