"""The guard ends everything it started, however the harness goes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swiftkv_bench.engines import guard

STUBBORN_TREE = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
group = 0 if sys.argv[2] == "own" else None
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=group)
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _start(*command: str, grace_s: float = 15.0) -> "subprocess.Popen[bytes]":
    program = (
        f"import sys; from swiftkv_bench.engines import guard; guard.GRACE_S = {grace_s}; "
        "sys.exit(guard.main(sys.argv[1:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )


def test_exit_code_of_the_command_is_passed_on() -> None:
    process = _start(sys.executable, "-c", "raise SystemExit(7)")
    assert process.wait(20) == 7
    process.communicate()


def test_a_command_that_is_not_there_is_said() -> None:
    process = _start("/nonexistent/python")
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 127
    assert b"cannot start /nonexistent/python" in out


@pytest.mark.parametrize("group", ["same", "own"])
def test_closing_the_pipe_ends_children_that_ignore_sigterm(group: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    process = _start(sys.executable, "-c", STUBBORN_TREE, str(pids), group, grace_s=0.3)
    deadline = time.monotonic() + 20
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        assert time.monotonic() < deadline
        os.sched_yield()
    tree = [int(p) for p in pids.read_text().split()]
    assert all(_alive(p) for p in tree)
    process.communicate(timeout=20)
    assert [p for p in tree if _alive(p)] == []


def test_the_guard_needs_the_standard_library_only() -> None:
    source = Path(guard.__file__).read_text()
    assert "swiftkv_bench" not in source
