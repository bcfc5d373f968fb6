"""From a run's trials to load points: figures with intervals over trials, gains of paired trials, bounds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from swiftkv_bench.analysis.bounds import Bounds, most_running, reached
from swiftkv_bench.analysis.estimates import Cell, point_arm
from swiftkv_bench.analysis.limits import rate_limits
from swiftkv_bench.analysis.values import Gain, Overall, PerfAnalysis, PointArm, PointResult
from swiftkv_bench.checks import Finding, check_samples, check_self_test, check_spread, sentence
from swiftkv_bench.checks.traffic import left_to_the_server
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.judgement import Judgement
from swiftkv_bench.judge.points import PointPair, over_points, point_pair
from swiftkv_bench.metrics import METRICS, Metric
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import PROCESSES, UNPACED, PerfPlan, Point
from swiftkv_bench.stats.trials import LogRatio


def analyse_perf(run: Evidence, plan: PerfPlan, judgement: Judgement | None) -> tuple[PerfAnalysis, list[Finding]]:
    """All points of a run, and what stands against their figures."""
    tested = check_self_test(run.manifest.self_test, run.manifest.self_test_failure)
    findings: list[Finding] = [] if tested is None else [tested]
    cells: dict[tuple[str, Arm], Cell] = {}
    for trial in run.trials:
        cells.setdefault((trial.trial.point.point_id, trial.trial.arm), Cell()).trials.append(trial)
    points = {trial.point.point_id: trial.point for trial in sorted(plan.trials, key=lambda t: _place(t.point))}
    bounds = Bounds.of(run.manifest)
    results, compared = [], []
    for point_id, point in points.items():
        measured = {arm: cells[point_id, arm] for arm in _arms(plan) if (point_id, arm) in cells}
        if measured:
            _keep_valid(list(measured.values()))
            arms = {arm: point_arm(arm, cell, run.objective) for arm, cell in measured.items()}
            pair = _pair(point, cells, "baseline", "swiftkv")
            compared += [] if pair is None else [pair]
            results.append(_point_result(point, arms, cells, pair, bounds))
            unequal = None if pair is None else pair.unequal(METRICS["total_throughput"])
            findings += _point_findings(point, arms, unequal)
    analysis = PerfAnalysis(
        run_id=run.manifest.run_id,
        suite=plan.suite,
        seed=plan.seed,
        planned_trials=len(plan.trials),
        points=tuple(results),
        overall=_overall(compared),
        objective=run.objective,
        limits=rate_limits(results, run.objective),
        stop_within=plan.stop_within,
        verdict=None if judgement is None else judgement.verdicts.performance,
    )
    return analysis, findings


def _place(point: Point) -> tuple[bool, float, float, float]:
    """Order of display: what has no rate, by input length and concurrency; then rates, by input length."""
    a = point.arrivals
    return a.process not in UNPACED, point.input_len.mean, point.output_len.mean, a.rate or a.concurrency or math.inf


def _keep_valid(cells: Sequence[Cell]) -> None:
    """Keeps the repeats whose trials are valid on every arm, so that figures of arms are of the same load."""
    valid = [{t.trial.repeat for t in cell.trials if t.valid} for cell in cells]
    for cell in cells:
        cell.kept = frozenset(set.intersection(*valid))


def _arms(plan: PerfPlan) -> list[Arm]:
    order: tuple[Arm, ...] = ("baseline", "swiftkv-full", "swiftkv")
    present = {trial.arm for trial in plan.trials}
    return [arm for arm in order if arm in present]


def _pair(point: Point, cells: Mapping[tuple[str, Arm], Cell], one: Arm, other: Arm) -> PointPair | None:
    """The valid trials of two arms; None where an arm was not measured."""
    sides = [cells.get((point.point_id, arm)) for arm in (one, other)]
    if sides[0] is None or sides[1] is None:
        return None
    return point_pair(point, sides[0].trials, sides[1].trials)


def _point_result(
    point: Point, arms: dict[Arm, PointArm], cells: Mapping[tuple[str, Arm], Cell], pair: PointPair | None,
    bounds: Bounds,
) -> PointResult:  # fmt: skip
    base = cells.get((point.point_id, "baseline"))
    running = None
    if base is not None:
        running = most_running([t.detail.telemetry for t in base.used if t.detail is not None])
    bound, gains = bounds.at(point, arms.get("baseline"), running), _gains(pair)
    # Under paced load a shorter prompt also spares others a wait, so the gain has no such bound.
    share = reached(gains, bound) if point.arrivals.process in UNPACED else {}
    noise = _gains(_pair(point, cells, "baseline", "baseline-repeat"))
    return PointResult(point, arms, gains, _withheld(pair, arms), bound, share, noise)


def _gains(pair: PointPair | None) -> dict[str, Gain]:
    """Metric key -> gain of the candidate, where the metric can be compared; throughputs at a set rate too, which say
    how much was delivered."""
    out = {}
    for key, metric in METRICS.items():
        if pair is None or metric.better is None or pair.unequal(metric) is not None:
            continue
        if metric.stands == "below saturation" and not pair.stands(metric):
            continue
        ratio = pair.ratio(metric) if pair.compares(metric) else None
        if ratio is not None:
            better = _better(ratio, metric)
            by_repeat = {i: math.exp(x) for i, x in (pair.moved(metric) or {}).items()} if pair.paired else {}
            turned = {i: 1 / x if metric.better == "lower" else x for i, x in by_repeat.items()}
            out[key] = Gain(better.ratio, better.interval(), better.n, better.p_equal, better.method, turned)
    return out


def _better(ratio: LogRatio, metric: Metric) -> LogRatio:
    """How many times better: the ratio itself, or its inverse where lower is better."""
    return replace(ratio, value=-ratio.value) if metric.better == "lower" else ratio


def _withheld(pair: PointPair | None, arms: Mapping[Arm, PointArm]) -> str | None:
    if pair is None:
        return "one arm was not measured"
    if not pair.reference.keys() & pair.candidate.keys():
        return "no repeat is valid on every arm"
    if pair.saturated[0]:
        return "past saturation on baseline: latencies grow with the length of the run"
    return pair.unequal(METRICS["total_throughput"])


def _point_findings(point: Point, arms: Mapping[Arm, PointArm], unequal: str | None) -> list[Finding]:
    found: list[Finding | None] = [check_samples(min(a.ok for a in arms.values()), point.point_id)]
    found += left_to_the_server(point)
    if unequal is not None:
        step = "Make both engines answer alike: the same max_tokens, ignore_eos and prompts."
        found.append(
            Finding(
                "unequal-lengths", "warning", sentence(unequal[0].upper() + unequal[1:]), step, point=point.point_id
            )
        )
    random = PROCESSES[point.arrivals.process].random
    # Below capacity the throughput of random arrivals is what they happened to bring.
    keys = ("ttft_mean_s",) if random else ("ttft_mean_s", "output_throughput")
    for arm, measured in arms.items():
        for key in keys:
            trials = measured.estimates[key].trials if key in measured.estimates else ()
            values = [t for t in trials if t is not None]
            found.append(check_spread(METRICS[key].title, values, point.point_id, arm, own_arrivals=random))
    return [f for f in found if f is not None]


def _overall(points: Sequence[PointPair]) -> dict[str, Overall]:
    """Gains over the points where a metric stands, by the estimator that a comparison judges."""
    out = {}
    for key, metric in METRICS.items():
        if metric.better is None:
            continue
        here = [p for p in points if p.stands(metric) and p.unequal(metric) is None and p.compares(metric)]
        found = over_points(here, metric)
        if found is not None:
            gains = [_better(r, metric) for p in here if (r := p.ratio(metric)) is not None]
            values, repeats = [g.ratio for g in gains], [g.n for g in gains]
            better = _better(found, metric)
            spread = (min(repeats), max(repeats))
            out[key] = Overall(better.ratio, min(values), max(values), len(here), better.interval(), spread)
    return out
