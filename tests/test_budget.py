"""What fits a time budget."""

from swiftkv_bench.budget import Budget
from swiftkv_bench.estimate import Speed, trial_s
from swiftkv_bench.plan import Grid, arrivals_at, plan_perf
from swiftkv_bench.schema.perf import Length, PerfPlan

SPEED = Speed(start_s=0.0, prompt_tokens_per_s=1000.0, output_tokens_per_s=100.0, item_s=1.0)


def _plan(repeats: int) -> PerfPlan:
    grid = Grid(
        input_len=(Length(mean=1000),),
        output_len=Length(mean=100),
        arrivals=(arrivals_at(1.0),),
        requests=8,
        duration_s=None,
        warmup_requests=0,
    )
    return plan_perf(grid.points(), ("baseline", "swiftkv"), repeats=repeats, seed=0, together=True)


def test_a_trial_is_estimated_by_its_work_when_that_exceeds_its_window() -> None:
    # 8 requests of 1 s prefill and 1 s decode are 16 s of work, more than the window of 8 s; one more request of 2 s.
    assert trial_s(_plan(1).trials[0].point, SPEED) == 18.0


def test_a_pair_runs_whole_or_not_at_all() -> None:
    now = [0.0]
    budget = Budget(60.0, SPEED, clock=lambda: now[0])
    trials = _plan(2).trials
    assert budget.allows(trials[0], trials)  # 2 x 18 s x 1.15 = 41.4 s fit 60 s
    now[0] = 50.0
    assert budget.allows(trials[1], trials[1:])  # decided with its pair, though 20.7 s are no longer left
    assert not budget.allows(trials[2], trials[2:])
    assert not budget.allows(trials[3], trials[3:])


def test_seen_durations_replace_the_estimate() -> None:
    now = [0.0]
    budget = Budget(60.0, SPEED, clock=lambda: now[0])
    trials = _plan(2).trials
    for trial in trials[:2]:
        budget.took(trial, 2.0)
    now[0] = 50.0
    assert budget.allows(trials[2], trials[2:])


def test_without_a_budget_everything_fits() -> None:
    trials = _plan(1).trials
    assert Budget(None, SPEED).allows(trials[0], trials)
