"""What fits a time budget."""

from dataclasses import replace

from swiftkv_bench.budget import Budget, fitting
from swiftkv_bench.estimate import Speed, trial_s
from swiftkv_bench.plan import Grid, arrivals_at, plan_perf
from swiftkv_bench.schema.perf import Length, PerfPlan

SPEED = Speed(start_s=0.0, prompt_tokens_per_s=1000.0, output_tokens_per_s=100.0, item_s=1.0)


def _plan(repeats: int, *lengths: int, together: bool = True) -> PerfPlan:
    grid = Grid(
        input_len=tuple(Length(mean=n) for n in lengths or (1000,)),
        output_len=Length(mean=100),
        arrivals=(arrivals_at(1.0),),
        requests=8,
        duration_s=None,
        warmup_requests=0,
    )
    return plan_perf(grid.points(), ("baseline", "swiftkv"), repeats=repeats, seed=0, together=together)


def test_a_trial_is_estimated_by_its_work_when_that_exceeds_its_window() -> None:
    # 8 requests of 1 s prefill and 1 s decode are 16 s of work, more than the window of 8 s; one more request of 2 s.
    assert trial_s(_plan(1).trials[0].point, SPEED) == 18.0


def test_a_pair_runs_whole_or_not_at_all() -> None:
    now = [0.0]
    budget = Budget(63.0, SPEED, together=True, clock=lambda: now[0])
    trials = _plan(2).trials
    assert budget.allows(trials[0], trials)  # 2 x 18 s x 1.15 = 41.4 s fit 63 s less 1/20 kept back
    now[0] = 50.0
    assert budget.allows(trials[1], trials[1:])  # decided with its pair, though 20.7 s are no longer left
    assert not budget.allows(trials[2], trials[2:])
    assert not budget.allows(trials[3], trials[3:])


def test_seen_durations_replace_the_estimate() -> None:
    now = [0.0]
    budget = Budget(63.0, SPEED, together=True, clock=lambda: now[0])
    trials = _plan(2).trials
    for trial in trials[:2]:
        budget.took(trial, 2.0)
    now[0] = 50.0
    assert budget.allows(trials[2], trials[2:])


def test_without_a_budget_everything_fits() -> None:
    trials = _plan(1).trials
    assert Budget(None, SPEED, together=True).allows(trials[0], trials)


def test_engine_starts_count() -> None:
    slow = replace(SPEED, start_s=30.0)
    trials = _plan(1).trials
    assert not Budget(63.0, slow, together=True, clock=lambda: 0.0).allows(trials[0], trials)
    assert Budget(63.0, slow, together=True, clock=lambda: 0.0).allows(trials[0], trials, ("baseline", "swiftkv"))


def test_a_start_that_took_longer_than_thought_is_remembered() -> None:
    budget = Budget(63.0, SPEED, together=False, clock=lambda: 0.0)
    budget.started(25.0)
    trials = _plan(1, together=False).trials
    assert budget.starts_s(trials, ()) == 50.0
    assert budget.starts_s(trials, [trials[0].arm]) == 25.0
    assert not budget.allows(trials[0], trials)


def test_in_turn_a_pair_is_begun_only_beside_the_pairs_whose_second_half_is_to_come() -> None:
    # Two points of 18 s a trial; both on the first engine (36 s), then both on the second: 72 s x 1.15 = 82.8 s.
    now = [0.0]
    trials = _plan(1, 1000, 999, together=False).trials
    budget = Budget(80.0, SPEED, together=False, clock=lambda: now[0])
    run, left = [], list(trials)
    while left:
        if budget.allows(left[0], left):
            run.append((left[0].point.input_len.mean, left[0].arm))
            now[0] += 18.0
            budget.took(left[0], 18.0)
        left = left[1:]
    assert run == [(1000, "baseline"), (1000, "swiftkv")]


def test_a_trial_on_the_other_arm_is_the_best_guess_before_the_first_of_its_own() -> None:
    trials = _plan(1).trials
    budget = Budget(63.0, SPEED, together=True)
    budget.took(trials[0], 5.0)
    assert budget.expected_s(trials[1]) == 5.0


def test_a_dry_run_knows_what_would_fit() -> None:
    trials = _plan(3).trials
    assert fitting(trials, None, SPEED, together=True) == {t.trial_id for t in trials}
    # A pair is expected to take 36 s and begun when 41.4 s are left: of 95 s two fit, of 80 s one.
    assert fitting(trials, 95.0, SPEED, together=True) == {t.trial_id for t in trials[:4]}
    assert fitting(trials, 80.0, SPEED, together=True) == {t.trial_id for t in trials[:2]}
    assert fitting(trials, 80.0, replace(SPEED, start_s=40.0), together=True) == set()
