"""Runs in memory, drawn at random: answers and trials of every arm, with holes, second answers and ended columns."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from swiftkv_bench.evidence.answers import AnswersKey, collect
from swiftkv_bench.evidence.run import Evidence, side_of
from swiftkv_bench.evidence.trials import TrialFigures
from swiftkv_bench.schema.accuracy import AccuracyPlan, ColumnStatus, ItemRecord
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.schema.perf import Arrivals, PerfPlan, Trial
from tests.synthetic import accuracy_column, item, manifest, point

REQUESTS = 12


@dataclass(frozen=True)
class Shape:
    """What a drawn run has.

    Attributes:
        worse: how far the candidate is worse: share of its answers lost, and of time added.
        cut: the SwiftKV arm lacks that many items of the first column.
    """

    seed: int
    columns: int
    items: int
    points: int
    trials: int
    arms: tuple[Arm, ...]
    worse: float
    flips: float
    chance: float | None
    continuous: bool
    again: bool
    cut: int


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Small runs of every kind."""
    columns = draw(st.integers(0, 3))
    return Shape(
        seed=draw(st.integers(0, 10**6)),
        columns=columns,
        items=draw(st.sampled_from((3, 20, 60, 200))),
        points=draw(st.integers(0 if columns else 1, 2)),
        trials=draw(st.integers(1, 4)),
        arms=draw(st.sampled_from((("baseline", "swiftkv"), ("baseline", "swiftkv-full", "swiftkv")))),
        worse=draw(st.sampled_from((0.0, 0.02, 0.1, 0.5))),
        flips=draw(st.sampled_from((0.0, 0.05))),
        chance=draw(st.sampled_from((None, 0.25, 0.9))),
        continuous=draw(st.booleans()),
        again=draw(st.booleans()),
        cut=draw(st.sampled_from((0, 0, 1, 10))),
    )


def items(shape: Shape, faulty: Arm = "swiftkv") -> list[ItemRecord]:
    """Every answer; the arm `faulty` has lost some."""
    rng, out = np.random.default_rng([shape.seed, 1]), []
    for c in range(shape.columns):
        right = (rng.random(shape.items) < 0.7).astype(float)
        if shape.continuous and c == 0:
            right = rng.random(shape.items).round(3)
        for arm in shape.arms:
            for repeat in (0, 1) if shape.again and arm == "baseline" else (0,):
                scores = np.where(rng.random(shape.items) < shape.flips / 2, 1 - right, right)
                if arm == faulty:
                    scores = np.where(rng.random(shape.items) < shape.worse, 0.0, scores)
                kept = shape.items - (shape.cut if (c, arm) == (0, "swiftkv") else 0)
                for i in range(max(0, kept)):
                    out.append(item(arm, f"c{c}", i, float(scores[i]), repeat=repeat, unparsed=scores[i] == 0))
    return out


def _trials(shape: Shape, faulty: Arm) -> Iterator[TrialFigures]:
    rng = np.random.default_rng([shape.seed, 2])
    for p in range(shape.points):
        at = point(100, Arrivals(process="constant", rate=1.0 + p), REQUESTS, output_len=4)
        base = rng.uniform(0.05, 0.5, REQUESTS)
        for repeat in range(shape.trials):
            for arm in shape.arms:
                slow = 1 + shape.worse if arm == faulty else 1.0
                ttft = base * slow * np.exp(0.02 * rng.standard_normal(REQUESTS))
                tpot = 0.01 * slow * np.exp(0.02 * rng.standard_normal(REQUESTS))
                figures = {"ttft_mean_s": float(ttft.mean()), "tpot_mean_s": float(tpot.mean()),
                           "ttft_p50_s": float(np.median(ttft)), "tpot_p50_s": float(np.median(tpot)),
                           "joule_per_token": 0.1 * slow * float(np.exp(0.02 * rng.standard_normal())),
                           "prompt_len": 100.0, "output_len": 4.0}  # fmt: skip
                trial = Trial(trial_id=f"{p}-{arm}-{repeat}", point=at, arm=arm, repeat=repeat, seed=repeat)
                valid = not (arm == "swiftkv" and repeat == 3)
                requests = {"ttft_s": ttft, "tpot_s": tpot}
                yield TrialFigures(trial, "2026-11-24T04:00:00+00:00", valid, False, figures, requests)


def run(shape: Shape, *, faulty: Arm = "swiftkv", stops: bool = False, name: str = "run") -> Evidence:
    """The run of a shape."""
    columns = tuple(accuracy_column(f"c{c}", f"C{c}", shape.items, 0.03, shape.chance) for c in range(shape.columns))
    trials = tuple(_trials(shape, faulty))
    plan = RunPlan(
        accuracy=AccuracyPlan(
            suite="s", suite_hash="h", columns=columns, arms=shape.arms, seed=0, stop_when_decided=stops,
            repeat_baseline=shape.again,
        ) if columns else None,
        perf=PerfPlan(seed=0, trials=tuple(t.trial for t in trials)) if trials else None,
    )  # fmt: skip
    told = manifest(name, plan, shape.arms)
    statuses = () if not shape.cut else (ColumnStatus(arm="swiftkv", column="c0", status="incomplete", reason="died"),)
    side = side_of(told, label=name, source=name)
    return Evidence(side, told, collect(items(shape, faulty)), statuses, trials)


def ended(whole: Evidence, column: str, share: float) -> Evidence:
    """The same, when every arm's answers to a column ended after a share of its items."""
    answers: dict[AnswersKey, object] = dict(whole.answers)
    for key, found in whole.answers.items():
        if key[0] == column:
            answers[key] = found.at(list(range(round(share * len(found)))))
    states = tuple(ColumnStatus(arm=arm, column=column, status="ended early") for arm in whole.arms)
    return replace(whole, answers=answers, statuses=(*whole.statuses, *states))  # type: ignore[arg-type]
