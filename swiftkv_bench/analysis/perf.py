"""From recorded trials to load points: figures with intervals over trials, gains of paired trials, bounds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from swiftkv_bench.analysis.bounds import Bounds, most_running, reached
from swiftkv_bench.analysis.limits import rate_limits
from swiftkv_bench.analysis.machine import machine_use
from swiftkv_bench.analysis.values import (
    METRICS,
    Breakdown,
    Estimate,
    Gain,
    Metric,
    Overall,
    PerfAnalysis,
    PointArm,
    PointResult,
    Sample,
)
from swiftkv_bench.checks import Finding, TrialCheck, check_samples, check_self_test, check_spread, check_trial
from swiftkv_bench.metrics import (
    GapHistogram,
    Objective,
    ServerMetrics,
    TrialMetrics,
    distribution,
    server_metrics,
    trial_metrics,
)
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.schema.perf import UNPACED, Float, PerfPlan, Point, RequestStatus, RequestTable, TrialRecord
from swiftkv_bench.schema.telemetry import Telemetry
from swiftkv_bench.stats.intervals import mean_interval, quantile_interval, share_interval
from swiftkv_bench.stats.ratios import Ratio, geometric_mean, paired_ratio
from swiftkv_bench.sweep import Outcome

SAMPLE = 2_000
"""Requests an arm and point kept for a scatter."""

_POOLED = ("ttft_s", "tpot_s", "e2e_latency_s", "ttft_from_schedule_s")


@dataclass(frozen=True)
class _Counts:
    """Requests of one trial."""

    requests: int
    ok: int
    good: int | None
    failures: dict[RequestStatus, int]


@dataclass(frozen=True)
class _Trial:
    """What is kept of one complete trial; its raw table is let go."""

    repeat: int
    check: TrialCheck
    figures: dict[str, float]
    latencies: dict[str, Float]
    itl: GapHistogram
    itl_per_token: GapHistogram
    server: ServerMetrics
    telemetry: Telemetry | None
    sample: Sample
    counts: _Counts


@dataclass
class _Cell:
    """The trials of one arm at one point. Figures come from the `kept` repeats; from all when that is empty."""

    trials: list[_Trial] = field(default_factory=list)
    kept: frozenset[int] = frozenset()

    @property
    def used(self) -> list[_Trial]:
        """The trials that figures come from."""
        return [t for t in self.trials if t.repeat in self.kept] or self.trials

    @property
    def ok(self) -> int:
        """Finished requests of the used trials."""
        return sum(t.counts.ok for t in self.used)

    def values(self, metric: Metric) -> Float | None:
        """The metric's latency of every finished request; None where only a histogram was kept."""
        arrays = [t.latencies[metric.latency] for t in self.used if metric.latency in t.latencies]
        return np.concatenate(arrays) if arrays else None

    def gaps(self, metric: Metric) -> GapHistogram:
        """Gaps of all used trials together."""
        merged = GapHistogram()
        for t in self.used:
            merged.merge(t.itl if metric.latency == "itl_s" else t.itl_per_token)
        return merged


def analyse_perf(
    manifest: Manifest,
    plan: PerfPlan,
    trials: Iterable[tuple[TrialRecord, RequestTable]],
    objective: Objective | None = None,
) -> tuple[PerfAnalysis, list[Finding]]:
    """All points of a run, one trial in memory at a time, and what stands against their figures."""
    cells: dict[tuple[str, Arm], _Cell] = {}
    tested = check_self_test(manifest.self_test)
    findings: list[Finding] = [] if tested is None else [tested]
    for record, table in trials:
        cell = cells.setdefault((record.trial.point.point_id, record.trial.arm), _Cell())
        kept, found = _taken(record, table, objective)
        cell.trials += [kept] if kept is not None else []
        findings += found
    points = {trial.point.point_id: trial.point for trial in sorted(plan.trials, key=lambda t: _place(t.point))}
    bounds = Bounds.of(manifest)
    results = []
    for point_id, point in points.items():
        measured = {arm: cells[point_id, arm] for arm in _arms(plan) if (point_id, arm) in cells}
        if measured:
            _keep_valid(list(measured.values()))
            arms = {arm: _point_arm(arm, cell, objective) for arm, cell in measured.items()}
            results.append(_point_result(point, arms, cells, bounds))
            findings += _point_findings(point_id, arms)
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


def _keep_valid(cells: Sequence[_Cell]) -> None:
    """Keeps the repeats whose trials are valid on every arm, so that arms are compared on the same load."""
    valid = [{t.repeat for t in cell.trials if t.check.valid} for cell in cells]
    for cell in cells:
        cell.kept = frozenset(set.intersection(*valid))


def _arms(plan: PerfPlan) -> list[Arm]:
    order: tuple[Arm, ...] = ("baseline", "swiftkv-full", "swiftkv")
    present = {trial.arm for trial in plan.trials}
    return [arm for arm in order if arm in present]


def _taken(
    record: TrialRecord, table: RequestTable, objective: Objective | None
) -> tuple[_Trial | None, Sequence[Finding]]:
    """A trial's figures and findings; a trial that did not complete leaves only its findings."""
    m = trial_metrics(table, record.trial.point.arrivals, record.window_s, objective)
    server = server_metrics(record.server_before, record.server_after)
    check = check_trial(record, table, m, server)
    if record.status != "complete":
        return None, check.findings
    latencies = {name: values[~np.isnan(values)] for name in _POOLED for values in [getattr(m.per_request, name)]}
    figures, joules = trial_figures(m), _joule_per_token(record, m, server)
    trial = _Trial(
        repeat=record.trial.repeat,
        check=check,
        figures=figures if joules is None else figures | {"joule_per_token": joules},
        latencies=latencies,
        itl=m.gaps.chunks,
        itl_per_token=m.gaps.tokens,
        server=server,
        telemetry=record.telemetry,
        sample=_sample(table, m, record.trial.repeat),
        counts=_Counts(m.requests, m.ok, m.good, m.failures),
    )
    return trial, check.findings


def outcome(record: TrialRecord, table: RequestTable, objective: Objective | None = None) -> Outcome:
    """What a sweep needs to know of one trial."""
    trial, _ = _taken(record, table, objective)
    if trial is None or not trial.check.valid:
        return Outcome({})
    good = trial.counts.good
    return Outcome(trial.figures, None if good is None else good / trial.counts.requests)


def trial_figures(m: TrialMetrics) -> dict[str, float]:
    """Metric key -> figure of one trial, where its requests have one."""
    out: dict[str, float | None] = {}
    for key, metric in METRICS.items():
        if metric.latency is None:
            out[key] = getattr(m, key, None)
        else:
            found = m.latencies[metric.latency]
            out[key] = found.mean if metric.quantile is None else found.quantile(metric.quantile)
    return {key: value for key, value in out.items() if value is not None}


def _joule_per_token(record: TrialRecord, m: TrialMetrics, server: ServerMetrics) -> float | None:
    """Energy / tokens of prompt and output over the same time: as the server counts, since load beyond the measured
    requests costs energy too; without its counters those of finished requests."""
    joules = None if record.telemetry is None else record.telemetry.energy_j
    if server.prompt_tokens is not None and server.output_tokens is not None:
        tokens = server.prompt_tokens + server.output_tokens
    else:
        tokens = 0 if m.output_tokens is None else m.prompt_tokens + m.output_tokens
    return joules / tokens if joules is not None and tokens else None


def _sample(table: RequestTable, m: TrialMetrics, repeat: int) -> Sample:
    rows = np.flatnonzero(~np.isnan(m.per_request.ttft_s))
    if len(rows) > SAMPLE:
        rows = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(int)]
    r = m.per_request
    columns = (table.scheduled_s[rows], r.prompt_tokens[rows], r.ttft_s[rows], r.tpot_s[rows])
    return Sample(*columns, np.full(len(rows), float(repeat)), m.ok)


def _point_arm(arm: Arm, cell: _Cell, objective: Objective | None) -> PointArm:
    used = cell.used
    requests = sum(t.counts.requests for t in used)
    failures: dict[RequestStatus, int] = {}
    for t in used:
        for status, n in t.counts.failures.items():
            failures[status] = failures.get(status, 0) + n
    good = [t.counts.good for t in used if t.counts.good is not None]
    wilson = share_interval(sum(good), requests) if objective is not None else None
    estimates = {key: found for key in METRICS if (found := _estimate(key, cell)) is not None}
    return PointArm(
        arm=arm,
        valid=bool(cell.kept),
        saturated=2 * sum(t.check.saturated for t in used) >= max(1, len(used)),
        trials=len(used),
        trials_left_out=len(cell.trials) - len(used),
        requests=requests,
        ok=cell.ok,
        failures=failures,
        estimates=estimates,
        goodput_share=None if wilson is None else (sum(good) / requests, wilson),
        breakdown=_breakdown(used, estimates),
        sample=_thinned(used),
        machine=machine_use([t.telemetry for t in used], [t.server for t in used]),
    )


def _estimate(key: str, cell: _Cell) -> Estimate | None:
    trials = tuple(t.figures.get(key) for t in cell.used)
    known = [value for value in trials if value is not None]
    if known and len(known) == len(trials):
        found = _over_trials(known, cell.ok)
        return found if len(known) > 1 else _one_trial(METRICS[key], cell, found)
    return _pooled(METRICS[key], cell, trials)


def _over_trials(values: Sequence[float], requests: int) -> Estimate:
    """Mean of the trials' figures, with a t interval over trials; no figure can be below 0, so its ends are not."""
    interval = mean_interval(values)
    if interval is not None and interval.low < 0 <= min(values):
        interval = replace(interval, low=0.0)
    method = f"mean of {len(values)} trials, t interval" if interval is not None else "one trial: no interval"
    return Estimate(float(np.mean(values)), interval, tuple(values), requests, method)


def _one_trial(metric: Metric, cell: _Cell, found: Estimate) -> Estimate:
    """A percentile of a single trial keeps its value; its interval is that of order statistics."""
    values = cell.values(metric)
    interval = None if values is None or metric.quantile is None else quantile_interval(values, metric.quantile)
    if interval is None:
        return found
    return Estimate(found.value, interval, found.trials, found.requests, "one trial, requests taken as independent")


def _pooled(metric: Metric, cell: _Cell, trials: tuple[float | None, ...]) -> Estimate | None:
    """A percentile that no single trial supports, over the requests of all trials."""
    if metric.quantile is None:
        return None
    values, interval = cell.values(metric), None
    if values is not None:
        value = distribution(values).quantile(metric.quantile)
        interval = quantile_interval(values, metric.quantile)
    else:
        value = cell.gaps(metric).distribution(cell.ok).quantile(metric.quantile)
    if value is None:
        return None
    method = f"requests of {len(trials)} trials pooled" + (", taken as independent" if interval is not None else "")
    return Estimate(value, interval, trials, cell.ok, method)


def _breakdown(trials: Sequence[_Trial], estimates: Mapping[str, Estimate]) -> Breakdown | None:
    ttft = estimates.get("ttft_mean_s")
    servers = [t.server for t in trials]
    split = [(s.queue_s, s.prefill_s) for s in servers if s.queue_s is not None and s.prefill_s is not None]
    if ttft is None or not split or len(split) != len(servers):
        return None
    queue_s, prefill_s = (float(np.mean(part)) for part in zip(*split, strict=True))
    return Breakdown(ttft.value, queue_s, prefill_s, ttft.value - queue_s - prefill_s)


def _thinned(trials: Sequence[_Trial]) -> Sample:
    names = ("scheduled_s", "prompt_tokens", "ttft_s", "tpot_s", "repeat")
    columns = [np.concatenate([getattr(t.sample, name) for t in trials] or [np.zeros(0)]) for name in names]
    if len(columns[0]) > SAMPLE:
        keep = np.linspace(0, len(columns[0]) - 1, SAMPLE).astype(int)
        columns = [column[keep] for column in columns]
    return Sample(*columns, sum(t.sample.of for t in trials))  # type: ignore[call-arg]


def _point_result(
    point: Point, arms: dict[Arm, PointArm], cells: Mapping[tuple[str, Arm], _Cell], bounds: Bounds
) -> PointResult:
    withheld = _withheld(arms)
    gains: dict[str, Gain] = {}
    if "baseline" in arms and "swiftkv" in arms and all(arms[a].valid for a in ("baseline", "swiftkv")):
        pid = point.point_id
        found = {key: _gain(key, cells[pid, "baseline"], cells[pid, "swiftkv"]) for key in METRICS}
        saturated = arms["baseline"].saturated or arms["swiftkv"].saturated
        gains = {
            key: gain
            for key, gain in found.items()
            if gain is not None and key != "achieved_rate" and not (saturated and METRICS[key].latency is not None)
        }
    base = cells.get((point.point_id, "baseline"))
    running = None if base is None else most_running([t.telemetry for t in base.used])
    bound = bounds.at(point, arms.get("baseline"), running)
    # Under paced load a shorter prompt also spares others a wait, so the gain has no such bound.
    share = reached(gains, bound) if point.arrivals.process in UNPACED else {}
    return PointResult(point, arms, gains, withheld, bound, share)


def _withheld(arms: Mapping[Arm, PointArm]) -> str | None:
    if "baseline" not in arms or "swiftkv" not in arms:
        return "one arm was not measured"
    if not arms["baseline"].valid:
        return "no repeat is valid on every arm"
    saturated = [a for a in ("baseline", "swiftkv") if arms[a].saturated]
    if saturated:
        return f"past saturation on {' and '.join(saturated)}: latencies grow with the length of the run"
    return None


def _gain(key: str, reference: _Cell, candidate: _Cell) -> Gain | None:
    """Of the used trials whose repeat both arms completed; they share seed, schedule and prompts."""
    ours = {t.repeat: t.figures for t in candidate.used}
    theirs = {t.repeat: t.figures for t in reference.used}
    repeats = [i for i in theirs if i in ours and key in ours[i] and key in theirs[i]]
    c, r = [ours[i][key] for i in repeats], [theirs[i][key] for i in repeats]
    if METRICS[key].better == "lower":
        c, r = r, c
    found: Ratio | None = paired_ratio(c, r)
    if found is None:
        return None
    by_repeat = {i: a / b for i, a, b in zip(repeats, c, r, strict=True)}
    return Gain(found.value, found.interval, found.n, found.p, found.method, by_repeat)


def _point_findings(point_id: str, arms: Mapping[Arm, PointArm]) -> list[Finding]:
    found: list[Finding | None] = [check_samples(min(a.ok for a in arms.values()), point_id)]
    for arm, measured in arms.items():
        for key in ("ttft_mean_s", "output_throughput"):
            trials = measured.estimates[key].trials if key in measured.estimates else ()
            found.append(check_spread(METRICS[key].title, [t for t in trials if t is not None], point_id, arm))
    return [f for f in found if f is not None]


def _overall(points: Sequence[PointResult]) -> dict[str, Overall]:
    out = {}
    for key, metric in METRICS.items():
        gains = [
            p.gains[key]
            for p in points
            if key in p.gains and (metric.latency is not None or p.point.arrivals.process in UNPACED)
        ]
        values = [gain.value for gain in gains]
        mean = geometric_mean(values)
        if mean is None:
            continue
        shared = set.intersection(*(set(gain.by_repeat) for gain in gains))
        each = [geometric_mean([gain.by_repeat[i] for gain in gains]) or 1.0 for i in sorted(shared)]
        found = paired_ratio(each, [1.0] * len(each))
        interval = None if found is None else found.interval
        out[key] = Overall(mean, min(values), max(values), len(values), interval, len(each))
    return out
