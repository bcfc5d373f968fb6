"""Finds processes below this one by what their command line holds, and kills them when they appear."""

import os
import signal
import threading
import time
from collections.abc import Iterator
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
def killed_when_it_appears(holding: str, after_s: float = 0.0) -> Iterator[None]:
    """While the context lasts, the first descendant of this process that holds the text is killed."""

    def kill() -> None:
        wait_for_one(os.getpid(), holding)
        time.sleep(after_s)
        with suppress(ProcessLookupError):
            os.kill(wait_for_one(os.getpid(), holding), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""
