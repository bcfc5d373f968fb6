"""What the harness itself costs beside the engines it drives: seconds and CPU-seconds of one whole command.

    python benchmarks/harness_overhead.py [swiftkv-bench arguments, default: bench --data-dir ../shared/datasets]

Runs the command, samples the processor time of every process under it from /proc, and tells the engines (everything
below the guard that owns a server) from the harness. Wall time is split by what the run folder says: until the engines
were ready, asking items, load windows; what is left is the harness alone: imports, probes, analysis, figures, pages.
Linux only.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftkv_bench.accuracy.records import read_statuses
from swiftkv_bench.engines import guard
from swiftkv_bench.store import Run, open_run

SAMPLE_S = 0.2
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One line of the process table."""

    parent: int
    cpu_s: float
    guards: bool
    """It is the guard of an engine."""


def process_table() -> dict[int, Process]:
    """Every process by its id; those that end while they are read are left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        cpu_s = (int(fields[11]) + int(fields[12])) / TICKS
        found[int(entry.name)] = Process(int(fields[1]), cpu_s, os.fsencode(guard.__file__) in words[:4])
    return found


class Sampler:
    """The last seen processor time of every process that ever ran below `root`."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._seen: dict[int, tuple[bool, float]] = {}

    def sample(self) -> None:
        """Reads the process table once."""
        table = process_table()
        for pid, process in table.items():
            role = self._role(pid, table)
            if role is not None:
                self._seen[pid] = (role, process.cpu_s)

    def cpu_s(self, *, engines: bool) -> float:
        """Processor seconds of the engines, or of everything else below the root."""
        return sum(cpu_s for engine, cpu_s in self._seen.values() if engine == engines)

    def _role(self, pid: int, table: dict[int, Process]) -> bool | None:
        """Whether the process belongs to an engine; None when it is not below the root."""
        engine = False
        while pid in table:
            if table[pid].guards:
                engine = True
            if pid == self._root:
                return engine
            pid = table[pid].parent
        return None


def measure(arguments: Sequence[str], out: Path) -> int:
    """Runs the command into `out`, prints the split, returns the command's exit code."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "swiftkv_bench", *arguments, "--out", str(out)])
    sampler = Sampler(process.pid)
    while process.poll() is None:
        sampler.sample()
        time.sleep(SAMPLE_S)
    wall_s = time.perf_counter() - started
    run = open_run(out)
    parts = _parts(run)
    harness_s, engines_s = sampler.cpu_s(engines=False), sampler.cpu_s(engines=True)
    print(f"\n{'part':34}{'wall s':>10}")
    for name, seconds in parts.items():
        print(f"{name:34}{seconds:10.1f}")
    print(f"{'harness alone (the rest)':34}{wall_s - sum(parts.values()):10.1f}")
    print(f"{'whole command':34}{wall_s:10.1f}")
    print(f"\nprocessor seconds: harness {harness_s:.1f}, engines {engines_s:.1f}, ", end="")
    print(f"harness share {harness_s / (harness_s + engines_s):.1%}")
    return process.returncode


def _parts(run: Run) -> dict[str, float]:
    return {
        "engines until ready (side by side)": max((i.start_s or 0.0 for i in run.manifest.engine_info), default=0.0),
        "items asked (arms side by side)": _asking_s(run),
        "load windows to last response": sum(record.total_s for record, _ in run.trials()),
    }


def _asking_s(run: Run) -> float:
    by_arm: dict[str, float] = {}
    for column in read_statuses(run.path):
        by_arm[column.arm] = by_arm.get(column.arm, 0.0) + (column.seconds or 0.0)
    return max(by_arm.values(), default=0.0)


def main() -> int:
    """Exit code of the measured command."""
    arguments = sys.argv[1:] or ["bench", "--data-dir", "../shared/datasets"]
    with tempfile.TemporaryDirectory() as folder:
        return measure(arguments, Path(folder) / "run")


if __name__ == "__main__":
    sys.exit(main())
