"""Finds processes below this one by what their command line holds, and kills them at a moment."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swiftkv_bench.engines import guard


def below(root: int, holding: str = "") -> list[int]:
    """Live descendants of a process whose command line holds the text, parents first."""
    every = list(guard.processes())
    found, grown = {root: None}, True
    while grown:
        more = {p.pid: None for p in every if p.parent in found and p.pid not in found}
        grown, found = bool(more), found | more
    return [pid for pid in found if pid != root and holding in _command_line(pid)]


def wait_for_one(root: int, holding: str, limit_s: float = 30.0) -> int:
    """The last descendant that holds the text (of guards and their command: the command), once there is one."""
    deadline = time.monotonic() + limit_s
    while not (found := below(root, holding)):
        assert time.monotonic() < deadline, f"no process with {holding}"
        time.sleep(0.005)
    return found[-1]


@contextmanager
def killed_when_found(find: Callable[[], int | None]) -> Iterator[None]:
    """While the context lasts, the first process that `find` finds is killed."""

    def kill() -> None:
        deadline = time.monotonic() + 30.0
        while (pid := find()) is None:
            assert time.monotonic() < deadline, "no process to kill"
            time.sleep(0.005)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def killed_when_it_appears(holding: str, after_s: float = 0.0) -> Iterator[None]:
    """The same for the first descendant of this process that holds the text."""
    seen: list[float] = []

    def find() -> int | None:
        found = below(os.getpid(), holding)
        if found:
            seen.append(time.monotonic())
        return found[-1] if found and time.monotonic() >= seen[0] + after_s else None

    with killed_when_found(find):
        yield


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""
