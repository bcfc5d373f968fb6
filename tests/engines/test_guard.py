"""The guard ends everything it started, however the harness goes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from swiftkv_bench.engines import guard
from swiftkv_bench.engines.guarded import Guarded

TREE = """
import os, signal, subprocess, sys, time
note = lambda *pids: open(sys.argv[1], "a").write("".join(f"{p}\\n" for p in pids))
if len(sys.argv) > 2:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
program = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
kept = [subprocess.Popen(program), subprocess.Popen(program, process_group=0)]
middle = "import os, subprocess, sys; print(subprocess.Popen(sys.argv[1:], start_new_session=True, stdout=-3).pid)"
orphan = subprocess.run([sys.executable, "-c", middle, *program], stdout=-1, text=True).stdout
note(os.getpid(), *(p.pid for p in kept), int(orphan))
time.sleep(600)
"""
"""A server that started a child, a child in a group of its own and an orphan in a session of its own, all stubborn."""

LIMIT_S = 5.0


def _alive(pid: int) -> bool:
    return pid in {process.pid for process in guard.processes()}


def _wait_for(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class Tree:
    """A guarded tree of processes that is up."""

    guarded: Guarded
    outer: int
    inner: int
    server: int
    below: list[int]

    @property
    def all(self) -> set[int]:
        """Every process of it."""
        return {self.outer, self.inner, self.server, *self.below}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    pids = tmp_path / "pids"
    guarded = Guarded([sys.executable, "-c", TREE, str(pids), "stubborn"])
    try:
        _wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 4)
        server, *below = map(int, pids.read_text().split())
        [inner] = [p.pid for p in guard.processes() if p.parent == guarded.session]
        yield Tree(guarded, guarded.session, inner, server, below)
    finally:
        guarded.stop()


@pytest.mark.parametrize("victims", [("outer",), ("inner",), ("server",), ("outer", "server"), ("inner", "server")])
def test_whoever_is_killed_nothing_of_the_tree_lives_on(victims: tuple[str, ...], tree: Tree) -> None:
    assert all(_alive(pid) for pid in tree.all)
    for victim in victims:
        os.kill(getattr(tree, victim), signal.SIGKILL)
    _wait_for(lambda: not [pid for pid in tree.all - {tree.outer} if _alive(pid)], LIMIT_S)
    code = tree.guarded.exit_code(LIMIT_S)
    assert code == (-9 if "outer" in victims else 137)


def test_what_two_killed_guards_leave_behind_is_ended_by_the_harness(tree: Tree) -> None:
    os.kill(tree.outer, signal.SIGSTOP)  # or it would end the rest before it is killed
    os.kill(tree.inner, signal.SIGKILL)
    os.kill(tree.outer, signal.SIGKILL)
    started = time.monotonic()
    assert tree.guarded.exit_code(20.0) == -9
    assert time.monotonic() - started < LIMIT_S
    in_session = tree.below[:2]
    assert [pid for pid in (tree.server, *in_session) if _alive(pid)] == []
    os.kill(tree.below[2], signal.SIGKILL)  # it has left the session, and nobody who knew of it is left


@pytest.mark.parametrize("stopping", [False, True])
def test_a_harness_that_is_killed_leaves_nothing(stopping: bool, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = (
        "import sys; from swiftkv_bench.engines.guarded import Guarded\n"
        "engine = Guarded(sys.argv[1:]); print(flush=True); input(); engine.stop()"
    )
    command = [sys.executable, "-c", program, sys.executable, "-c", TREE, str(pids), "stubborn"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as harness:
        _wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 4)
        assert harness.stdin is not None
        if stopping:
            harness.stdin.write(b"\n")
            harness.stdin.flush()
            time.sleep(0.3)
        assert all(_alive(int(pid)) for pid in pids.read_text().split())  # all of them ignore SIGTERM
        harness.kill()
    _wait_for(lambda: not [pid for pid in pids.read_text().split() if _alive(int(pid))], LIMIT_S)


def test_an_orderly_end_gives_the_command_its_time(tmp_path: Path) -> None:
    program = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n    time.sleep(2.5)\n    pathlib.Path(sys.argv[1]).touch()\n    sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, end)\nprint(file=sys.stderr, flush=True)\ntime.sleep(600)"
    )
    guarded = Guarded([sys.executable, "-c", program, str(tmp_path / "ended")], stderr=subprocess.PIPE)
    guarded.stderr.readline()
    guarded.stop()
    assert (guarded.exit_code(), (tmp_path / "ended").exists()) == (5, True)  # 2.5 s: longer than `HURRY_S`


def test_processes_are_read_from_ps_where_there_is_no_proc() -> None:
    by_ps = {process.pid: process for process in guard.processes("/nonexistent")}
    ours = by_ps[os.getpid()]
    assert (ours.parent, ours.session) == (os.getppid(), os.getpgid(0))


def test_exit_code_of_the_command_is_passed_on() -> None:
    guarded = Guarded([sys.executable, "-c", "raise SystemExit(7)"])
    assert guarded.exit_code(20.0) == 7
    guarded.stop()


def test_a_command_that_is_not_there_is_said(tmp_path: Path) -> None:
    with (tmp_path / "said").open("wb") as said:
        guarded = Guarded(["/nonexistent/python"], stdout=said)
    assert guarded.exit_code(20.0) == 127
    guarded.stop()
    assert "cannot start /nonexistent/python" in (tmp_path / "said").read_text()


def test_the_guard_needs_the_standard_library_only() -> None:
    source = Path(guard.__file__).read_text()
    assert "swiftkv_bench" not in source
