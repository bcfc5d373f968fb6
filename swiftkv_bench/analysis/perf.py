"""From recorded trials to load points: figures with intervals over trials, gains of paired trials, bounds."""

import math
from collections.abc import Iterable, Mapping, Sequence

from swiftkv_bench.analysis.bounds import Bounds, most_running, reached
from swiftkv_bench.analysis.cells import Cell, reduce_trial
from swiftkv_bench.analysis.estimates import point_arm
from swiftkv_bench.analysis.limits import rate_limits
from swiftkv_bench.analysis.values import METRICS, Gain, Overall, PerfAnalysis, PointArm, PointResult
from swiftkv_bench.checks import Finding, check_samples, check_self_test, check_spread, sentence
from swiftkv_bench.metrics import Objective, unequal_lengths
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.schema.perf import PROCESSES, UNPACED, PerfPlan, Point, RequestTable, TrialRecord
from swiftkv_bench.stats.grids import grid_log_ratio
from swiftkv_bench.stats.trials import paired_log_ratio


def analyse_perf(
    manifest: Manifest,
    plan: PerfPlan,
    trials: Iterable[tuple[TrialRecord, RequestTable]],
    objective: Objective | None = None,
) -> tuple[PerfAnalysis, list[Finding]]:
    """All points of a run, one trial in memory at a time, and what stands against their figures."""
    cells: dict[tuple[str, Arm], Cell] = {}
    tested = check_self_test(manifest.self_test, manifest.self_test_failure)
    findings: list[Finding] = [] if tested is None else [tested]
    for record, table in trials:
        cell = cells.setdefault((record.trial.point.point_id, record.trial.arm), Cell())
        kept, found = reduce_trial(record, table, objective)
        cell.trials += [kept] if kept is not None else []
        findings += found
    points = {trial.point.point_id: trial.point for trial in sorted(plan.trials, key=lambda t: _place(t.point))}
    bounds = Bounds.of(manifest)
    results = []
    for point_id, point in points.items():
        measured = {arm: cells[point_id, arm] for arm in _arms(plan) if (point_id, arm) in cells}
        if measured:
            _keep_valid(list(measured.values()))
            arms = {arm: point_arm(arm, cell, objective) for arm, cell in measured.items()}
            results.append(_point_result(point, arms, cells, bounds))
            unequal = _unequal(measured.get("baseline"), measured.get("swiftkv"))
            findings += _point_findings(point, arms, unequal)
    analysis = PerfAnalysis(
        run_id=manifest.run_id,
        suite=plan.suite,
        seed=plan.seed,
        planned_trials=len(plan.trials),
        points=tuple(results),
        overall=_overall(results),
        objective=objective,
        limits=rate_limits(results, objective),
        stop_within=plan.stop_within,
    )
    return analysis, findings


def _place(point: Point) -> tuple[bool, float, float, float]:
    """Order of display: what has no rate, by input length and concurrency; then rates, by input length."""
    a = point.arrivals
    return a.process not in UNPACED, point.input_len.mean, point.output_len.mean, a.rate or a.concurrency or math.inf


def _keep_valid(cells: Sequence[Cell]) -> None:
    """Keeps the repeats whose trials are valid on every arm, so that arms are compared on the same load."""
    valid = [{t.repeat for t in cell.trials if t.check.valid} for cell in cells]
    for cell in cells:
        cell.kept = frozenset(set.intersection(*valid))


def _arms(plan: PerfPlan) -> list[Arm]:
    order: tuple[Arm, ...] = ("baseline", "swiftkv-full", "swiftkv")
    present = {trial.arm for trial in plan.trials}
    return [arm for arm in order if arm in present]


def _point_result(
    point: Point, arms: dict[Arm, PointArm], cells: Mapping[tuple[str, Arm], Cell], bounds: Bounds
) -> PointResult:
    unequal = _unequal(cells.get((point.point_id, "baseline")), cells.get((point.point_id, "swiftkv")))
    withheld = _withheld(arms) or unequal
    gains: dict[str, Gain] = {}
    if "baseline" in arms and "swiftkv" in arms and all(arms[a].valid for a in ("baseline", "swiftkv")):
        gains = _gains(cells[point.point_id, "baseline"], cells[point.point_id, "swiftkv"])
    base = cells.get((point.point_id, "baseline"))
    running = None if base is None else most_running([t.telemetry for t in base.used])
    bound = bounds.at(point, arms.get("baseline"), running)
    # Under paced load a shorter prompt also spares others a wait, so the gain has no such bound.
    share = reached(gains, bound) if point.arrivals.process in UNPACED else {}
    again = cells.get((point.point_id, "baseline-repeat"))
    noise = {} if base is None or again is None else _gains(_valid(base), _valid(again))
    return PointResult(point, arms, gains, withheld, bound, share, noise)


def _valid(cell: Cell) -> Cell:
    """The cell's valid trials, whatever those of other arms are."""
    return Cell([t for t in cell.trials if t.check.valid])


def _gains(reference: Cell, candidate: Cell) -> dict[str, Gain]:
    """Metric key -> gain of the candidate. Latencies of saturated cells have none, nor has what depends on lengths
    where these are unequal."""
    saturated, unequal = (
        reference.saturated or candidate.saturated,
        unequal_lengths(reference.lengths, candidate.lengths),
    )
    found = {
        key: _gain(key, reference, candidate)
        for key, metric in METRICS.items()
        if key != "achieved_rate"
        and not (saturated and metric.latency is not None)
        and not (unequal is not None and metric.by_length)
    }
    return {key: gain for key, gain in found.items() if gain is not None}


def _unequal(reference: Cell | None, candidate: Cell | None) -> str | None:
    """Why what depends on lengths is not compared; None when it is."""
    found = None if reference is None or candidate is None else unequal_lengths(reference.lengths, candidate.lengths)
    return None if found is None else f"{found}: throughput, E2E latency and energy are not compared"


def _withheld(arms: Mapping[Arm, PointArm]) -> str | None:
    if "baseline" not in arms or "swiftkv" not in arms:
        return "one arm was not measured"
    if not arms["baseline"].valid:
        return "no repeat is valid on every arm"
    saturated = [a for a in ("baseline", "swiftkv") if arms[a].saturated]
    if saturated:
        return f"past saturation on {' and '.join(saturated)}: latencies grow with the length of the run"
    return None


def _gain(key: str, reference: Cell, candidate: Cell) -> Gain | None:
    """Of the used trials whose repeat both arms completed; they share seed, schedule and prompts."""
    ours = {t.repeat: t.figures for t in candidate.used}
    theirs = {t.repeat: t.figures for t in reference.used}
    repeats = [i for i in theirs if i in ours and key in ours[i] and key in theirs[i]]
    c, r = [ours[i][key] for i in repeats], [theirs[i][key] for i in repeats]
    if METRICS[key].better == "lower":
        c, r = r, c
    found = paired_log_ratio(c, r)
    if found is None:
        return None
    by_repeat = {i: a / b for i, a, b in zip(repeats, c, r, strict=True)}
    return Gain(found.ratio, found.interval(), found.n, found.p_equal, found.method, by_repeat)


def _point_findings(point: Point, arms: Mapping[Arm, PointArm], unequal: str | None) -> list[Finding]:
    found: list[Finding | None] = [check_samples(min(a.ok for a in arms.values()), point.point_id)]
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


def _overall(points: Sequence[PointResult]) -> dict[str, Overall]:
    out = {}
    for key, metric in METRICS.items():
        gains = [
            p.gains[key]
            for p in points
            if key in p.gains and (metric.latency is not None or p.point.arrivals.process in UNPACED)
        ]
        found = grid_log_ratio([{i: math.log(x) for i, x in gain.by_repeat.items()} for gain in gains])
        if found is not None:
            values, repeats = [gain.value for gain in gains], [gain.pairs for gain in gains]
            ends = (min(values), max(values)), (min(repeats), max(repeats))
            out[key] = Overall(found.ratio, *ends[0], len(gains), found.interval(), ends[1])
    return out
