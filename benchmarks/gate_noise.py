"""Where the trials of simulated load runs come from: requests of recorded runs, or a chosen noise.

`benchmarks/recorded/aa_requests.csv` holds the requests of valid trials of repeated runs: the same command, the same
engines, so that whatever differs between two of them is noise, that of another engine start included.
`gate_calibration.py --record RUN...` adds runs.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from swiftkv_bench.evidence.run import read_run
from swiftkv_bench.evidence.trials import PAIRED
from swiftkv_bench.metrics import requests_needed, trial_metrics
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Float
from swiftkv_bench.store import open_run

RECORDED = Path(__file__).parent / "recorded" / "aa_requests.csv"
ARMS: tuple[Arm, ...] = ("baseline", "swiftkv")

Requests = Mapping[str, Float]
"""Latency -> seconds of every request of a trial."""

Trials = list[Requests]


Runs = tuple[Mapping[Arm, Trials], Mapping[Arm, Trials]]
"""Trials of two runs at one load point, by arm; those of one number took turns."""


class Source(Protocol):
    """Kind of noise between two runs of one command."""

    @property
    def name(self) -> str:
        """Under what it was recorded, or what was chosen."""

    def pair(self, rng: np.random.Generator, n: int, *, paired: bool) -> Runs:
        """n trials of either arm of two runs at one load point; `paired`: of the same schedules."""


class Turns(Protocol):
    """Kind of noise between two arms of one run."""

    @property
    def name(self) -> str:
        """Under what it was recorded, or what was chosen."""

    def interleaved(self, rng: np.random.Generator, n: int) -> tuple[Trials, Trials]:
        """n trials of two arms of one run that are the same engine, at one load point."""


@dataclass(frozen=True)
class Recorded:
    """Real runs: (arm, repeat) -> requests of each."""

    name: str
    runs: Sequence[Mapping[tuple[Arm, int], Requests]]

    def pair(self, rng: np.random.Generator, n: int, *, paired: bool) -> Runs:
        """Of two different runs, in either order; both arms of the same repeats."""
        runs = [self.runs[i] for i in rng.choice(len(self.runs), 2, replace=False)]
        common = sorted({k for _, k in runs[0] if all((arm, k) in run for arm in ARMS for run in runs)})
        drawn = [rng.choice(common, n, replace=n > len(common)) for _ in runs]
        if paired:
            drawn[1] = drawn[0]
        first, second = (
            {arm: [run[arm, int(k)] for k in ks] for arm in ARMS} for run, ks in zip(runs, drawn, strict=True)
        )
        return first, second


@dataclass(frozen=True)
class EqualArms:
    """Real runs with a second baseline engine (`perf --repeat-baseline`): repeat -> requests of both."""

    name: str
    runs: Sequence[Mapping[int, tuple[Requests, Requests]]]

    def interleaved(self, rng: np.random.Generator, n: int) -> tuple[Trials, Trials]:
        """Of one run, either engine first; a repeat twice only where there are fewer than n, for it shows no spread."""
        run = self.runs[int(rng.integers(len(self.runs)))]
        first = int(rng.integers(2))
        repeats = sorted(run)
        order = [*rng.permutation(repeats)[:n], *rng.choice(repeats, max(0, n - len(repeats)))]
        drawn = [run[int(k)] for k in order]
        return [pair[first] for pair in drawn], [pair[1 - first] for pair in drawn]


@dataclass(frozen=True)
class Normal:
    """Trials of one request whose log-ratio has a chosen standard deviation.

    Attributes:
        sd: of TTFT and of TPOT.
        df: gives Student tails instead of normal ones.
    """

    name: str
    sd: tuple[float, float]
    df: float | None = None

    def pair(self, rng: np.random.Generator, n: int, *, paired: bool) -> Runs:
        """Runs and arms have no noise in common."""
        first, second = ({arm: [self._trial(rng) for _ in range(n)] for arm in ARMS} for _ in range(2))
        return first, second

    def interleaved(self, rng: np.random.Generator, n: int) -> tuple[Trials, Trials]:
        """The same."""
        one, other = ([self._trial(rng) for _ in range(n)] for _ in range(2))
        return one, other

    def _trial(self, rng: np.random.Generator) -> Requests:
        noise = rng.standard_normal(2) if self.df is None else rng.standard_t(self.df, 2)
        spread = 1.0 if self.df is None else math.sqrt(self.df / (self.df - 2))
        logs = np.log([0.1, 0.01]) + noise / spread * np.array(self.sd) / math.sqrt(2)
        return {name: np.array([math.exp(x)]) for name, x in zip(PAIRED, logs, strict=True)}


H200 = Normal("NVIDIA H200, 1.6 % and 0.2 %", (0.0165, 0.0023))
"""Pooled over the pairs of run 1 in results/reference/h200/throughput.csv, 4 degrees of freedom."""


def figures(requests: Requests) -> dict[str, float]:
    """Mean and median of both latencies; the median of a single request is the request."""
    out = {}
    for name, values in requests.items():
        stem, there = name.removesuffix("_s"), values[~np.isnan(values)]
        out[f"{stem}_mean_s"] = float(there.mean())
        if len(there) == 1 or len(there) >= requests_needed(0.5):
            out[f"{stem}_p50_s"] = float(np.median(there))
    return out


def spreads(source: Recorded) -> dict[str, float]:
    """Standard deviation of the log-ratio of paired trials over all pairs of runs, by figure."""
    found: dict[str, list[float]] = {}
    for i, first in enumerate(source.runs):
        for second in source.runs[i + 1 :]:
            for key in first.keys() & second.keys():
                a, b = first[key], second[key]
                for name, value in figures(a).items():
                    found.setdefault(name, []).append(math.log(figures(b)[name] / value))
                for name in PAIRED:
                    both = (a[name] > 0) & (b[name] > 0)
                    each = np.log(b[name][both] / a[name][both])
                    found.setdefault(f"{name}, request by request", []).append(float(np.median(each)))
    return {name: float(np.sqrt(np.mean(np.square(values)))) for name, values in found.items()}


Row = tuple[str, str, str, int]
"""Condition, run, arm, repeat."""


def _rows() -> dict[Row, Requests]:
    found: dict[Row, list[list[float]]] = {}
    with RECORDED.open(newline="") as file:
        for row in csv.DictReader(file):
            where = (row["condition"], row["run"], row["arm"], int(row["repeat"]))
            found.setdefault(where, []).append([float(row[name]) for name in PAIRED])
    return {where: _columns(trial) for where, trial in found.items()}


def recorded() -> list[Recorded]:
    """Every condition of which two runs or more of two arms are recorded."""
    runs: dict[str, dict[str, dict[tuple[Arm, int], Requests]]] = {}
    rows = _rows()
    again = {run for _, run, arm, _ in rows if arm == "baseline-repeat"}
    for (condition, run, arm, repeat), requests in rows.items():
        if run not in again:
            key: tuple[Arm, int] = ("swiftkv" if arm == "swiftkv" else "baseline", repeat)
            runs.setdefault(condition, {}).setdefault(run, {})[key] = requests
    return [Recorded(condition, list(found.values())) for condition, found in runs.items() if len(found) > 1]


def equal_arms() -> list[EqualArms]:
    """Every condition of which runs with a second baseline engine are recorded; repeats that are valid on both."""
    rows = _rows()
    runs: dict[str, dict[str, dict[int, tuple[Requests, Requests]]]] = {}
    for (condition, run, arm, repeat), requests in rows.items():
        again = rows.get((condition, run, "baseline-repeat", repeat))
        if arm == "baseline" and again is not None:
            runs.setdefault(condition, {}).setdefault(run, {})[repeat] = (requests, again)
    return [EqualArms(condition, list(found.values())) for condition, found in runs.items()]


def _columns(trial: Sequence[Sequence[float]]) -> Requests:
    return dict(zip(PAIRED, np.array(trial).T, strict=True))


def record(paths: Sequence[Path], condition: str) -> None:
    """Adds the valid trials of repeated runs to the recorded ones."""
    new = not RECORDED.exists()
    with RECORDED.open("a", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        if new:
            out.writerow(["condition", "run", "arm", "repeat", "request", *PAIRED])
        for path in paths:
            run = open_run(path)
            valid = {t.trial.trial_id for t in read_run(run, str(path)).trials if t.valid}
            for trial, table in run.trials():
                if trial.trial.trial_id in valid:
                    m = trial_metrics(table, trial.trial.point.arrivals, trial.window_s, None).per_request
                    for i, values in enumerate(zip(*(getattr(m, name) for name in PAIRED), strict=True)):
                        where = [condition, run.manifest.run_id, trial.trial.arm, trial.trial.repeat, i]
                        out.writerow([*where, *(f"{value:.6g}" for value in values)])
