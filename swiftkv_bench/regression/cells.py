"""Load points on both sides of a comparison: their trials, and how far a metric moved, repeat by repeat.

Trials of equal seed share schedule and prompts, so that a request of one is the same request as in the other. Medians
of latencies then compare request by request: log(candidate / reference) of each, and its median over the trial. What
the schedule does to every request cancels, and a stall that hits a few requests does not count (`docs/regression.md`
has the spreads).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swiftkv_bench.analysis.values import METRICS, Metric
from swiftkv_bench.errors import InputError
from swiftkv_bench.regression.evidence import Evidence, TrialFigures
from swiftkv_bench.regression.pairs import Pair
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import UNPACED, Float, Point
from swiftkv_bench.stats.grids import grid_log_ratio
from swiftkv_bench.stats.trials import LogRatio, unpaired_log_ratio

Figures = dict[int, float]
"""Repeat -> figure."""


@dataclass(frozen=True)
class Cell:
    """One load point on both sides: repeat -> valid trial.

    Attributes:
        paired: trials of the same repeat share schedule and prompts.
        saturated: (reference, candidate): requests came faster than they were answered in half of the trials.
    """

    point: Point
    reference: Mapping[int, TrialFigures]
    candidate: Mapping[int, TrialFigures]
    paired: bool
    saturated: tuple[bool, bool]

    def applies(self, metric: Metric) -> bool:
        """Whether the point can say something of the metric: the reference has a valid figure there.

        Latencies of a saturated reference grow with the length of the run; a throughput below saturation is the asked
        rate.
        """
        if not any(metric.key in t.figures for t in self.reference.values()) and not self._requests(metric):
            return False
        if metric.latency is not None:
            return not self.saturated[0]
        if metric.key == "goodput":
            return True
        return self.point.arrivals.process in UNPACED or any(self.saturated)

    def by_request(self, metric: Metric) -> bool:
        """Whether the metric is compared request by request here."""
        return bool(self._requests(metric))

    def figures(self, metric: Metric) -> tuple[Figures, Figures]:
        """Figures of either side; of common repeats alone where trials pair, of common requests where these do."""
        requests = self._requests(metric)
        if requests:
            r, c = ({i: float(np.median(pair[side])) for i, pair in requests.items()} for side in (0, 1))
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
        requests = self._requests(metric)
        if requests:
            return {i: float(np.median(np.log(c / r))) for i, (r, c) in requests.items()}
        r, c = self.figures(metric)
        if any(value <= 0 for side in (r, c) for value in side.values()):
            return None
        return {i: float(np.log(c[i] / r[i])) for i in r}

    def ratio(self, metric: Metric) -> LogRatio | None:
        """candidate / reference over trials; None without one."""
        if self.paired:
            moved = self.moved(metric)
            return grid_log_ratio([moved]) if moved else None
        r, c = (list(side.values()) for side in self.figures(metric))
        return unpaired_log_ratio(c, r)

    def _requests(self, metric: Metric) -> dict[int, tuple[Float, Float]]:
        """Repeat -> latencies of the requests that both sides answered, where these are half of them at least."""
        if not self.paired or metric.latency is None or metric.quantile != 0.5:
            return {}
        out = {}
        for repeat in sorted(self.reference.keys() & self.candidate.keys()):
            r, c = (side[repeat].requests.get(metric.latency) for side in (self.reference, self.candidate))
            if r is not None and c is not None and len(r) == len(c):
                both = (r > 0) & (c > 0)
                if both.any() and 2 * both.sum() >= len(r):
                    out[repeat] = (r[both], c[both])
        return out


def cells(pair: Pair) -> list[Cell]:
    """Load points that both sides have.

    Raises:
        InputError: both have trials, and none at a common point.
    """
    reference, candidate = by_point(pair.reference, pair.reference_arm), by_point(pair.candidate, pair.candidate_arm)
    common = [point_id for point_id in candidate if point_id in reference]
    if reference and candidate and not common:
        raise InputError(
            f"{pair.reference.side.label} and {pair.candidate.side.label} have no load point in common (for example "
            f"{next(iter(reference))} and {next(iter(candidate))}); run both with the same lengths, rates and requests"
        )
    return [_cell(reference[point_id], candidate[point_id]) for point_id in common]


def by_point(side: Evidence, arm: Arm) -> dict[str, list[TrialFigures]]:
    """Point id -> trials of an arm."""
    found: dict[str, list[TrialFigures]] = {}
    for trial in side.trials:
        if trial.trial.arm == arm:
            found.setdefault(trial.trial.point.point_id, []).append(trial)
    return found


def median_of(metric: Metric) -> Metric | None:
    """The median of the metric's latency; None for what is no latency or has none."""
    if metric.latency is None:
        return None
    return next((m for m in METRICS.values() if m.latency == metric.latency and m.quantile == 0.5), None)


def _cell(reference: Sequence[TrialFigures], candidate: Sequence[TrialFigures]) -> Cell:
    sides = [{t.trial.repeat: t for t in trials if t.valid} for trials in (reference, candidate)]
    common = sides[0].keys() & sides[1].keys()
    paired = bool(common) and all(sides[0][i].trial.seed == sides[1][i].trial.seed for i in common)
    saturated = [bool(side) and 2 * sum(t.saturated for t in side.values()) >= len(side) for side in sides]
    return Cell(reference[0].trial.point, sides[0], sides[1], paired, (saturated[0], saturated[1]))
