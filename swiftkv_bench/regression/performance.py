"""Lines under load: a metric at each load point over trials, and its geometric mean over the points."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from swiftkv_bench.analysis.values import METRICS, Metric
from swiftkv_bench.errors import InputError
from swiftkv_bench.regression.claims import performance_line
from swiftkv_bench.regression.comparison import Bounds, Line, Role
from swiftkv_bench.regression.evidence import Evidence, TrialFigures
from swiftkv_bench.regression.pairs import Pair
from swiftkv_bench.regression.policy import Policy
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import UNPACED, Point
from swiftkv_bench.stats.grids import grid_log_ratio, unpaired_grid_log_ratio
from swiftkv_bench.stats.trials import LogRatio, paired_log_ratio, unpaired_log_ratio
from swiftkv_bench.stats.verdicts import Verdict


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

    def figures(self, metric: str) -> tuple[dict[int, float], dict[int, float]]:
        """Repeat -> figure of either side; of common repeats alone where trials pair."""
        sides = [
            {i: t.figures[metric] for i, t in trials.items() if metric in t.figures}
            for trials in (self.reference, self.candidate)
        ]
        if self.paired:
            common = sides[0].keys() & sides[1].keys()
            sides = [{i: side[i] for i in sorted(common)} for side in sides]
        return sides[0], sides[1]

    def ratio(self, metric: str) -> LogRatio | None:
        """candidate / reference."""
        r, c = (list(side.values()) for side in self.figures(metric))
        return paired_log_ratio(c, r) if self.paired else unpaired_log_ratio(c, r)


def performance_lines(pair: Pair, policy: Policy) -> list[Line]:
    """Every line under load of a pair; none when either side has no trial.

    Raises:
        InputError: both sides have trials and no load point is common to them.
    """
    cells = _cells(pair)
    lines = []
    for key, margin in policy.performance.metrics.items():
        of_metric = [cell for cell in cells if _applies(METRICS[key], cell)]
        role: Role = "guard" if pair.role == "primary" and len(of_metric) > 1 else pair.role
        lines += [_cell_line(pair, cell, METRICS[key], margin, role, policy) for cell in of_metric]
        if len(of_metric) > 1:
            lines.append(_overall_line(pair, of_metric, METRICS[key], margin, policy))
    planned = (pair.reference.manifest.plan.perf, pair.candidate.manifest.plan.perf)
    if not lines and None not in planned and policy.performance.metrics:
        lines.append(_nothing(pair, *next(iter(policy.performance.metrics.items()))))
    return lines


def _nothing(pair: Pair, key: str, margin: float) -> Line:
    """Both runs put load on their engines, and nothing can be said of it: that is no PASS."""
    metric = METRICS[key]
    title = f"{metric.title}, all points"
    line = performance_line(pair, "overall", metric, "all points", title, margin=margin, role=pair.role, paired=False)
    return line.model_copy(update={"reason": "no load point has a valid trial of the reference"})


def _cells(pair: Pair) -> list[Cell]:
    reference, candidate = _by_point(pair.reference, pair.reference_arm), _by_point(pair.candidate, pair.candidate_arm)
    common = [point_id for point_id in candidate if point_id in reference]
    if reference and candidate and not common:
        raise InputError(
            f"{pair.reference.side.label} and {pair.candidate.side.label} have no load point in common (for example "
            f"{next(iter(reference))} and {next(iter(candidate))}); run both with the same lengths, rates and requests"
        )
    return [_cell(reference[point_id], candidate[point_id]) for point_id in common]


def _by_point(side: Evidence, arm: Arm) -> dict[str, list[TrialFigures]]:
    found: dict[str, list[TrialFigures]] = {}
    for trial in side.trials:
        if trial.trial.arm == arm:
            found.setdefault(trial.trial.point.point_id, []).append(trial)
    return found


def _cell(reference: Sequence[TrialFigures], candidate: Sequence[TrialFigures]) -> Cell:
    sides = [{t.trial.repeat: t for t in trials if t.valid} for trials in (reference, candidate)]
    common = sides[0].keys() & sides[1].keys()
    paired = bool(common) and all(sides[0][i].trial.seed == sides[1][i].trial.seed for i in common)
    saturated = [bool(side) and 2 * sum(t.saturated for t in side.values()) >= len(side) for side in sides]
    return Cell(reference[0].trial.point, sides[0], sides[1], paired, (saturated[0], saturated[1]))


def _applies(metric: Metric, cell: Cell) -> bool:
    """Whether the point can say something of the metric: the reference has a valid figure there.

    Latencies of a saturated reference grow with the length of the run; a throughput below saturation is the asked rate.
    """
    if not any(metric.key in t.figures for t in cell.reference.values()):
        return False
    if metric.latency is not None:
        return not cell.saturated[0]
    if metric.key == "goodput":
        return True
    return cell.point.arrivals.process in UNPACED or any(cell.saturated)


def _cell_line(pair: Pair, cell: Cell, metric: Metric, margin: float, role: Role, policy: Policy) -> Line:
    reference, candidate = (tuple(side.values()) for side in cell.figures(metric.key))
    where, title = cell.point.point_id, metric.title
    line = performance_line(pair, "cell", metric, where, title, margin=margin, role=role, paired=cell.paired)
    line = line.model_copy(
        update={
            "point": cell.point,
            "reference_value": _geometric(reference),
            "candidate_value": _geometric(candidate),
            "reference_trials": reference,
            "candidate_trials": candidate,
        }
    )
    return _judged(line, cell.ratio(metric.key), policy, _absent(cell, metric.key))


def _absent(cell: Cell, metric: str) -> str:
    """Why there is no ratio."""
    if not cell.candidate:
        return "no trial of the candidate is valid at this point"
    if not any(metric in t.figures for t in cell.candidate.values()):
        return "no trial of the candidate supports this figure"
    return "no trial pairs, or a figure is 0"


def _overall_line(pair: Pair, cells: Sequence[Cell], metric: Metric, margin: float, policy: Policy) -> Line:
    """Geometric mean over the points; what moves a whole repeat counts once."""
    found = [cell.figures(metric.key) for cell in cells]
    paired = all(cell.paired for cell in cells)
    title = f"{metric.title}, {len(cells)} points"
    line = performance_line(pair, "overall", metric, "all points", title, margin=margin, role=pair.role, paired=paired)
    absent = sum(not candidate or not reference for reference, candidate in found)
    if absent:
        reason = f"{absent} of {len(cells)} points have no valid figure on both sides"
        return line.model_copy(update={"reason": reason})
    if any(value <= 0 for sides in found for side in sides for value in side.values()):
        return line.model_copy(update={"reason": "a figure is 0, so that there is no ratio"})
    reference, candidate = ([_logs(sides[i]) for sides in found] for i in (0, 1))
    if paired:
        both = zip(reference, candidate, strict=True)
        ratio = grid_log_ratio([{i: c[i] - r[i] for i in r if i in c} for r, c in both])
    else:
        ratio = unpaired_grid_log_ratio(candidate, reference)
    return _judged(line, ratio, policy, "at a point no repeat has a figure on both sides")


def _logs(figures: Mapping[int, float]) -> dict[int, float]:
    return {repeat: math.log(value) for repeat, value in figures.items()}


def _judged(line: Line, ratio: LogRatio | None, policy: Policy, absent: str) -> Line:
    if ratio is None:
        return line.model_copy(update={"reason": absent})
    bounds = ratio.bounds(policy.alpha)
    if bounds is None:
        reason = f"{ratio.n} trial a side has no spread; at least 2 are needed, 5 are better"
        return line.model_copy(update={"effect": ratio.ratio, "n": ratio.n, "reason": reason})
    higher = line.worse == "higher"
    p_fail = ratio.p_at_most(line.limit) if higher else ratio.p_at_least(line.limit)
    low, high = bounds
    good, bad = (high < line.limit, low > line.limit) if higher else (low > line.limit, high < line.limit)
    verdict = Verdict.PASS if good else Verdict.FAIL if bad else Verdict.INCONCLUSIVE
    kind = "paired trials" if ratio.paired else "trials, Welch"
    return line.model_copy(
        update={
            "effect": ratio.ratio,
            "bounds": Bounds(
                low=low, high=high, method=f"t of the log-ratio, {kind}, {ratio.df:.3g} degrees of freedom"
            ),
            "n": ratio.n,
            "p_fail": p_fail,
            "verdict": verdict,
            "n_to_decide": ratio.n_to_decide(line.limit, policy.alpha) if verdict is Verdict.INCONCLUSIVE else None,
        }
    )


def _geometric(values: Sequence[float]) -> float | None:
    if not values or min(values) <= 0:
        return None
    return math.exp(math.fsum(math.log(v) for v in values) / len(values))


def points_apart(pair: Pair) -> Iterator[tuple[str, str]]:
    """(side, point id) of load points that only one side has."""
    reference, candidate = _by_point(pair.reference, pair.reference_arm), _by_point(pair.candidate, pair.candidate_arm)
    yield from (("baseline", point_id) for point_id in reference if point_id not in candidate)
    yield from (("candidate", point_id) for point_id in candidate if point_id not in reference)
