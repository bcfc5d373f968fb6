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

from swiftkv_bench.metrics import requests_needed, trial_metrics
from swiftkv_bench.regression.evidence import PAIRED, read_run
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Float
from swiftkv_bench.store import open_run

RECORDED = Path(__file__).parent / "recorded" / "aa_requests.csv"
ARMS: tuple[Arm, ...] = ("baseline", "swiftkv")

Requests = Mapping[str, Float]
"""Latency -> seconds of every request of a trial."""

Trials = list[Requests]


class Pair(Protocol):
    """Two runs of one command that differ by noise alone."""

    def trials(self, rng: np.random.Generator, arm: Arm, n: int, *, paired: bool) -> tuple[Trials, Trials]:
        """n trials of either run at one load point; `paired`: of the same schedules."""

    def interleaved(self, rng: np.random.Generator, n: int) -> tuple[Trials, Trials]:
        """n trials of two arms of one run that are the same engine."""


class Source(Protocol):
    """Kind of noise."""

    @property
    def name(self) -> str:
        """Under what it was recorded, or what was chosen."""

    def pair(self, rng: np.random.Generator) -> Pair:
        """Two runs."""


@dataclass(frozen=True)
class _Runs:
    first: Mapping[tuple[Arm, int], Requests]
    second: Mapping[tuple[Arm, int], Requests]

    def trials(self, rng: np.random.Generator, arm: Arm, n: int, *, paired: bool) -> tuple[Trials, Trials]:
        common = [k for of, k in self.first if of == arm and (arm, k) in self.second]
        drawn = [rng.choice(common, n, replace=n > len(common)) for _ in range(2)]
        if paired:
            drawn[1] = drawn[0]
        return [self.first[arm, k] for k in drawn[0]], [self.second[arm, k] for k in drawn[1]]

    def interleaved(self, rng: np.random.Generator, n: int) -> tuple[Trials, Trials]:
        """Arms of a recorded run are different models, so that the noise between them is taken from two runs.

        It is (second / first) of SwiftKV over (second / first) of the baseline, request by request: that of four
        trials, hence to the power of 1/√2, and half of it falls on either arm: on one alone it would raise that arm's
        mean, for the mean of a latency times a symmetric factor is above the mean of the latency.
        """
        common = sorted({k for _, k in self.first if all((arm, k) in run for arm in ARMS for run in self._both)})
        one: Trials = []
        other: Trials = []
        for k in rng.choice(common, n, replace=n > len(common)):
            (b, s), (b_again, s_again) = ([run[arm, int(k)] for arm in ARMS] for run in self._both)
            halves: tuple[dict[str, Float], dict[str, Float]] = ({}, {})
            for name in PAIRED:
                with np.errstate(divide="ignore", invalid="ignore"):
                    half = (s_again[name] / s[name] / b_again[name] * b[name]) ** (0.5**1.5)
                    for side, values in zip(halves, (b[name] / half, b[name] * half), strict=True):
                        side[name] = np.where(np.isfinite(half) & (half > 0), values, np.nan)
            one.append(halves[0])
            other.append(halves[1])
        return one, other

    @property
    def _both(self) -> tuple[Mapping[tuple[Arm, int], Requests], Mapping[tuple[Arm, int], Requests]]:
        return self.first, self.second


@dataclass(frozen=True)
class Recorded:
    """Real runs: (arm, repeat) -> requests of each."""

    name: str
    runs: Sequence[Mapping[tuple[Arm, int], Requests]]

    def pair(self, rng: np.random.Generator) -> Pair:
        """Two different runs, in either order."""
        i, j = rng.choice(len(self.runs), 2, replace=False)
        return _Runs(self.runs[i], self.runs[j])


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

    def pair(self, rng: np.random.Generator) -> Pair:
        """Itself: runs have no noise of their own."""
        return self

    def trials(self, rng: np.random.Generator, arm: Arm, n: int, *, paired: bool) -> tuple[Trials, Trials]:
        """n trials of either run."""
        one, other = ([self._trial(rng) for _ in range(n)] for _ in range(2))
        return one, other

    def interleaved(self, rng: np.random.Generator, n: int) -> tuple[Trials, Trials]:
        """The same."""
        return self.trials(rng, "baseline", n, paired=True)

    def _trial(self, rng: np.random.Generator) -> Requests:
        noise = rng.standard_normal(2) if self.df is None else rng.standard_t(self.df, 2)
        spread = 1.0 if self.df is None else math.sqrt(self.df / (self.df - 2))
        logs = np.log([0.1, 0.01]) + noise / spread * np.array(self.sd) / math.sqrt(2)
        return {name: np.array([math.exp(x)]) for name, x in zip(PAIRED, logs, strict=True)}


H200 = Normal("NVIDIA H200, 1.6 % and 0.2 %", (0.0165, 0.0023))
"""Pooled over the pairs of results/reference/h200/throughput.csv, 4 degrees of freedom."""


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


def recorded() -> list[Recorded]:
    """Every condition of which two runs or more are recorded."""
    rows: dict[str, dict[str, dict[tuple[Arm, int], list[list[float]]]]] = {}
    with RECORDED.open(newline="") as file:
        for row in csv.DictReader(file):
            arm: Arm = "swiftkv" if row["arm"] == "swiftkv" else "baseline"
            run = rows.setdefault(row["condition"], {}).setdefault(row["run"], {})
            run.setdefault((arm, int(row["repeat"])), []).append([float(row[name]) for name in PAIRED])
    return [
        Recorded(condition, [{key: _columns(trial) for key, trial in run.items()} for run in runs.values()])
        for condition, runs in rows.items()
        if len(runs) > 1
    ]


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
