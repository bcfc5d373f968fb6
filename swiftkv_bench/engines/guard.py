"""Keeps a server from outliving the harness, whichever process is killed.

`python guard.py COMMAND...` makes a session of two guards and the command: an outer guard, below it an inner guard,
below that the command and whatever it starts. Each guard's standard input is a pipe from the process above. The word
`STOP` asks for an orderly end, with a grace period between SIGTERM and SIGKILL; a closed pipe means that the process
above has died, and everything is ended within `HURRY_S`.

- The harness dies: the outer guard's pipe closes.
- The outer guard dies: the inner guard's pipe closes.
- The inner guard dies: the kernel kills the command, and what the command started becomes the outer guard's.
- The command dies: the inner guard ends what it started.

A guard returns when nothing is left below it, since memory of a GPU is free only then. Processes that leave the session
are found as well, because orphans become children of a guard. Elsewhere than on Linux the kernel offers neither: there
the four cases hold while at most the harness or the command dies, and for processes that stay in the guard's group.
Standard library only, so that any interpreter can run it by path.
"""

import ctypes
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

STOP = b"stop"
GRACE_S = 15.0
"""Between SIGTERM and SIGKILL when the harness asked."""
HURRY_S = 2.0
"""The same when a process died that should not have."""
KILL_S = 15.0
"""A killed process may take so long to give back the memory of a GPU."""
OUTER_S = 1.0
"""The outer guard waits so much longer than the inner one."""
POLL_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_NOT_FOUND, _KILLED = 127, 128


class Process(NamedTuple):
    """A live process of this machine."""

    pid: int
    parent: int
    session: int
    """Where the system tells no sessions, the process group."""


def main(command: list[str]) -> int:
    """Exit code of the command, or 128 + signal number."""
    if os.getsid(0) != os.getpid():
        os.setsid()  # what is ended must not be the session of whoever called
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _adopt_orphans()
    reader, writer = os.pipe()
    inner = os.fork()
    if inner == 0:
        os.dup2(reader, 0)
        os.close(reader)
        os.close(writer)
        return _guard_command(command)
    os.close(reader)

    def tell(word: bytes) -> None:
        with suppress(OSError):  # closed already, or the inner guard has ended
            os.write(writer, word) if word else os.close(writer)

    return _attend(inner, tell, hurry_s=HURRY_S + OUTER_S, grace_s=GRACE_S + OUTER_S, orphans_s=0.0)


def end_session(session: int) -> None:
    """Ends what is left of a session whose outer guard has died; returns when nothing is.

    To be called as soon as that guard has been waited for: later its number may be another process's.
    """
    kill_at = time.monotonic() + HURRY_S + OUTER_S
    while members := [process.pid for process in processes() if process.session == session]:
        if time.monotonic() > kill_at + KILL_S:
            return
        if time.monotonic() > kill_at:
            _send(members, signal.SIGKILL)
        time.sleep(POLL_S)


def _guard_command(command: list[str]) -> int:
    """What the inner guard does."""
    _adopt_orphans()
    guard = os.getpid()
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=lambda: _before_command(guard))
    except OSError as e:
        print(f"cannot start {command[0]}: {e.strerror}", flush=True)
        return _NOT_FOUND
    told: set[int] = set()

    def tell(_: bytes) -> None:
        _send(new := _below() - told, signal.SIGTERM)
        told.update(new)

    child.returncode = code = _attend(child.pid, tell, hurry_s=HURRY_S, grace_s=GRACE_S, orphans_s=HURRY_S)
    return code


def _attend(child: int, tell: Callable[[bytes], None], *, hurry_s: float, grace_s: float, orphans_s: float) -> int:
    """Waits until nothing is left below this process; exit code of `child`.

    Args:
        tell: is given every word from above, and an empty one when the pipe or the child has ended.
        orphans_s: seconds that what outlives the child may take.
    """
    code, kill_at, listening = None, math.inf, True
    while True:
        running, code = code is None, _reap(child, code)
        if code is not None and not _below():
            return code
        if code is not None and running:
            tell(b"")
            kill_at = min(kill_at, time.monotonic() + orphans_s)
        if (word := _hear(listening)) is not None:
            tell(word)
            listening = word != b""
            kill_at = min(kill_at, time.monotonic() + (grace_s if listening else hurry_s))
        if time.monotonic() >= kill_at:
            _send(_below(), signal.SIGKILL)
        if time.monotonic() >= kill_at + KILL_S:
            return _KILLED + signal.SIGKILL if code is None else code


def _hear(listening: bool) -> bytes | None:
    """A word from above, empty when the process there has died; None if nothing came for `POLL_S`."""
    if not listening:
        time.sleep(POLL_S)
        return None
    readable, _, _ = select.select([0], [], [], POLL_S)
    return os.read(0, 64) if readable else None


def _reap(child: int, code: int | None) -> int | None:
    """Takes leave of ended children; `code`, or that of `child` if it is among them."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == child:
                number = os.waitstatus_to_exitcode(found[1])
                code = number if number >= 0 else _KILLED - number
    return code


def _before_command(guard: int) -> None:
    """In the child: the kernel kills it when the guard dies."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:  # died before the line above
        os._exit(_KILLED + signal.SIGKILL)


def _adopt_orphans() -> None:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _send(pids: set[int] | list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _below() -> set[int]:
    """Everything that descends from this process, and on systems without adoption what is in its group."""
    ours, found = os.getpid(), set[int]()
    every = list(processes())
    if sys.platform != "linux":
        found = {p.pid for p in every if p.session == ours}
    grown = True
    while grown:
        more = {p.pid for p in every if p.parent == ours or p.parent in found}
        grown, found = not more <= found, found | more
    return found - {ours}


def processes(proc: str = "/proc") -> Iterator[Process]:
    """Live processes (zombies do not count), from /proc, or from `ps` where there is none."""
    if not os.path.isdir(proc):  # noqa: PTH112
        yield from _from_ps()
        return
    for entry in os.scandir(proc):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"{proc}/{entry.name}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
                state, parent, _, session = file.read().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue  # it has ended since it was listed
        if state not in "ZX":
            yield Process(int(entry.name), int(parent), int(session))


def _from_ps() -> Iterator[Process]:
    listed = subprocess.run(["ps", "-axo", "pid=,ppid=,pgid=,state="], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        pid, parent, group, state = line.split()[:4]
        if state[0] != "Z":
            yield Process(int(pid), int(parent), int(group))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
