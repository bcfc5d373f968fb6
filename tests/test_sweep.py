"""Which trials an adaptive sweep asks for, driven by engines that exist as formulas only."""

from collections.abc import Callable

import numpy as np
import pytest

from swiftkv_bench.plan import Grid, arrivals_at, plan_perf
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Arrivals, AutoRates, Length, PerfPlan, Trial
from swiftkv_bench.sweep import LEAST_PAIRS, RUNG, Outcome, Stage, ladder, sweep
from tests.synthetic import point

ARMS: tuple[Arm, ...] = ("baseline", "swiftkv")
CAPACITY = {("baseline", 100): 20.0, ("swiftkv", 100): 40.0, ("baseline", 400): 5.0, ("swiftkv", 400): 9.0}
FILLS = 16
"""Requests that fill a batch of the engines; fewer are answered proportionally slower."""


def _engine(trial: Trial) -> Outcome:
    """Answers up to its capacity; meets the objective up to nine tenths of it."""
    capacity = CAPACITY[trial.arm, int(trial.point.input_len.mean)]
    rate = trial.point.arrivals.rate
    if rate is None:
        return Outcome({"request_throughput": capacity * min(1.0, (trial.point.requests or 0) / FILLS)})
    return Outcome({"ttft_mean_s": 1 / capacity}, attained=1.0 if rate <= 0.9 * capacity else 0.5)


def _driven(plan: PerfPlan, engine: Callable[[Trial], Outcome | None] = _engine) -> list[Stage]:
    stages, asked = sweep(plan), []
    stage: Stage | None = next(stages)
    while stage is not None:
        asked.append(stage)
        outcomes = {t.trial_id: o for t in stage.trials if (o := engine(t)) is not None}
        try:
            stage = stages.send(outcomes)
        except StopIteration:
            stage = None
    return asked


def _auto(*, objective: str | None = None, together: bool = True, lengths: tuple[int, ...] = (100, 400)) -> PerfPlan:
    batches = tuple(point(n, Arrivals(process="all-at-once"), 8) for n in lengths)
    auto = AutoRates(points=batches, requests=30, objective=objective, arms=ARMS, repeats=2, together=together)
    return PerfPlan(seed=0, trials=(), auto=auto)


def _grid(repeats: int) -> PerfPlan:
    lengths = (Length(mean=100), Length(mean=400))
    points = Grid(lengths, Length(mean=8), (arrivals_at(2.0),), requests=10, duration_s=None, warmup_requests=0)
    return plan_perf(points.points(), ARMS, repeats=repeats, seed=0, together=True)


def _is_first(trial: Trial) -> bool:
    return trial.point.input_len.mean == 100


def test_a_fixed_plan_is_one_stage() -> None:
    plan = _grid(2)
    assert [s.trials for s in _driven(plan)] == [plan.trials]


def test_batches_double_until_the_capacity_shows_and_rates_are_shares_of_the_baselines() -> None:
    stages = _driven(_auto())
    searched = [[(t.arm, t.point.requests) for t in s.trials if _is_first(t)] for s in stages if s.searched]
    assert searched == [[(arm, n)] for arm in ARMS for n in (8, 16, 32)]
    paced = [(t.point.input_len.mean, t.point.arrivals.rate) for t in stages[-1].trials if t.point.arrivals.rate]
    rates = {length: sorted({rate for of, rate in paced if of == length}) for length in (100, 400)}
    assert rates == {100: [4.0, 8.0, 12.0, 16.0], 400: [1.0, 2.0, 3.0, 4.0]}


def test_the_grid_has_the_batch_that_showed_the_capacity_and_every_trial_has_its_partner() -> None:
    grid = _driven(_auto())[-1].trials
    assert {t.point.requests for t in grid if t.point.arrivals.rate is None} == {16}
    assert {t.point.requests for t in grid if t.point.arrivals.rate is not None} == {30}
    cells = {(t.point.point_id, t.repeat) for t in grid}
    assert len(grid) == 2 * len(cells) == 2 * 2 * 2 * 5


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("length", [100, 400])
def test_the_search_ends_with_two_neighbouring_rates_around_the_limit(arm: Arm, length: int) -> None:
    stages = _driven(_auto(objective="ttft=1s"))
    asked = [t for s in stages[:-1] if not s.searched for t in s.trials if t.arm == arm]
    rates = [t.point.arrivals.rate or 0.0 for t in asked if t.point.input_len.mean == length]
    limit = 0.9 * CAPACITY[arm, length]
    met, missed = max(r for r in rates if r <= limit), min(r for r in rates if r > limit)
    assert missed / met == pytest.approx(RUNG, rel=0.01)
    assert len(rates) <= 6


def test_a_trial_that_brings_nothing_is_tried_again_with_another_seed() -> None:
    first = ladder(20.0)[(len(ladder(20.0)) - 1) // 2]

    def flaky(trial: Trial) -> Outcome | None:
        return None if trial.repeat == 0 and trial.point.arrivals.rate == first else _engine(trial)

    stages = _driven(_auto(objective="ttft=1s", lengths=(100,)), flaky)
    asked = [t for s in stages[:-1] if not s.searched for t in s.trials if t.arm == "baseline"]
    assert [(t.point.arrivals.rate == first, t.repeat) for t in asked[:3]] == [(True, 0), (True, 1), (False, 0)]
    assert asked[0].seed != asked[1].seed


def test_arms_climb_the_same_ladder() -> None:
    stages = _driven(_auto(objective="ttft=1s"))
    rungs = set(ladder(20.0))
    asked = {t.point.arrivals.rate for s in stages[:-1] if not s.searched for t in s.trials if _is_first(t)}
    assert asked <= rungs


def test_engines_in_turn_change_once_before_the_grid() -> None:
    stages = _driven(_auto(objective="ttft=1s", together=False))
    order = [t.arm for s in stages for t in s.trials]
    first_change = order.index("swiftkv")
    assert set(order[:first_change]) == {"baseline"}
    assert stages[-1].trials[0].arm == "swiftkv"


def test_an_input_length_whose_search_brings_nothing_is_left_out_and_the_others_go_on() -> None:
    stages = _driven(_auto(objective="ttft=1s"), lambda t: _engine(t) if _is_first(t) else None)
    assert {t.point.input_len.mean for t in stages[-1].trials} == {100}


def test_the_same_outcomes_give_the_same_trials() -> None:
    assert _driven(_auto(objective="ttft=1s")) == _driven(_auto(objective="ttft=1s"))


def _noisy(spread: dict[int, float]) -> Callable[[Trial], Outcome]:
    """TTFT with a relative spread of its own at each input length; SwiftKV twice as fast."""

    def engine(trial: Trial) -> Outcome:
        rng = np.random.default_rng([trial.seed, trial.arm == "swiftkv"])
        length = int(trial.point.input_len.mean)
        ttft = (0.1 if trial.arm == "swiftkv" else 0.2) * float(np.exp(rng.normal(0, spread[length])))
        return Outcome({"ttft_mean_s": ttft})

    return engine


def test_a_point_whose_ratio_is_known_stops_and_the_others_go_on() -> None:
    plan = _grid(6).model_copy(update={"stop_within": 0.03})
    stages = _driven(plan, _noisy({100: 0.001, 400: 0.2}))
    repeats = [sum(1 for s in stages for t in s.trials if _is_first(t) == first) / 2 for first in (True, False)]
    assert repeats == [LEAST_PAIRS, 6]


def test_trials_that_fail_do_not_make_a_ratio_known() -> None:
    plan = _grid(5).model_copy(update={"stop_within": 0.03})
    stages = _driven(plan, lambda t: None)
    assert sum(len(s.trials) for s in stages) == len(plan.trials)
