"""Keeps a server from outliving the harness.

`python guard.py COMMAND...` runs the command in this process's own session. Standard input is a pipe from
the harness: when it closes, because the harness asked or because it was killed, the whole session is ended,
groups that a child made for itself among it: first with SIGTERM, after a grace period with SIGKILL. It returns
when nothing of the session is left, since memory of a GPU is free only then. Standard library only, so that
any interpreter can run it by path.
"""

import os
import select
import signal
import subprocess
import sys
import time

GRACE_S = 15.0
KILL_S = 15.0
"""A killed process may take so long to give back the memory of a GPU."""
POLL_S = 0.1


def main(command: list[str]) -> int:
    """Exit code of the command, or 128 + signal number."""
    if os.getsid(0) != os.getpid():
        os.setsid()  # what is ended must not be the session of whoever called
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_default_signals)
    except OSError as e:
        print(f"cannot start {command[0]}: {e.strerror}", flush=True)
        return 127
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], POLL_S)
        if readable and os.read(0, 4096) == b"":
            break
    code = _end_session(child)
    return code if code >= 0 else 128 - code


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _end_session(child: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + GRACE_S
    _signal_others(signal.SIGTERM)
    while time.monotonic() < deadline and (child.poll() is None or _others_alive()):
        time.sleep(POLL_S)
    if child.poll() is None or _others_alive():
        _signal_others(signal.SIGKILL)
        deadline = time.monotonic() + KILL_S
        while time.monotonic() < deadline and (child.poll() is None or _others_alive()):
            time.sleep(POLL_S)
    return child.wait()


def _signal_others(number: int) -> None:
    for pid in _others():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _others_alive() -> bool:
    return bool(_others())


def _others() -> list[int]:
    """Live members of this session besides this process (zombies do not count)."""
    ours = os.getsid(0)
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry.name}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
                state, _, _, session = file.read().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == ours and state != "Z":
            found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
