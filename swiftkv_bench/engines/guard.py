"""Keeps a server from outliving the harness.

`python guard.py COMMAND...` runs the command in this process's own session. Standard input is a pipe from
the harness: when it closes, because the harness asked or because it was killed, the whole process group
is ended, first with SIGTERM, after a grace period with SIGKILL. Standard library only, so that any
interpreter can run it by path.
"""

import os
import select
import signal
import subprocess
import sys
import time

GRACE_S = 15.0
POLL_S = 0.1


def main(command: list[str]) -> int:
    """Exit code of the command, or 128 + signal number."""
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
    code = _end_group(child)
    return code if code >= 0 else 128 - code


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _end_group(child: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + GRACE_S
    os.killpg(0, signal.SIGTERM)
    while time.monotonic() < deadline and (child.poll() is None or _others_alive()):
        time.sleep(POLL_S)
    if child.poll() is None or _others_alive():
        for pid in _others():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    return child.wait()


def _others_alive() -> bool:
    return bool(_others())


def _others() -> list[int]:
    """Live members of this process group besides this process (zombies do not count)."""
    group = os.getpgrp()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry.name}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
                state, _, pgrp = file.read().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
