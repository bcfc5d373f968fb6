"""How often `swiftkv-bench compare` cries wolf, and what it finds: whole reports, simulated on recorded noise.

    python benchmarks/gate_calibration.py [--comparisons 1000] [--out FILE.md]
    python benchmarks/gate_calibration.py --record RUN...     # adds A/A runs to benchmarks/recorded/aa_trials.csv

Trials: both arms of a recorded A/A run served the same model, interleaved, so that every difference between them is
noise. A simulated run draws repeats from the recorded ones (bootstrap) and swaps the arms by a coin, so that no
difference is true; a planted regression multiplies one figure of the candidate. Items: 0/1 scores whose flips have a
known rate. Each simulated report goes through `compare_arms` or `compare_runs` whole, with the default policy.
"""

import argparse
import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from swiftkv_bench.regression.compare import Request, compare_arms, compare_runs
from swiftkv_bench.regression.comparison import RunComparison
from swiftkv_bench.regression.evidence import Answers, Evidence, TrialFigures, read_run, side_of
from swiftkv_bench.regression.policy import Policy
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.schema.engine import Arm, EngineSpec
from swiftkv_bench.schema.manifest import Machine, Manifest, RunPlan
from swiftkv_bench.schema.perf import Arrivals, Float, Length, PerfPlan, Point, Trial
from swiftkv_bench.stats.intervals import share_interval
from swiftkv_bench.stats.verdicts import Verdict
from swiftkv_bench.store import open_run

RECORDED = Path(__file__).parent / "recorded" / "aa_trials.csv"
METRICS = ("ttft_mean_s", "tpot_mean_s")
ARMS: tuple[Arm, ...] = ("baseline", "swiftkv")
ISSUE_217 = (0.796, 0.749)
"""GSM8K before and after, ArcticInference issue 217."""
RIGHT = 0.796


@dataclass(frozen=True)
class Noise:
    """Where trials come from: log figures, shape (repeats, arms, metrics)."""

    name: str
    logs: Float

    def draw(self, rng: np.random.Generator, trials: int) -> Float:
        """shape (trials, arms, metrics); arms swapped by a coin, repeat by repeat."""
        drawn = self.logs[rng.integers(0, len(self.logs), trials)].copy()
        swap = rng.random(trials) < 0.5
        drawn[swap] = drawn[swap][:, ::-1]
        return drawn


@dataclass(frozen=True)
class Normal:
    """Trials whose log-ratio has a chosen standard deviation.

    Attributes:
        sd: of each metric.
        df: gives Student tails instead of normal ones.
    """

    name: str
    sd: tuple[float, float]
    df: float | None = None

    def draw(self, rng: np.random.Generator, trials: int) -> Float:
        """shape (trials, arms, metrics)."""
        shape = (trials, len(ARMS), len(METRICS))
        noise = rng.standard_normal(shape) if self.df is None else rng.standard_t(self.df, shape)
        spread = 1.0 if self.df is None else math.sqrt(self.df / (self.df - 2))
        return np.asarray(np.log([0.1, 0.01]) + noise / spread * np.array(self.sd) / math.sqrt(2), dtype=float)


H200 = Normal("NVIDIA H200, 1.6 % and 0.2 %", (0.0165, 0.0023))
"""Pooled over the pairs of results/reference/h200/throughput.csv, 4 degrees of freedom."""

Source = Noise | Normal


def recorded() -> list[Noise]:
    """Every recorded run, one a condition: its points one below the other."""
    rows: dict[str, dict[tuple[str, int], dict[str, list[float]]]] = {}
    with RECORDED.open(newline="") as file:
        for row in csv.DictReader(file):
            pair = rows.setdefault(row["condition"], {}).setdefault((row["point"], int(row["repeat"])), {})
            pair[row["arm"]] = [math.log(float(row[metric])) for metric in METRICS]
    out = []
    for condition, pairs in rows.items():
        whole = {key: pair for key, pair in pairs.items() if len(pair) == len(ARMS)}
        parts = []
        for point in dict.fromkeys(point for point, _ in whole):
            logs = np.array([[pair[arm] for arm in ARMS] for (at, _), pair in whole.items() if at == point])
            # Points differ in level; only what varies within a point is noise.
            parts.append(logs - logs.mean(axis=(0, 1)) + np.log([0.1, 0.01]))
        out.append(Noise(condition, np.concatenate(parts)))
    return out


def record(paths: Sequence[Path], condition: str) -> None:
    """Adds the valid trials of A/A runs to the recorded ones."""
    new = not RECORDED.exists()
    RECORDED.parent.mkdir(exist_ok=True)
    with RECORDED.open("a", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        if new:
            out.writerow(["condition", "point", "repeat", "arm", *METRICS])
        for number, path in enumerate(paths):
            for t in read_run(open_run(path), str(path)).trials:
                if t.valid and all(metric in t.figures for metric in METRICS):
                    figures = [f"{t.figures[metric]:.7g}" for metric in METRICS]
                    repeat = 1000 * number + t.trial.repeat
                    out.writerow([condition, t.trial.point.point_id, repeat, t.trial.arm, *figures])


# ---- simulated runs


def _manifest(run_id: str, plan: RunPlan) -> Manifest:
    engines = tuple(EngineSpec(arm=arm, kind="fake", model=arm, tokenizer="t", max_model_len=4096) for arm in ARMS)
    return Manifest(
        run_id=run_id, status="complete", created_utc="2026-11-25T00:00:00+00:00", profile="simulated",
        engines=engines, plan=plan, plan_hash="0", machine=Machine(platform="simulated", logical_cpus=1),
        packages={}, harness_version="0",
    )  # fmt: skip


_PLANS: dict[tuple[int, int, int], PerfPlan] = {}


def _perf_plan(cells: int, trials: int, seed: int) -> PerfPlan:
    if (cells, trials, seed) not in _PLANS:
        lengths = {"input_len": Length(mean=500), "output_len": Length(mean=16)}
        points = [
            Point(arrivals=Arrivals(process="poisson", rate=1.0 + c), requests=40, **lengths) for c in range(cells)
        ]
        planned = [
            Trial(trial_id=f"{p.point_id}-{arm}-{k}", point=p, arm=arm, repeat=k, seed=seed + k)
            for p in points for k in range(trials) for arm in ARMS
        ]  # fmt: skip
        _PLANS[cells, trials, seed] = PerfPlan(seed=seed, trials=tuple(planned))
    return _PLANS[cells, trials, seed]


def load(
    source: Source, rng: np.random.Generator, cells: int, trials: int, *, slower: float = 1.0, seed: int = 0
) -> Evidence:
    """A simulated load run; `slower` multiplies the TTFT of its SwiftKV arm."""
    plan = _perf_plan(cells, trials, seed)
    drawn = [source.draw(rng, trials) for _ in range(cells)]
    order = list(dict.fromkeys(t.point.point_id for t in plan.trials))
    found = []
    for t in plan.trials:
        values = np.exp(drawn[order.index(t.point.point_id)][t.repeat, ARMS.index(t.arm)])
        figures = dict(zip(METRICS, map(float, values), strict=True))
        if t.arm == "swiftkv":
            figures["ttft_mean_s"] *= slower
        found.append(TrialFigures(t, "", valid=True, saturated=False, figures=figures))
    manifest = _manifest(f"load-{seed}", RunPlan(perf=plan))
    return Evidence(side_of(manifest, label="r", source="r"), manifest, {}, (), tuple(found), None)


def _column(name: str, n: int) -> Column:
    return Column(
        name=name, title=name, task=name, file="simulated", metric="acc", num_fewshot=0, chat_template=False,
        documents=n, margin=0.03,
    )  # fmt: skip


@dataclass(frozen=True)
class Items:
    """Simulated answers: `columns` of `n` items, flip rates of noise, of a fault, and how the floor is known.

    Attributes:
        noise: flip rate between any two answers of an unchanged engine.
        lost, gained: share of all items that a fault turns wrong, turns right, in the first column.
        measured: the baseline run has a second answer of its original model.
    """

    columns: int
    n: int
    noise: float
    lost: float = 0.0
    gained: float = 0.0
    measured: bool = True


def items(rng: np.random.Generator, what: Items) -> tuple[Evidence, Evidence]:
    """Two simulated accuracy runs, the second with the fault."""
    names = [f"c{i}" for i in range(what.columns)]
    columns = tuple(_column(name, what.n) for name in names)
    plan = AccuracyPlan(suite="s", suite_hash="h", columns=columns, arms=ARMS, seed=0)
    before: dict[tuple[str, Arm, int], Answers] = {}
    after: dict[tuple[str, Arm, int], Answers] = {}
    for number, name in enumerate(names):
        right = (rng.random(what.n) < RIGHT).astype(float)
        faulty = right.copy()
        if number == 0:
            turned = np.where(right == 1, what.lost / RIGHT, what.gained / (1 - RIGHT))
            faulty = np.where(rng.random(what.n) < turned, 1 - right, right)
        # Two answers of one engine differ at the rate `noise`: either is noisy at half of it.
        for side, truth in ((before, right), (after, faulty)):
            side[name, "swiftkv", 0] = _answers(name, _noisy(rng, truth, what.noise / 2))
            side[name, "baseline", 0] = _answers(name, _noisy(rng, right, what.noise / 2))
            if what.measured and side is before:
                side[name, "baseline", 1] = _answers(name, _noisy(rng, right, what.noise / 2))
    out = []
    for run_id, answers in (("a", before), ("b", after)):
        manifest = _manifest(run_id, RunPlan(accuracy=plan))
        out.append(Evidence(side_of(manifest, label=run_id, source=run_id), manifest, answers, (), (), None))
    return out[0], out[1]


def _noisy(rng: np.random.Generator, scores: Float, rate: float) -> Float:
    return np.where(rng.random(len(scores)) < rate, 1 - scores, scores)


def _answers(task: str, scores: Float) -> Answers:
    n = len(scores)
    none = np.zeros(n, dtype=bool)
    keys = tuple((task, i) for i in range(n))
    return Answers(keys, scores, np.zeros((n, 3), dtype=np.uint32), none, none, none, generated=True)


def both(one: tuple[Evidence, Evidence], other: tuple[Evidence, Evidence]) -> tuple[Evidence, Evidence]:
    """Accuracy and load in one run, side by side."""
    out = []
    for accuracy, perf in zip(one, other, strict=True):
        plan = RunPlan(accuracy=accuracy.manifest.plan.accuracy, perf=perf.manifest.plan.perf)
        out.append(replace(accuracy, manifest=accuracy.manifest.model_copy(update={"plan": plan}), trials=perf.trials))
    return out[0], out[1]


# ---- scenarios


_ASKED = Request(Policy(), None, (), (), "2026-11-25T00:00:00+00:00")


@dataclass(frozen=True)
class Scenario:
    """A kind of comparison, repeated; `wanted` is what its FAIL rate should be."""

    table: str
    name: str
    make: Callable[[np.random.Generator], RunComparison]
    wanted: str = ""


def arms(
    source: Source, cells: int, trials: int, slower: float = 1.0
) -> Callable[[np.random.Generator], RunComparison]:
    """One run's interleaved arms."""
    return lambda rng: compare_arms(load(source, rng, cells, trials, slower=slower), _ASKED)


def runs(
    source: Source, cells: int, trials: int, slower: float = 1.0
) -> Callable[[np.random.Generator], RunComparison]:
    """Two runs whose trials share nothing."""
    return lambda rng: compare_runs(
        load(source, rng, cells, trials), load(source, rng, cells, trials, slower=slower, seed=10_000), _ASKED
    )


def answers(what: Items) -> Callable[[np.random.Generator], RunComparison]:
    """Two accuracy runs."""
    return lambda rng: compare_runs(*items(rng, what), _ASKED)


def whole(source: Source, what: Items, cells: int, trials: int) -> Callable[[np.random.Generator], RunComparison]:
    """Accuracy and load together."""

    def make(rng: np.random.Generator) -> RunComparison:
        perf = load(source, rng, cells, trials), load(source, rng, cells, trials, seed=10_000)
        return compare_runs(*both(items(rng, what), perf), _ASKED)

    return make


def scenarios(noises: Sequence[Noise]) -> Iterator[Scenario]:
    """Everything in docs/regression.md."""
    suite = Items(7, 200, 0.01)
    sources: list[Source] = [*noises, H200, Normal("Student tails, 2 %, 3 df", (0.02, 0.02), 3.0)]
    for source in sources:
        name = f"{source.name}: 7 columns × 200 items, 4 points × 5 trials"
        yield Scenario("whole", name, whole(source, suite, 4, 5), "≤ 5 %")
    measured: list[Source] = [*noises, H200]
    for noise in measured:
        for cells, trials in ((1, 5), (4, 5)):
            size = f"{noise.name}: {cells} point{'s' if cells > 1 else ''} × {trials} trials"
            yield Scenario("aa", f"arms of one run, {size}", arms(noise, cells, trials), "≤ 5 %")
            yield Scenario("aa", f"two runs, {size}", runs(noise, cells, trials), "≤ 5 %")
            yield Scenario("power", f"arms of one run, {size}", arms(noise, cells, trials, 1.10), "≥ 90 %")
            yield Scenario("power", f"two runs, {size}", runs(noise, cells, trials, 1.10), "≥ 90 %")
    for sd in (0.01, 0.02, 0.03, 0.05, 0.1):
        for trials in (3, 5, 10, 20):
            name, normal = f"{sd * 100:g} %, {trials} trials", Normal("normal", (sd, sd))
            yield Scenario("size", name, arms(normal, 1, trials, 1.10))
            if sd in (0.01, 0.05):
                yield Scenario("edge", name, arms(normal, 1, trials, 1.05), "≤ 5 %")
                yield Scenario("edge", f"Student {name}", arms(Normal("t3", (sd, sd), 3.0), 1, trials, 1.05), "≤ 5 %")
    yield from _flip_scenarios()


def _flip_scenarios() -> Iterator[Scenario]:
    drop = ISSUE_217[0] - ISSUE_217[1]
    for noise in (0.0, 0.01, 0.03):
        for measured in (True, False):
            floor = f"noise {noise * 100:g} % {'measured' if measured else 'not measured'}"
            aa = Items(7, 200, noise, measured=measured)
            yield Scenario("flips", f"A/A, 7 × 200 items, {floor}", answers(aa), "≤ 5 %")
            for columns, gained in ((1, 0.0), (1, 0.015), (1, 0.03), (7, 0.015)):
                fault = Items(columns, 200, noise, drop + gained, gained, measured)
                lost = f"lost {fault.lost * 100:.1f} %, gained {gained * 100:.1f} %"
                yield Scenario("flips", f"fault, {columns} × 200 items, {lost}, {floor}", answers(fault), "≥ 90 %")


def rates(scenario: Scenario, comparisons: int, seed: int) -> Mapping[Verdict, int]:
    """Verdict -> how many reports said it."""
    rng = np.random.default_rng(seed)
    found = [scenario.make(rng).verdicts.overall for _ in range(comparisons)]
    return {verdict: found.count(verdict) for verdict in Verdict}


def main() -> None:
    """Prints one Markdown row a scenario."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", help="scenarios of this table: whole, aa, power, size, edge, flips")
    parser.add_argument("--match", default="", help="only scenarios whose name has this text")
    parser.add_argument("--record", nargs="+", type=Path, help="A/A run folders to add")
    parser.add_argument("--condition", default="idle", help="under what the recorded runs were made")
    given = parser.parse_args()
    if given.record:
        record(given.record, given.condition)
        return
    noises = recorded()
    for noise in noises:
        ratio = noise.logs[:, 1] - noise.logs[:, 0]
        sd = ", ".join(f"{m} {s * 100:.2f} %" for m, s in zip(METRICS, np.sqrt((ratio**2).mean(axis=0)), strict=True))
        print(f"{noise.name}: {len(noise.logs)} pairs of trials; standard deviation of the log-ratio: {sd}", flush=True)
    print("| table | comparison | wanted | FAIL | 95 % interval | INCONCLUSIVE | PASS |")
    print("|---|---|---|---|---|---|---|")
    for number, scenario in enumerate(scenarios(noises)):
        if given.only not in (None, scenario.table) or given.match not in scenario.name:
            continue
        found = rates(scenario, given.comparisons, given.seed + number)
        interval = share_interval(found[Verdict.FAIL], given.comparisons)
        ends = "" if interval is None else f"{interval.low * 100:.1f}–{interval.high * 100:.1f} %"
        cells = [scenario.table, scenario.name, scenario.wanted, share(found, Verdict.FAIL), ends]
        cells += [share(found, Verdict.INCONCLUSIVE), share(found, Verdict.PASS)]
        print(f"| {' | '.join(cells)} |", flush=True)


def share(found: Mapping[Verdict, int], verdict: Verdict) -> str:
    """`4.2 %` of the reports."""
    return f"{found[verdict] / sum(found.values()) * 100:.1f} %"


if __name__ == "__main__":
    main()
