"""Expands what was asked for into the ordered trials of a run. Pure: no engine, network, clock or file.

Trials of all arms with the same point and repeat share one seed, so they get the same schedule and the same
prompts; their order alternates (A B, B A, ...) so that a drift of the machine falls on both arms alike.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Arrivals, Length, PerfPlan, PerfSuite, Point, Trial


@dataclass(frozen=True)
class Grid:
    """Load points before expansion: every input length with every arrival process."""

    input_len: tuple[Length, ...]
    output_len: Length
    arrivals: tuple[Arrivals, ...]
    requests: int | None
    duration_s: float | None
    warmup_requests: int
    shared_prefix: float = 0.0
    prompts: str | None = None
    total_prompt_tokens: int | None = None

    def points(self) -> list[Point]:
        """Every cell, input lengths outermost, in the order given."""
        return [self._point(length, arrivals) for length in self.input_len for arrivals in self.arrivals]

    def _point(self, length: Length, arrivals: Arrivals) -> Point:
        requests = self.requests
        if self.total_prompt_tokens is not None:
            requests = max(1, math.ceil(self.total_prompt_tokens / length.mean))
        return Point(
            input_len=length,
            output_len=self.output_len,
            arrivals=arrivals,
            requests=requests,
            duration_s=self.duration_s,
            warmup_requests=self.warmup_requests,
            shared_prefix=self.shared_prefix,
            prompts=self.prompts,
        )


def grids_of_suite(suite: PerfSuite) -> list[Grid]:
    """The grids that a suite file describes."""
    return [
        Grid(
            input_len=tuple(Length(mean=n) for n in grid.input_len),
            output_len=Length(mean=grid.output_len),
            arrivals=tuple(arrivals_at(rate, grid.process) for rate in grid.rate),
            requests=grid.requests,
            duration_s=grid.duration_s,
            warmup_requests=suite.warmup_requests,
            total_prompt_tokens=grid.total_prompt_tokens,
        )
        for grid in suite.grids
    ]


def points_of(grids: Iterable[Grid]) -> list[Point]:
    """The points of all grids in order, each once."""
    return list({point.point_id: point for grid in grids for point in grid.points()}.values())


def arrivals_at(rate: float, process: str = "poisson", burstiness: float = 1.0) -> Arrivals:
    """Arrivals at a rate in 1/s; infinity sends all requests at once."""
    if math.isinf(rate):
        return Arrivals(process="all-at-once")
    return Arrivals.model_validate({"process": process, "rate": rate, "burstiness": burstiness})


def plan_perf(
    points: Sequence[Point],
    arms: Sequence[Arm],
    *,
    repeats: int,
    seed: int,
    together: bool,
    suite: str | None = None,
) -> PerfPlan:
    """Orders the trials of load points, every point of one repeat before the next repeat.

    With engines that run together, arms alternate trial by trial. Otherwise they alternate in blocks of
    all points, with one engine change a repeat.
    """
    seeds = _trial_seeds(seed, len(points), repeats)
    trials: list[Trial] = []
    for repeat in range(repeats):
        order = list(arms) if repeat % 2 == 0 else list(reversed(arms))
        if together:
            pairs: Iterable[tuple[int, Arm]] = ((p, arm) for p in range(len(points)) for arm in order)
        else:
            pairs = ((p, arm) for arm in order for p in range(len(points)))
        trials += [_trial(points[p], arm, repeat, int(seeds[p, repeat])) for p, arm in pairs]
    return PerfPlan(suite=suite, seed=seed, trials=tuple(trials))


def _trial(point: Point, arm: Arm, repeat: int, seed: int) -> Trial:
    return Trial(trial_id=f"{point.point_id}-{arm}-{repeat}", point=point, arm=arm, repeat=repeat, seed=seed)


def _trial_seeds(seed: int, points: int, repeats: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    words = np.random.SeedSequence(seed).generate_state(points * repeats, np.uint32)
    return words.astype(np.int64).reshape(points, repeats)
