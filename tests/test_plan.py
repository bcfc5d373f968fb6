"""Expansion of a grid into ordered, paired trials."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.plan import Grid, arrivals_at, grids_of_suite, of_lengths, plan_perf, points_of, trial_of
from swiftkv_bench.points import load_perf_suite
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Arrivals, Length, Point

ARMS: tuple[Arm, ...] = ("baseline", "swiftkv")


def _points(lengths: int, rates: int) -> list[Point]:
    grid = Grid(
        input_len=tuple(Length(mean=100 * (i + 1)) for i in range(lengths)),
        output_len=Length(mean=8),
        arrivals=tuple(arrivals_at(i + 1.0) for i in range(rates)),
        requests=10,
        duration_s=None,
        warmup_requests=0,
    )
    return grid.points()


def test_arms_alternate_and_swap_each_repeat_when_engines_run_together() -> None:
    plan = plan_perf(_points(1, 1), ARMS, repeats=2, seed=0, together=True)
    assert [(t.repeat, t.arm) for t in plan.trials] == [
        (0, "baseline"), (0, "swiftkv"), (1, "swiftkv"), (1, "baseline"),
    ]  # fmt: skip


def test_which_arm_is_first_alternates_from_point_to_point() -> None:
    plan = plan_perf(_points(1, 3), ARMS, repeats=1, seed=0, together=True)
    assert [t.arm for t in plan.trials] == [*ARMS, *ARMS[::-1], *ARMS]


def test_throughput_points_come_first_then_one_rate_of_every_input_length() -> None:
    lengths = (Length(mean=100), Length(mean=200))
    rates = tuple(arrivals_at(rate) for rate in (2.0, 1.0, math.inf))
    points = Grid(lengths, Length(mean=8), rates, requests=10, duration_s=None, warmup_requests=0).points()
    plan = plan_perf(points, ARMS, repeats=2, seed=0, together=True)
    told = [(t.repeat, t.point.input_len.mean, t.point.arrivals.rate) for t in plan.trials if t.arm == "baseline"]
    first = [(0, 100, None), (0, 200, None), (0, 100, 2.0), (0, 200, 2.0), (0, 100, 1.0), (0, 200, 1.0)]
    assert told == first + [(1, length, rate) for _, length, rate in first]


def test_more_repeats_or_points_leave_the_seeds_of_others_alone() -> None:
    few = {t.trial_id: t.seed for t in plan_perf(_points(1, 1), ARMS, repeats=1, seed=0, together=True).trials}
    many = {t.trial_id: t.seed for t in plan_perf(_points(2, 3), ARMS, repeats=4, seed=0, together=True).trials}
    assert few.items() <= many.items()


def test_one_engine_change_a_repeat_when_engines_run_in_turn() -> None:
    plan = plan_perf(_points(2, 2), ARMS, repeats=3, seed=0, together=False)
    arms = [t.arm for t in plan.trials]
    assert sum(a != b for a, b in itertools.pairwise(arms)) == 3


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 2**31))
def test_every_cell_runs_once_an_arm_and_repeat_with_a_seed_of_its_own(
    lengths: int, rates: int, repeats: int, together: bool, seed: int
) -> None:
    plan = plan_perf(_points(lengths, rates), ARMS, repeats=repeats, seed=seed, together=together)
    assert len({t.trial_id for t in plan.trials}) == len(plan.trials) == lengths * rates * repeats * 2
    seeds: dict[tuple[str, int], set[int]] = {}
    for t in plan.trials:
        seeds.setdefault((t.point.point_id, t.repeat), set()).add(t.seed)
    assert all(len(s) == 1 for s in seeds.values())
    assert len(set().union(*seeds.values())) == len(seeds)


def test_a_token_budget_sets_the_number_of_requests() -> None:
    grid = Grid(
        input_len=(Length(mean=2000), Length(mean=32000)),
        output_len=Length(mean=256),
        arrivals=(arrivals_at(math.inf),),
        requests=None,
        duration_s=None,
        warmup_requests=0,
        total_prompt_tokens=384_000,
    )
    assert [p.requests for p in grid.points()] == [192, 12]
    assert grid.points()[0].arrivals.process == "all-at-once"


def test_a_point_of_two_grids_runs_once() -> None:
    grid = Grid(
        input_len=(Length(mean=500),),
        output_len=Length(mean=8),
        arrivals=(arrivals_at(1.0),),
        requests=4,
        duration_s=None,
        warmup_requests=0,
    )
    assert points_of([grid, grid]) == grid.points()


def test_input_lengths_of_a_suite_keep_their_own_rates() -> None:
    figure6 = grids_of_suite(load_perf_suite("figure6"))
    points = points_of(of_lengths(figure6, [Length(mean=8000)]))
    assert [(p.input_len.mean, p.arrivals.rate) for p in points] == [(8000, 1.0), (8000, 2.0), (8000, 2.75)]


def test_points_of_earlier_versions_keep_their_ids_and_seeds() -> None:
    # Printed by the program before points had turns, forms and files of their own.
    fixed = Point(input_len=Length(mean=2000), output_len=Length(mean=256), arrivals=arrivals_at(0.5), requests=60)
    closed = Arrivals(process="closed-loop", concurrency=4)
    shared = Point(
        input_len=Length(distribution="lognormal", mean=50, sigma=0.5), output_len=Length(mean=6), arrivals=closed,
        requests=9, warmup_requests=1, shared_prefix=0.5,
    )  # fmt: skip
    found = [(point.point_id, trial_of(point, "baseline", 1, 7).seed) for point in (fixed, shared)]
    assert found == [("in2000-out256-poisson0.5-94e841", 2662044317), ("in50-out6-closed-loop4-763e98", 3662777022)]
