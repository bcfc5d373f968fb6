"""Processor time and memory of a process group."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swiftkv_bench.telemetry.processes import session_usage

# pid (name) state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime
# priority nice threads 0 starttime vsize rss
_LINE = "{pid} ({name}) {state} 1 1 {session} 0 0 0 0 0 0 0 {utime} {stime} {cutime} 0 20 0 1 0 5 1000 {rss} 0 0"


def _process(proc: Path, pid: int, session: int, state: str = "S", name: str = "vllm", rss: int = 10) -> None:
    (proc / str(pid)).mkdir()
    text = _LINE.format(pid=pid, name=name, state=state, session=session, utime=200, stime=100, cutime=50, rss=rss)
    (proc / str(pid) / "stat").write_text(text)


def test_all_processes_of_the_session_count_and_no_other(tmp_path: Path) -> None:
    _process(tmp_path, 7, session=7)
    _process(tmp_path, 8, session=7, name="a) S (b")
    _process(tmp_path, 9, session=9)
    _process(tmp_path, 10, session=7, state="Z")
    found = session_usage(7, tmp_path)
    assert found is not None
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    assert (found.cpu_s, found.rss_bytes, found.processes) == (2 * 350 / ticks, 20 * page, 2)


def test_a_session_without_processes_is_not_measured(tmp_path: Path) -> None:
    assert session_usage(7, tmp_path) is None


def test_a_busy_process_is_seen_with_its_child() -> None:
    burn = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.3: pass\n"
    code = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nprint('done', flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = session_usage(process.pid)
        process.communicate(b"\n")
    assert found is not None
    assert found.cpu_s == pytest.approx(0.35, abs=0.2)
    assert found.rss_bytes > 2**20
