"""Processor seconds and resident memory of other processes, and of the machine, read from /proc."""

import os
import resource
import threading
import time
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


class OtherWork:
    """Processor time spent by processes that are neither this one, nor its ended children, nor the given one."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._start_s, self._others_s = perf_counter(), self._others()

    def share(self) -> float:
        """Since the start, as a share of all cores; children must have been waited for."""
        return max(0.0, self._others() - self._others_s) / (perf_counter() - self._start_s) / (os.cpu_count() or 1)

    def _others(self) -> float:
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return _busy_s() - sum(u.ru_utime + u.ru_stime for u in own) - read(self._folder).cpu_s


def wait_until_idle(share: float, for_s: float, most_s: float) -> None:
    """Returns when all cores together were busy for less than a share during `for_s`, or after `most_s`."""
    start_s = perf_counter()
    while perf_counter() - start_s < most_s:
        before_s, at_s = _busy_s(), perf_counter()
        time.sleep(for_s)
        if (_busy_s() - before_s) / (perf_counter() - at_s) / (os.cpu_count() or 1) < share:
            return


def _busy_s() -> float:
    """Seconds that all cores spent on tasks since boot; interrupts left out."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")
