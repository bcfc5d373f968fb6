"""Load points on both sides of a comparison: their trials, and how far a metric moved, repeat by repeat.

The gains of a page and the lines of a comparison are both made here, by the definitions in `metrics.figures`.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.evidence.trials import TrialFigures, mostly_saturated
from swiftkv_bench.metrics import METRICS, Lengths, Metric, unequal_lengths
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import UNPACED, Float, Point
from swiftkv_bench.stats.grids import grid_log_ratio, unpaired_grid_log_ratio
from swiftkv_bench.stats.trials import LogRatio, unpaired_log_ratio

Figures = dict[int, float]
"""Repeat -> figure."""


@dataclass(frozen=True)
class PointPair:
    """One load point on both sides: repeat -> valid trial.

    A trial that is not valid enters nothing; where trials pair, nor does its partner.

    Attributes:
        paired: trials of the same repeat share schedule and prompts.
        saturated: (reference, candidate): requests came faster than they were answered in half of the trials.
    """

    point: Point
    reference: Mapping[int, TrialFigures]
    candidate: Mapping[int, TrialFigures]
    paired: bool
    saturated: tuple[bool, bool]

    def stands(self, metric: Metric) -> bool:
        """Whether the metric says something of an engine at this point; see `Metric.stands`.

        A candidate that is past saturation where its reference is not is held to its latencies all the same.
        """
        if metric.stands == "below saturation":
            return not self.saturated[0]
        if metric.stands == "at the engine's pace":
            return self.point.arrivals.process in UNPACED or all(self.saturated)
        return True

    def sides_with(self, metric: Metric) -> tuple[bool, bool]:
        """Whether (reference, candidate) have a valid figure here, or the requests that a paired one is made from."""
        sides = (self.reference, self.candidate)
        if metric.paired:
            has = [any(metric.latency in t.requests for t in side.values()) for side in sides]
        else:
            has = [any(metric.key in t.figures for t in side.values()) for side in sides]
        return has[0], has[1]

    def compares(self, metric: Metric) -> bool:
        """Whether both sides have the figure, of requests that pair where it is a paired one."""
        return bool(self.requests(metric)) if metric.paired else all(self.sides_with(metric))

    def unequal(self, metric: Metric) -> str | None:
        """Why a metric that depends on lengths cannot be compared; None when it can."""
        if not metric.by_length:
            return None
        sides = [_mean_lengths(side.values()) for side in (self.reference, self.candidate)]
        found = unequal_lengths(sides[0], sides[1])
        return None if found is None else f"{found}: throughput, E2E latency and energy are not compared"

    def figures(self, metric: Metric) -> tuple[Figures, Figures]:
        """Figures of either side; of common repeats alone where trials pair, of common requests of paired medians."""
        if metric.paired:
            found = self.requests(metric)
            r, c = ({i: float(np.median(pair[side])) for i, pair in found.items()} for side in (0, 1))
            return r, c
        r, c = (
            {i: t.figures[metric.key] for i, t in trials.items() if metric.key in t.figures}
            for trials in (self.reference, self.candidate)
        )
        if self.paired:
            common = sorted(r.keys() & c.keys())
            r, c = ({i: side[i] for i in common} for side in (r, c))
        return r, c

    def moved(self, metric: Metric) -> Figures | None:
        """Repeat -> log(candidate / reference) of trials that pair; None where a figure is 0."""
        if metric.paired:
            return {i: float(np.median(np.log(c / r))) for i, (r, c) in self.requests(metric).items()}
        r, c = self.figures(metric)
        if any(value <= 0 for side in (r, c) for value in side.values()):
            return None
        return {i: math.log(c[i] / r[i]) for i in r}

    def ratio(self, metric: Metric) -> LogRatio | None:
        """candidate / reference over trials; None without one."""
        if self.paired or metric.paired:
            moved = self.moved(metric)
            return grid_log_ratio([moved]) if moved else None
        r, c = (list(side.values()) for side in self.figures(metric))
        return unpaired_log_ratio(c, r)

    def requests(self, metric: Metric) -> dict[int, tuple[Float, Float]]:
        """Repeat -> latencies of the requests that both sides answered, where these are half of them at least, and as
        many as a median needs."""
        if not self.paired or metric.latency is None:
            return {}
        out = {}
        for repeat in sorted(self.reference.keys() & self.candidate.keys()):
            r, c = (side[repeat].requests.get(metric.latency) for side in (self.reference, self.candidate))
            if r is not None and c is not None and len(r) == len(c):
                both = (r > 0) & (c > 0)
                if both.any() and 2 * both.sum() >= len(r):
                    out[repeat] = (r[both], c[both])
        return out


def over_points(points: Sequence[PointPair], metric: Metric) -> LogRatio | None:
    """Geometric mean of the ratios over points, what moves a whole repeat counted once; None without one everywhere."""
    if all(p.paired for p in points) or metric.paired:
        return grid_log_ratio([p.moved(metric) or {} for p in points])
    sides = [p.figures(metric) for p in points]
    if any(value <= 0 for pair in sides for side in pair for value in side.values()):
        return None
    reference, candidate = ([{i: math.log(x) for i, x in pair[k].items()} for pair in sides] for k in (0, 1))
    return unpaired_grid_log_ratio(candidate, reference)


def point_pairs(reference: Evidence, arm: Arm, candidate: Evidence, other: Arm) -> list[PointPair]:
    """Load points that both plans have, in order of the candidate's."""
    planned, ours = planned_points(reference, arm), planned_points(candidate, other)
    of_reference, of_candidate = _by_point(reference, arm), _by_point(candidate, other)
    return [
        point_pair(point, of_reference.get(point_id, ()), of_candidate.get(point_id, ()))
        for point_id, point in ours.items()
        if point_id in planned
    ]


def point_pair(point: Point, reference: Sequence[TrialFigures], candidate: Sequence[TrialFigures]) -> PointPair:
    """The trials of two sides at one point."""
    sides = [{t.trial.repeat: t for t in trials if t.valid} for trials in (reference, candidate)]
    common = sides[0].keys() & sides[1].keys()
    paired = bool(common) and all(sides[0][i].trial.seed == sides[1][i].trial.seed for i in common)
    saturated = [mostly_saturated(side.values()) for side in sides]
    return PointPair(point, sides[0], sides[1], paired, (saturated[0], saturated[1]))


def planned_points(side: Evidence, arm: Arm) -> dict[str, Point]:
    """Point id -> point, of an arm's planned trials."""
    plan = side.manifest.plan.perf
    return {} if plan is None else {t.point.point_id: t.point for t in plan.trials if t.arm == arm}


def median_of(metric: Metric, *, paired: bool) -> str | None:
    """The key of the (paired) median of the metric's latency; None for what has none."""
    found = (m for m in METRICS.values() if m.latency == metric.latency and m.quantile == 0.5 and m.paired == paired)
    return None if metric.latency is None else next((m.key for m in found), None)


def _by_point(side: Evidence, arm: Arm) -> dict[str, list[TrialFigures]]:
    found: dict[str, list[TrialFigures]] = {}
    for trial in side.trials:
        if trial.trial.arm == arm:
            found.setdefault(trial.trial.point.point_id, []).append(trial)
    return found


def _mean_lengths(every: Collection[TrialFigures]) -> Lengths:
    known = [[t.figures[key] for t in every if key in t.figures] for key in ("prompt_len", "output_len")]
    means = [math.fsum(values) / len(values) if values else None for values in known]
    return means[0], means[1]
