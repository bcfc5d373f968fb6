"""Lines under load: a metric at each load point over trials, and its geometric mean over the points."""

import math
from collections.abc import Iterator, Mapping, Sequence

from swiftkv_bench.analysis.values import METRICS, Metric
from swiftkv_bench.regression.cells import Cell, by_point, cells, median_of
from swiftkv_bench.regression.claims import performance_line
from swiftkv_bench.regression.comparison import Bounds, Line, Role
from swiftkv_bench.regression.pairs import Pair
from swiftkv_bench.regression.policy import Policy
from swiftkv_bench.stats.grids import grid_log_ratio, unpaired_grid_log_ratio
from swiftkv_bench.stats.trials import LogRatio
from swiftkv_bench.stats.verdicts import Verdict


def performance_lines(pair: Pair, policy: Policy) -> list[Line]:
    """Every line under load of a pair; none when either side has no trial.

    Raises:
        InputError: both sides have trials and no load point is common to them.
    """
    found = cells(pair)
    lines = []
    for key, margin in policy.performance.metrics.items():
        metric = METRICS[key]
        of_metric = [cell for cell in found if cell.applies(metric)]
        role = _role(pair, metric, of_metric, policy)
        of_cells: Role = "guard" if role == "primary" and len(of_metric) > 1 else role
        lines += [_cell_line(pair, cell, metric, margin, of_cells, policy) for cell in of_metric]
        if len(of_metric) > 1:
            lines.append(_overall_line(pair, of_metric, metric, margin, role, policy))
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


def _role(pair: Pair, metric: Metric, of_metric: Sequence[Cell], policy: Policy) -> Role:
    """What a metric's verdict counts for: other figures of a latency guard where its median is compared, too."""
    median = median_of(metric)
    beside = median is not None and median.key != metric.key and median.key in policy.performance.metrics
    if pair.role == "primary" and beside and median is not None and all(c.applies(median) for c in of_metric):
        return "guard"
    return pair.role


def _cell_line(pair: Pair, cell: Cell, metric: Metric, margin: float, role: Role, policy: Policy) -> Line:
    reference, candidate = (tuple(side.values()) for side in cell.figures(metric))
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
    return _judged(line, cell.ratio(metric), policy, _absent(cell, metric.key), by_request=cell.by_request(metric))


def _absent(cell: Cell, metric: str) -> str:
    """Why there is no ratio."""
    if not cell.candidate:
        return "no trial of the candidate is valid at this point"
    if not any(metric in t.figures for t in cell.candidate.values()):
        return "no trial of the candidate supports this figure"
    return "no trial pairs, or a figure is 0"


def _overall_line(
    pair: Pair, of_metric: Sequence[Cell], metric: Metric, margin: float, role: Role, policy: Policy
) -> Line:
    """Geometric mean over the points; what moves a whole repeat counts once."""
    found = [cell.figures(metric) for cell in of_metric]
    paired = all(cell.paired for cell in of_metric)
    title = f"{metric.title}, {len(of_metric)} points"
    line = performance_line(pair, "overall", metric, "all points", title, margin=margin, role=role, paired=paired)
    absent = sum(not candidate or not reference for reference, candidate in found)
    if absent:
        reason = f"{absent} of {len(of_metric)} points have no valid figure on both sides"
        return line.model_copy(update={"reason": reason})
    if any(value <= 0 for sides in found for side in sides for value in side.values()):
        return line.model_copy(update={"reason": "a figure is 0, so that there is no ratio"})
    if paired:
        ratio = grid_log_ratio([cell.moved(metric) or {} for cell in of_metric])
    else:
        reference, candidate = ([_logs(sides[i]) for sides in found] for i in (0, 1))
        ratio = unpaired_grid_log_ratio(candidate, reference)
    missing = "at a point no repeat has a figure on both sides"
    return _judged(line, ratio, policy, missing, by_request=all(cell.by_request(metric) for cell in of_metric))


def _logs(figures: Mapping[int, float]) -> dict[int, float]:
    return {repeat: math.log(value) for repeat, value in figures.items()}


def _judged(line: Line, ratio: LogRatio | None, policy: Policy, absent: str, *, by_request: bool) -> Line:
    """PASS: the bounds lie on the good side of the limit. FAIL: worse than the reference, and the ratio past the limit.

    A FAIL claims that something got worse, so its p is of "not worse at all". To claim that it got worse by more than
    the margin would take four times the trials where the margin is 5 % and the change 10 %.
    """
    if ratio is None:
        return line.model_copy(update={"reason": absent})
    bounds = ratio.bounds(policy.alpha)
    if bounds is None:
        reason = f"{ratio.n} trial a side has no spread; at least 2 are needed, 5 are better"
        return line.model_copy(update={"effect": ratio.ratio, "n": ratio.n, "reason": reason})
    higher = line.worse == "higher"
    p_fail = ratio.p_at_most(1.0) if higher else ratio.p_at_least(1.0)
    low, high = bounds
    good = high < line.limit if higher else low > line.limit
    beyond = ratio.ratio > line.limit if higher else ratio.ratio < line.limit
    worse = beyond and p_fail is not None and p_fail <= policy.alpha
    verdict = Verdict.PASS if good else Verdict.FAIL if worse else Verdict.INCONCLUSIVE
    needed = ratio.n_to_decide(1.0 if beyond else line.limit, policy.alpha)
    kind = "paired trials" if ratio.paired else "trials, Welch"
    kind += ", each the median over its requests of the ratio of the same request" if by_request else ""
    return line.model_copy(
        update={
            "effect": ratio.ratio,
            "bounds": Bounds(
                low=low, high=high, method=f"t of the log-ratio, {kind}, {ratio.df:.3g} degrees of freedom"
            ),
            "n": ratio.n,
            "p_fail": p_fail,
            "verdict": verdict,
            "n_to_decide": needed if verdict is Verdict.INCONCLUSIVE else None,
        }
    )


def _geometric(values: Sequence[float]) -> float | None:
    if not values or min(values) <= 0:
        return None
    return math.exp(math.fsum(math.log(v) for v in values) / len(values))


def points_apart(pair: Pair) -> Iterator[tuple[str, str]]:
    """(side, point id) of load points that only one side has."""
    reference, candidate = by_point(pair.reference, pair.reference_arm), by_point(pair.candidate, pair.candidate_arm)
    yield from (("baseline", point_id) for point_id in reference if point_id not in candidate)
    yield from (("candidate", point_id) for point_id in candidate if point_id not in reference)
