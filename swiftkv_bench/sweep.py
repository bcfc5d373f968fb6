"""Which trials come next: a generator that yields stages of trials and is sent what came of them.

A fixed plan is one stage. A plan that may stop early has a stage a repeat. Automatic rates begin with a search for
each input length's capacity, go on with the highest rate under a latency objective where there is one, and end with
the grid at shares of the capacity. Pure: the same outcomes give the same trials, so a resumed run takes the same way.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace

from swiftkv_bench import units
from swiftkv_bench.evidence.trials import read_trial
from swiftkv_bench.metrics import Objective
from swiftkv_bench.plan import paced, plan_perf, trial_of
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import UNPACED, AutoRates, Length, PerfPlan, Point, RequestTable, Trial, TrialRecord
from swiftkv_bench.stats.trials import paired_log_ratio

LEAST_PAIRS = 3
"""Pairs of trials before a point may stop early: the interval of two is an accident of two numbers."""
GREW = 1.10
"""A batch twice as large that does not answer this much faster has shown the capacity."""
DOUBLINGS = 4
RUNG = 1.10
"""The search for the highest rate under an objective ends with two rates this far apart."""
TRIES = 3
"""Trials of one rate before the search of its input length is given up."""
LADDER_TOP, LADDER_BOTTOM = 2.4, 0.1
"""Its range, as shares of the baseline's capacity."""


@dataclass(frozen=True)
class Outcome:
    """What came of one trial.

    Attributes:
        figures: metric key -> figure; empty when the trial is not valid.
        attained: share of requests that met the objective; None without one.
    """

    figures: Mapping[str, float]
    attained: float | None = None


def outcome_of(record: TrialRecord, table: RequestTable, objective: Objective | None = None) -> Outcome:
    """What a sweep needs to know of one trial."""
    trial, _ = read_trial(record, table, objective)
    if trial is None or not trial.valid or trial.detail is None:
        return Outcome({})
    counts = trial.detail.counts
    return Outcome(trial.figures, None if counts.good is None else counts.good / counts.requests)


@dataclass(frozen=True)
class Stage:
    """Trials to run in this order.

    Attributes:
        searched: they only look for what to measure, and do not stand in the plan.
        reason: why these, one sentence; None where the plan says it.
    """

    trials: tuple[Trial, ...]
    searched: bool = False
    reason: str | None = None


Outcomes = Mapping[str, Outcome]
"""Trial id -> what came of it; a trial that failed or was left out is not there."""
Stages = Generator[Stage, Outcomes, None]


def sweep(plan: PerfPlan) -> Stages:
    """The stages of a plan."""
    if plan.auto is not None:
        return _automatic(plan.auto, plan.seed, plan.stop_within)
    return _repeats(plan.trials, plan.stop_within)


def _repeats(trials: Sequence[Trial], stop_within: float | None) -> Stages:
    """All at once, or repeat by repeat without the points whose ratio is known well enough."""
    if stop_within is None:
        yield Stage(tuple(trials))
        return
    seen: dict[str, Outcome] = {}
    for repeat in sorted({t.repeat for t in trials}):
        known = {p for p in {t.point for t in trials} if _known(p, trials, seen, stop_within)}
        wanted = tuple(t for t in trials if t.repeat == repeat and t.point not in known)
        if wanted:
            seen |= yield Stage(wanted)


def _known(point: Point, trials: Sequence[Trial], seen: Outcomes, stop_within: float) -> bool:
    """Whether the interval of the point's ratio reaches no further than this share of it to either side.

    The ratio is that of throughput where the server sets the pace, else of mean TTFT.
    """
    metric = "total_throughput" if point.arrivals.process in UNPACED else "ttft_mean_s"
    by_repeat: dict[int, dict[Arm, float]] = {}
    for t in trials:
        if t.point == point and t.trial_id in seen and metric in seen[t.trial_id].figures:
            by_repeat.setdefault(t.repeat, {})[t.arm] = seen[t.trial_id].figures[metric]
    pairs = [(v["swiftkv"], v["baseline"]) for v in by_repeat.values() if {"swiftkv", "baseline"} <= v.keys()]
    if len(pairs) < LEAST_PAIRS:
        return False
    found = paired_log_ratio([c for c, _ in pairs], [r for _, r in pairs])
    interval = None if found is None else found.interval()
    return interval is not None and math.sqrt(interval.high / interval.low) <= 1 + stop_within


def _automatic(auto: AutoRates, seed: int, stop_within: float | None) -> Stages:
    sizes: dict[Length, Point] = {}
    capacity: dict[Length, float] = {}
    for arm in (arm for arm in auto.arms if arm != "baseline-repeat"):
        found = yield from _capacities(auto, arm, seed, sizes)
        capacity |= found if arm == auto.arms[0] else {}
        if auto.objective is not None:
            yield from _limits(auto, arm, seed, capacity)
    points = []
    for length, rate in capacity.items():
        points.append(sizes[length])
        points += [_paced(auto, length, rounded(rate * share)) for share in auto.shares]
    # The engine that was searched last is the one that is up.
    arms = auto.arms if auto.together else auto.arms[::-1]
    grid = plan_perf(points, arms, repeats=auto.repeats, seed=seed, together=auto.together)
    yield from _repeats(grid.trials, stop_within)


def _capacities(
    auto: AutoRates, arm: Arm, seed: int, sizes: dict[Length, Point]
) -> Generator[Stage, Outcomes, dict[Length, float]]:
    """Requests/s that an arm answers when all come at once, input length -> 1/s; `sizes` keeps the batch it took.

    The batch doubles until that no longer helps.
    """
    best: dict[Length, float] = {}
    growing = {point.input_len: point for point in auto.points}
    for _ in range(1 + DOUBLINGS):
        trials = {length: trial_of(point, arm, 0, seed) for length, point in growing.items()}
        if not trials:
            break
        name = f"capacity of {arm}: batches of {', '.join(f'{p.requests:,}' for p in growing.values())}"
        seen = yield Stage(tuple(trials.values()), searched=True, reason=name)
        for length, trial in trials.items():
            outcome = seen.get(trial.trial_id)
            rate = None if outcome is None else outcome.figures.get("request_throughput")
            last = best.get(length)
            if rate is not None and (last is None or rate > last):
                best[length] = rate
                if arm == auto.arms[0]:
                    sizes[length] = trial.point
            if rate is None or (last is not None and rate < GREW * last):
                del growing[length]
            else:
                growing[length] = trial.point.model_copy(update={"requests": 2 * (trial.point.requests or 1)})
    return best


def _limits(auto: AutoRates, arm: Arm, seed: int, capacity: Mapping[Length, float]) -> Stages:
    """Bisects a ladder of rates, the same for all arms, for the highest that meets the objective."""
    share = auto.share
    # Rung 0 is taken to fail and the last to pass; neither is measured unless the search ends beside it.
    state = {length: _Bracket(ladder(rate)) for length, rate in capacity.items()}
    while True:
        asked = {length: b for length, b in state.items() if not b.closed}
        if not asked:
            return
        trials = {n: trial_of(_paced(auto, n, b.rate), arm, b.tries, seed) for n, b in asked.items()}
        rates = ", ".join(f"{units.rate(b.rate)} at {length.mean:,.0f}" for length, b in asked.items())
        seen = yield Stage(tuple(trials.values()), reason=f"highest rate of {arm} under the objective: {rates}")
        for length, trial in trials.items():
            outcome = seen.get(trial.trial_id)
            attained = None if outcome is None else outcome.attained
            state[length] = state[length].again() if attained is None else state[length].after(attained >= share)


def _paced(auto: AutoRates, length: Length, rate: float) -> Point:
    return paced(auto.at(length), rate, auto.process, auto.burstiness)


@dataclass(frozen=True)
class _Bracket:
    """Rungs between which the highest rate lies: `fails` is a higher rate than `passes`."""

    rates: tuple[float, ...]
    fails: int = -1
    passes: int | None = None
    tries: int = 0
    """Trials at this rung that brought nothing: not valid, failed or left out."""

    @property
    def _low(self) -> int:
        return len(self.rates) if self.passes is None else self.passes

    @property
    def closed(self) -> bool:
        """Nothing lies between."""
        return self._low - self.fails <= 1

    @property
    def rate(self) -> float:
        """The rung to try: in the middle."""
        return self.rates[(self.fails + self._low) // 2]

    def after(self, met: bool) -> "_Bracket":
        """With the outcome at `rate`."""
        middle = (self.fails + self._low) // 2
        return replace(self, passes=middle, tries=0) if met else replace(self, fails=middle, tries=0)

    def again(self) -> "_Bracket":
        """With one more try of the same rung; given up after `TRIES`."""
        return replace(self, tries=self.tries + 1) if self.tries + 1 < TRIES else replace(self, fails=self._low)


def ladder(capacity: float) -> tuple[float, ...]:
    """Rates from far above a capacity to far below, each `RUNG` times the next."""
    rates = [capacity * LADDER_TOP]
    while rates[-1] > capacity * LADDER_BOTTOM:
        rates.append(rates[-1] / RUNG)
    return tuple(rounded(rate) for rate in rates)


def rounded(rate: float) -> float:
    """At three significant digits, so that a rate reads as it was sent."""
    return float(f"{rate:.3g}")
