"""A day of load in minutes: does anything grow that should not?

    python benchmarks/soak.py [--requests 200000] [--trials 100]

One harness process measures trial after trial on one fake engine without delays, as a run does, and writes each into a
run folder. After every tenth part it prints memory, open files and threads of both processes and the bytes on disk.
Then as many answers go into an accuracy journal, whose file and memory grow with its answers and are stated per answer.
Exits 1 if memory of either process grew by more than a tenth from the second part to the last, or files or threads at
all. Linux only.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from swiftkv_bench.accuracy.journal import Journal, answer_key
from swiftkv_bench.engines.guarded import Guarded
from swiftkv_bench.load.driver import run_trial
from swiftkv_bench.load.target import Target
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.manifest import Machine, Manifest, RunPlan
from swiftkv_bench.schema.perf import STATUS, Arrivals, Length, PerfPlan, Point, Trial, TrialRecord
from swiftkv_bench.store import Run, create_run

PARTS = 10
GROWTH_MOST = 0.1
CONCURRENCY = 32
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class State:
    """One process at one moment."""

    rss_bytes: int
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "State":
        """The process now."""
        folder = Path(f"/proc/{pid}")
        pages = int((folder / "statm").read_text().split()[1])
        return cls(pages * _PAGE, len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir())))

    def __str__(self) -> str:
        return f"{self.rss_bytes / 1e6:8.1f} MB {self.files:4} files {self.threads:3} threads"


@contextmanager
def fake_engine() -> Iterator[tuple[str, int]]:
    """Address and process id of a fake engine that answers at once."""
    engine = Guarded([sys.executable, "-m", "swiftkv_bench.engines.fake"], stderr=subprocess.PIPE)
    try:
        found = re.search(r"https?://\S+", engine.stderr.readline().decode())
        if found is None:
            raise SystemExit("the fake engine did not start")
        [inner] = _children(engine.session)
        [pid] = _children(inner)
        yield found.group(0), pid
    finally:
        engine.stop()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def trials_of(requests: int, trials: int) -> list[Trial]:
    """Equal trials of a closed loop."""
    point = Point(
        input_len=Length(mean=64),
        output_len=Length(mean=8),
        arrivals=Arrivals(process="closed-loop", concurrency=CONCURRENCY),
        requests=requests // trials,
    )
    return [Trial(trial_id=f"t{k}", point=point, arm="baseline", repeat=k, seed=k) for k in range(trials)]


def new_run(folder: Path, trials: list[Trial]) -> Run:
    """A run folder with their plan."""
    manifest = Manifest(
        run_id="soak", status="running", created_utc="2026-01-01T00:00:00+00:00", profile="fake", engines=(),
        plan=RunPlan(perf=PerfPlan(suite="soak", seed=0, trials=tuple(trials))), plan_hash="soak",
        machine=Machine(platform=sys.platform, logical_cpus=os.cpu_count() or 1), packages={}, harness_version="0",
    )  # fmt: skip
    return create_run(folder, manifest)


def soak(url: str, engine: int, trials: list[Trial], run: Run) -> list[tuple[State, State]]:
    """Measures them all; the states of harness and engine after every tenth part."""
    states, done, failed, began = [], 0, 0, perf_counter()
    for number, trial in enumerate(trials, 1):
        found = run_trial(trial, Target(url, "fake", ((0, 256),)), Silent())
        done, failed = done + len(found.table), failed + int((found.table.status != STATUS.index("ok")).sum())
        record = TrialRecord(
            trial=trial, status="complete", started_utc=found.started_utc, window_s=found.window_s,
            total_s=found.total_s, client=found.client,
        )  # fmt: skip
        run.write_trial(record, found.table)
        if number * PARTS % len(trials) == 0:
            states.append((State.of(os.getpid()), State.of(engine)))
            size = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
            print(
                f"{done:9,} requests, {failed} failed, {perf_counter() - began:6.0f} s, {size / done:5.1f} bytes each"
            )
            print(f"          harness {states[-1][0]}\n          engine  {states[-1][1]}", flush=True)
    return states


def fill_journal(path: Path, answers: int) -> None:
    """Prints what answers of 200 characters cost on disk and in memory."""
    before = State.of(os.getpid()).rss_bytes
    began = perf_counter()
    with Journal(path) as journal:
        for number in range(answers):
            journal.put(answer_key("engine", {"prompt": number}), ["x" * 200, "stop"])
        grown = State.of(os.getpid()).rss_bytes - before
    size = path.stat().st_size
    seconds, on_disk, in_memory = perf_counter() - began, size / answers, grown / answers
    print(f"journal: {answers:,} answers of 200 characters in {seconds:.0f} s, ", end="")
    print(f"{on_disk:.0f} bytes each on disk and {in_memory:.0f} in memory")


def grown(states: list[tuple[State, State]]) -> list[str]:
    """What grew from the second part, when all is warm, to the last."""
    found = []
    for name, early, late in zip(("harness", "engine"), states[1], states[-1], strict=True):
        if late.rss_bytes > early.rss_bytes * (1 + GROWTH_MOST):
            found.append(f"{name}: memory from {early.rss_bytes / 1e6:.1f} to {late.rss_bytes / 1e6:.1f} MB")
        found += [
            f"{name}: {kind} from {was} to {now}"
            for kind, was, now in (("files", early.files, late.files), ("threads", early.threads, late.threads))
            if now > was
        ]
    return found


def main() -> int:
    """1 if anything grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--trials", type=int, default=100)
    given = parser.parse_args()
    trials = trials_of(given.requests, given.trials)
    with tempfile.TemporaryDirectory() as folder:
        with fake_engine() as (url, engine):
            states = soak(url, engine, trials, new_run(Path(folder) / "run", trials))
        fill_journal(Path(folder) / "journal.jsonl", given.requests)
    faults = grown(states)
    print("\n".join(faults) or "nothing grew")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
