"""Expands what was asked for into the ordered trials of a run. Pure: no engine, network, clock or file.

Trials of all arms with the same point and repeat share one seed, so they get the same schedule and the same
prompts; their order alternates (A B, B A, ...) so that a drift of the machine falls on both arms alike. The first
repeat of every point comes before the second of any, and within a repeat the points that tell most come first, so
that a run that is cut short by the user or a time budget has shown as much as it could.
"""

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swiftkv_bench.schema.base import content_hash
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import UNPACED, Arrivals, Length, PerfPlan, PerfSuite, Point, Trial


@dataclass(frozen=True)
class Grid:
    """Load points before expansion: every input length with every arrival process."""

    input_len: tuple[Length, ...]
    output_len: Length
    arrivals: tuple[Arrivals, ...]
    requests: int | None
    duration_s: float | None
    warmup_requests: int
    total_prompt_tokens: int | None = None
    rest: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every point."""

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
            **self.rest,
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


def of_lengths(grids: Iterable[Grid], lengths: Collection[Length]) -> list[Grid]:
    """The part of the grids that has one of these input lengths."""
    kept = [(grid, tuple(length for length in grid.input_len if length in lengths)) for grid in grids]
    return [dataclasses.replace(grid, input_len=found) for grid, found in kept if found]


def points_of(grids: Iterable[Grid]) -> list[Point]:
    """The points of all grids in order, each once."""
    return list({point.point_id: point for grid in grids for point in grid.points()}.values())


def arrivals_at(rate: float, process: str = "poisson", burstiness: float = 1.0) -> Arrivals:
    """Arrivals at a rate in 1/s; infinity sends all requests at once."""
    if math.isinf(rate):
        return Arrivals(process="all-at-once")
    return Arrivals.model_validate({"process": process, "rate": rate, "burstiness": burstiness})


def paced(point: Point, rate: float, process: str, burstiness: float = 1.0) -> Point:
    """The same point at a rate in 1/s."""
    return point.model_copy(update={"arrivals": arrivals_at(rate, process, burstiness)})


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

    With engines that run together, arms alternate trial by trial, and which is first alternates from point to point
    and repeat to repeat. Otherwise they alternate in blocks of all points, with one engine change a repeat.
    """
    points = most_telling_first(points)
    trials: list[Trial] = []
    for repeat in range(repeats):
        if together:
            pairs = [(point, arm) for i, point in enumerate(points) for arm in _swapped(arms, repeat + i)]
        else:
            pairs = [(point, arm) for arm in _swapped(arms, repeat) for point in points]
        trials += [trial_of(point, arm, repeat, seed) for point, arm in pairs]
    return PerfPlan(suite=suite, seed=seed, trials=tuple(trials))


def _swapped(arms: Sequence[Arm], turn: int) -> Sequence[Arm]:
    return arms if turn % 2 == 0 else arms[::-1]


def most_telling_first(points: Sequence[Point]) -> list[Point]:
    """Throughput at every input length, then the first rate given at every input length, then the second, ..."""
    places: dict[Length, int] = {}
    ranked = []
    for point in sorted(points, key=lambda p: p.arrivals.process not in UNPACED):
        place = places.get(point.input_len, 0)
        places[point.input_len] = place + 1
        ranked.append((place, point))
    return [point for _, point in sorted(ranked, key=lambda pair: pair[0])]


def trial_of(point: Point, arm: Arm, repeat: int, seed: int) -> Trial:
    """A trial whose seed depends on the plan's seed, point and repeat alone, so that arms share it."""
    words = np.random.SeedSequence([seed, int(content_hash(point), 16), repeat]).generate_state(1, np.uint32)
    return Trial(trial_id=f"{point.point_id}-{arm}-{repeat}", point=point, arm=arm, repeat=repeat, seed=int(words[0]))
