"""Runs on a hostile machine: a clock that jumps, a disk that is full or read-only, kills, power cuts."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from swiftkv_bench import integrity
from swiftkv_bench.store import Run, open_run
from tests.test_load_runs import profile_file

ROOT = Path(__file__).resolve().parents[2]
POINT = ["--no-self-test", "--input-len", "50", "--output-len", "2", "--rate", "20", "--requests", "4"]


def _command(folder: Path, *more: str) -> list[str]:
    profile = profile_file(folder, {"ttft": 0.02}, {"ttft": 0.01})
    return [sys.executable, "-m", "swiftkv_bench", "perf", "--profile", str(profile), *POINT, *more]


def _environment(folder: Path, **more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "SWIFTKV_BENCH_CACHE": str(folder / "cache")} | more


def _in_a_disk_of(
    size: str, command: Sequence[str], folder: Path, before: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Runs it in `folder` with a file system of that size at `folder`/disk, which is gone afterwards."""
    (folder / "disk").mkdir(exist_ok=True)
    script = (
        f'mount -t tmpfs -o size={size} none disk && {before or "true"} && "$@"; code=$?; cp -r disk kept; exit $code'
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *command],
        cwd=folder, env=_environment(folder), text=True, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"needs a file system of its own: {done.stderr.strip()}")
    return done


def test_a_full_disk_ends_a_run_in_one_sentence_and_the_same_command_goes_on(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, from util-linux")
    command = _command(tmp_path, "--repeats", "3", "--out", "disk/run")
    done = _in_a_disk_of("68k", command, tmp_path)  # room for the manifest twice and a few trials
    assert done.returncode == 3, done.stderr
    [said] = [line for line in done.stderr.splitlines() if line.startswith("swiftkv-bench: ")]
    assert said.startswith("swiftkv-bench: cannot write disk/run/trials/")
    assert said.endswith(
        "No space left on device; free space there; nothing that was recorded is lost, and the same command goes on"
    )
    assert "Traceback" not in done.stderr
    recorded = {path.name: path.read_bytes() for path in (tmp_path / "kept" / "run" / "trials").glob("*.json")}
    assert 0 < len(recorded) < 6
    shutil.rmtree(tmp_path / "disk")
    shutil.move(tmp_path / "kept", tmp_path / "disk")
    again = subprocess.run(
        command, cwd=tmp_path, env=_environment(tmp_path), text=True, capture_output=True, check=False, timeout=300
    )
    assert again.returncode == 0, again.stderr
    whole = tmp_path / "disk" / "run"
    assert {name: (whole / "trials" / name).read_bytes() for name in recorded} == recorded
    assert open_run(whole).manifest.status == "complete"


def test_a_read_only_folder_is_refused_before_an_engine_starts(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, from util-linux")
    command = _command(tmp_path, "--repeats", "1", "--out", "disk/run")
    done = _in_a_disk_of("4m", command, tmp_path, "mount -o remount,ro disk")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "swiftkv-bench: cannot write disk/run: Read-only file system; choose another folder with --out"
    )
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_clock_that_jumps_an_hour_forward_and_back_moves_no_figure(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    source = Path(__file__).parent / "clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    offset.write_text("0")
    environment = _environment(tmp_path, LD_PRELOAD=str(library), CLOCK_OFFSET=str(offset))
    folder = tmp_path / "run"
    with subprocess.Popen(
        _command(tmp_path, "--repeats", "3", "--out", str(folder)), env=environment, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        for trials, jump in ((1, "3600"), (3, "-3600")):
            while len(list((folder / "trials").glob("*.json"))) < trials and process.poll() is None:
                time.sleep(0.01)
            offset.write_text(jump)
        said = process.communicate()[1]
    assert process.returncode == 0, said
    run = Run(folder)
    records = list(run.trials())
    begun = sorted(datetime.fromisoformat(record.started_utc or "").timestamp() for record, _ in records)
    assert begun[-1] - begun[0] > 3600  # the clock did jump
    for record, table in records:
        assert record.status == "complete"
        assert 0 < record.window_s < 60
        assert 0 < record.total_s < 60
        ttft_s = table.chunk_s[table.chunk_start[:-1]] - table.sent_s
        assert 0.009 < ttft_s.min() <= ttft_s.max() < 10
    assert integrity.verify(folder)


@pytest.mark.parametrize("command", ["perf", "accuracy"])
def test_killed_six_times_nothing_is_lost_and_nothing_is_left_behind(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "kill_campaign.py"), "6", command, "--seed", "7"],
        env=_environment(tmp_path, TMPDIR=str(tmp_path)), text=True, capture_output=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    kills, recovered, orphans = done.stdout.splitlines()
    made, what = kills.split(" kills of ")
    assert int(made) >= 6  # the last run of the campaign may be killed twice
    assert what.startswith(f"{command}: ")
    assert recovered.endswith("runs recovered; 0 failures")
    assert orphans.startswith("0 orphans; ")


WRITES = """
import os, sys
from pathlib import Path
from file_operations import Durable
base, shadow = Path(sys.argv[1]), Path(sys.argv[2])
durable = Durable(base, shadow)
from swiftkv_bench.accuracy.journal import Journal
from swiftkv_bench.accuracy.records import ItemLog
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.schema.perf import Arrivals, PerfPlan, RequestTable
from swiftkv_bench.store import create_run
from tests.synthetic import item, manifest, point, trial_record
record = trial_record(point(8, Arrivals(process="poisson", rate=1.0), 1))
plan = RunPlan(perf=PerfPlan(suite="s", seed=0, trials=(record.trial,)))
run = create_run(base / "results" / "run", manifest("r", plan))
run.write_trial(record, RequestTable.empty())
ItemLog(run.path).append([item("baseline", "c", 0, 1.0)])
with Journal(run.path / "journal" / "baseline.jsonl") as journal:
    journal.put("key", "answer")
(run.path / "unsynced").write_text("x")
os.kill(os.getpid(), 9)
"""


def test_a_power_cut_takes_nothing_that_was_recorded(tmp_path: Path) -> None:
    base, shadow = tmp_path / "base", tmp_path / "shadow"
    base.mkdir()
    environment = _environment(tmp_path, PYTHONPATH=f"{ROOT}:{ROOT / 'benchmarks'}")
    written = subprocess.run(
        [sys.executable, "-c", WRITES, str(base), str(shadow)], env=environment, check=False, stderr=subprocess.PIPE
    )
    assert written.returncode == -9, written.stderr
    cut = "import pathlib, sys, file_operations as f; f.cut_power(*map(pathlib.Path, sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", cut, str(base), str(shadow)], env=environment, check=True)
    run = open_run(base / "results" / "run")
    assert [record.status for record, _ in run.trials()] == ["complete"]
    assert [record.doc_id for record in run.items()] == [0]
    assert json.loads((run.path / "journal" / "baseline.jsonl").read_text()) == ["key", "answer"]
    assert not (run.path / "unsynced").exists()
