"""How often `swiftkv-bench compare` cries wolf, and what it finds: whole reports, simulated on recorded noise.

    python benchmarks/gate_calibration.py [--comparisons 1000] [--only TABLE]
    python benchmarks/gate_calibration.py --record RUN...     # adds runs to benchmarks/recorded/aa_requests.csv

Trials: of two recorded runs of one command, drawn at random, so that every difference between them is noise
(`gate_noise.py`); a planted regression multiplies one figure of the candidate. Items: 0/1 scores whose flips have a
known rate. Each simulated report goes through `compare_arms` or `compare_runs` whole, with the default policy. First,
every recorded run is compared with every other as they are.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gate_noise import (
    ARMS,
    H200,
    EqualArms,
    Normal,
    Recorded,
    Requests,
    Source,
    Turns,
    equal_arms,
    figures,
    record,
    recorded,
    spreads,
)

from swiftkv_bench.evidence.answers import Answers
from swiftkv_bench.evidence.run import Evidence, side_of
from swiftkv_bench.evidence.trials import TrialFigures
from swiftkv_bench.judge.compare import Asked, compare_arms, compare_runs
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.schema.engine import Arm, EngineSpec
from swiftkv_bench.schema.manifest import Machine, Manifest, RunPlan
from swiftkv_bench.schema.perf import Arrivals, Float, Length, PerfPlan, Point, Trial
from swiftkv_bench.stats.intervals import share_interval

ISSUE_217 = (0.796, 0.749)
"""GSM8K before and after, ArcticInference issue 217."""
RIGHT = 0.796


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


Drawn = Mapping[tuple[int, Arm], Sequence[Requests]]
"""(cell, arm) -> trials."""


def _evidence(drawn: Drawn, cells: int, trials: int, seed: int) -> Evidence:
    """A simulated load run."""
    plan = _perf_plan(cells, trials, seed)
    order = list(dict.fromkeys(t.point.point_id for t in plan.trials))
    found = []
    for t in plan.trials:
        requests = drawn[order.index(t.point.point_id), t.arm][t.repeat]
        found.append(TrialFigures(t, "", valid=True, saturated=False, figures=figures(requests), requests=requests))
    manifest = _manifest(f"load-{seed}", RunPlan(perf=plan))
    return Evidence(side_of(manifest, label="r", source="r"), manifest, {}, (), tuple(found))


def _slower(trials: Sequence[Requests], factor: float) -> list[Requests]:
    return [{**requests, "ttft_s": requests["ttft_s"] * factor} for requests in trials]


def load(
    source: Source, rng: np.random.Generator, cells: int, trials: int, *, slower: float = 1.0, paired: bool = True
) -> tuple[Evidence, Evidence]:
    """Two simulated load runs; `slower` multiplies the TTFT of the second one's SwiftKV arm."""
    before: dict[tuple[int, Arm], Sequence[Requests]] = {}
    after: dict[tuple[int, Arm], Sequence[Requests]] = {}
    for cell in range(cells):
        # Points are measured one after the other, what disturbs one seldom disturbs all.
        first, second = source.pair(rng, trials, paired=paired)
        for arm in ARMS:
            before[cell, arm] = first[arm]
            after[cell, arm] = _slower(second[arm], slower) if arm == "swiftkv" else second[arm]
    return _evidence(before, cells, trials, 0), _evidence(after, cells, trials, 0 if paired else 10_000)


def interleaved(source: Turns, rng: np.random.Generator, cells: int, trials: int, slower: float) -> Evidence:
    """One simulated run whose arms are the same engine."""
    drawn: dict[tuple[int, Arm], Sequence[Requests]] = {}
    for cell in range(cells):
        drawn[cell, "baseline"], there = source.interleaved(rng, trials)
        drawn[cell, "swiftkv"] = _slower(there, slower)
    return _evidence(drawn, cells, trials, 0)


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
        measured: how many of the two runs have a second answer of their original model.
    """

    columns: int
    n: int
    noise: float
    lost: float = 0.0
    gained: float = 0.0
    measured: int = 2


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
            if what.measured > (side is after):
                side[name, "baseline", 1] = _answers(name, _noisy(rng, right, what.noise / 2))
    out = []
    for run_id, answers in (("a", before), ("b", after)):
        manifest = _manifest(run_id, RunPlan(accuracy=plan))
        out.append(Evidence(side_of(manifest, label=run_id, source=run_id), manifest, answers, (), ()))
    return out[0], out[1]


def _noisy(rng: np.random.Generator, scores: Float, rate: float) -> Float:
    return np.where(rng.random(len(scores)) < rate, 1 - scores, scores)


def _answers(task: str, scores: Float) -> Answers:
    made = Answers.of_scores({(task, i): float(score) for i, score in enumerate(scores)})
    return replace(made, methods=("generation",))


def both(one: tuple[Evidence, Evidence], other: tuple[Evidence, Evidence]) -> tuple[Evidence, Evidence]:
    """Accuracy and load in one run, side by side."""
    out = []
    for accuracy, perf in zip(one, other, strict=True):
        plan = RunPlan(accuracy=accuracy.manifest.plan.accuracy, perf=perf.manifest.plan.perf)
        out.append(replace(accuracy, manifest=accuracy.manifest.model_copy(update={"plan": plan}), trials=perf.trials))
    return out[0], out[1]


# ---- scenarios


Make = Callable[[np.random.Generator], RunComparison]

_ASKED = Asked(Policy(), None, (), (), "2026-11-25T00:00:00+00:00")


@dataclass(frozen=True)
class Scenario:
    """A kind of comparison, repeated; `wanted` is what its FAIL rate should be."""

    table: str
    name: str
    make: Make
    wanted: str = ""


def arms(source: Turns, cells: int, trials: int, slower: float = 1.0) -> Make:
    """One run's interleaved arms."""
    return lambda rng: compare_arms(interleaved(source, rng, cells, trials, slower), _ASKED)


def runs(source: Source, cells: int, trials: int, slower: float = 1.0, *, paired: bool = True) -> Make:
    """Two runs of one command, or of other seeds."""
    return lambda rng: compare_runs(*load(source, rng, cells, trials, slower=slower, paired=paired), _ASKED)


def answers(what: Items) -> Make:
    """Two accuracy runs."""
    return lambda rng: compare_runs(*items(rng, what), _ASKED)


def whole(source: Source, what: Items, cells: int, trials: int) -> Make:
    """Accuracy and load together."""
    return lambda rng: compare_runs(*both(items(rng, what), load(source, rng, cells, trials)), _ASKED)


def real(source: Recorded) -> Iterator[RunComparison]:
    """Every recorded run against every other one."""
    for i, first in enumerate(source.runs):
        for j, second in enumerate(source.runs):
            if i != j:
                repeats = [sorted({k for of, k in first.keys() & second.keys() if of == arm}) for arm in ARMS]
                n = min(len(one) for one in repeats)
                before, after = (
                    _evidence(
                        {(0, arm): [run[arm, k] for k in ks[:n]] for arm, ks in zip(ARMS, repeats, strict=True)},
                        1,
                        n,
                        0,
                    )
                    for run in (first, second)
                )
                yield compare_runs(before, after, _ASKED)


def real_arms(source: EqualArms) -> Iterator[RunComparison]:
    """The two equal engines of every recorded run, as they are."""
    for run in source.runs:
        sides = zip(ARMS, zip(*(run[k] for k in sorted(run)), strict=True), strict=True)
        yield compare_arms(_evidence({(0, arm): trials for arm, trials in sides}, 1, len(run), 0), _ASKED)


def scenarios(noises: Sequence[Recorded], equal: Sequence[EqualArms]) -> Iterator[Scenario]:
    """Everything in docs/regression.md."""
    suite = Items(7, 200, 0.01)
    sources: list[Source] = [*noises, H200, Normal("Student tails, 2 %, 3 df", (0.02, 0.02), 3.0)]
    for source in sources:
        name = f"{source.name}: 7 columns × 200 items, 4 points × 5 trials"
        yield Scenario("whole", name, whole(source, suite, 4, 5), "≤ 5 %")
    for cells in (1, 4):
        size = f"{cells} point{'s' if cells > 1 else ''} × 5 trials"
        for table, slower, wanted in (("aa", 1.0, "≤ 5 %"), ("power", 1.1, "≥ 90 %")):
            sides: list[Turns] = [*equal, H200]
            for turns in sides:
                name = f"arms of one run, {turns.name}: {size}"
                yield Scenario(table, name, arms(turns, cells, 5, slower), wanted)
            for source in sources[:-1]:
                yield Scenario(table, f"two runs, {source.name}: {size}", runs(source, cells, 5, slower), wanted)
                other = runs(source, cells, 5, slower, paired=False)
                yield Scenario(table, f"two runs of other seeds, {source.name}: {size}", other, wanted)
    for sd in (0.01, 0.02, 0.03, 0.05, 0.1):
        for trials in (3, 5, 10, 20):
            name, normal = f"{sd * 100:g} %, {trials} trials", Normal("normal", (sd, sd))
            yield Scenario("size", name, runs(normal, 1, trials, 1.10))
            yield Scenario("within", f"2 % slower, {name}", runs(normal, 1, trials, 1.02))
            for tails in (normal, Normal("t3", (sd, sd), 3.0)):
                label = name if tails is normal else f"Student {name}"
                yield Scenario("same", label, runs(tails, 1, trials), "≤ 5 %")
    yield from _flip_scenarios()


def _flip_scenarios() -> Iterator[Scenario]:
    drop = ISSUE_217[0] - ISSUE_217[1]
    for noise in (0.0, 0.01, 0.03):
        for measured in (2, 1, 0):
            floor = f"noise {noise * 100:g} %, A/A answers of {measured} runs"
            aa = Items(7, 200, noise, measured=measured)
            yield Scenario("flips", f"A/A, 7 × 200 items, {floor}", answers(aa), "≤ 5 %")
            for columns, net, gained in (
                (1, drop, 0.0), (1, drop, 0.015), (1, drop, 0.03), (7, drop, 0.0), (7, drop, 0.015), (1, 0.0, 0.03),
            ):  # fmt: skip
                fault = Items(columns, 200, noise, net + gained, gained, measured)
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
    parser.add_argument("--only", help="scenarios of this table: whole, aa, power, size, within, same, flips")
    parser.add_argument("--match", default="", help="only scenarios whose name has this text")
    parser.add_argument("--record", nargs="+", type=Path, help="run folders of one command to add")
    parser.add_argument("--condition", default="idle", help="under what the recorded runs were made")
    given = parser.parse_args()
    if given.record:
        record(given.record, given.condition)
        return
    noises, equal = recorded(), equal_arms()
    for noise in noises:
        sds = ", ".join(f"{name} {sd * 100:.1f} %" for name, sd in spreads(noise).items())
        print(f"{noise.name}: {len(noise.runs)} runs; standard deviation of the log-ratio of paired trials: {sds}")
        verdicts = [found.verdicts.overall for found in real(noise)]
        print(f"every run against every other: {Counter(str(v) for v in verdicts)}", flush=True)
    for arms_of in equal:
        for one in real_arms(arms_of):
            lines = ", ".join(f"{x.metric} {x.effect:.3f}" for x in one.lines if x.effect is not None)
            print(f"{arms_of.name}: {one.verdicts.overall}; {lines}", flush=True)
    print("| table | comparison | wanted | FAIL | 95 % interval | INCONCLUSIVE | PASS |")
    print("|---|---|---|---|---|---|---|")
    for number, scenario in enumerate(scenarios(noises, equal)):
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
