"""From recorded trials to load points: figures with intervals over trials, gains of paired trials, bounds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from swiftkv_bench import roofline
from swiftkv_bench.analysis.values import (
    METRICS,
    Bound,
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
from swiftkv_bench.checks import Finding, TrialCheck, check_samples, check_spread, check_trial
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
from swiftkv_bench.schema.perf import Float, PerfPlan, Point, RequestStatus, RequestTable, TrialRecord
from swiftkv_bench.stats.intervals import mean_interval, quantile_interval, share_interval
from swiftkv_bench.stats.ratios import Ratio, geometric_mean, paired_ratio

SAMPLE = 2_000
"""Requests an arm and point kept for a scatter."""

_UNPACED = ("all-at-once", "closed-loop")
_POOLED = ("ttft_s", "tpot_s", "e2e_latency_s", "ttft_from_schedule_s")


@dataclass
class _Cell:
    """What is kept of the trials of one arm at one point; raw tables are let go."""

    repeats: list[int] = field(default_factory=list)
    figures: list[dict[str, float]] = field(default_factory=list)
    checks: list[TrialCheck] = field(default_factory=list)
    pooled: dict[str, list[Float]] = field(default_factory=lambda: {name: [] for name in _POOLED})
    itl: GapHistogram = field(default_factory=GapHistogram)
    itl_per_token: GapHistogram | None = field(default_factory=GapHistogram)
    servers: list[ServerMetrics] = field(default_factory=list)
    joules: list[float | None] = field(default_factory=list)
    samples: list[tuple[Float, Float, Float, Float, int]] = field(default_factory=list)
    requests: int = 0
    ok: int = 0
    good: int = 0
    failures: dict[RequestStatus, int] = field(default_factory=dict)

    def values(self, metric: Metric) -> Float | None:
        """The metric's latency of every finished request; None where only a histogram was kept."""
        arrays = self.pooled.get(metric.latency or "")
        return np.concatenate(arrays) if arrays else None


def analyse_perf(
    manifest: Manifest,
    plan: PerfPlan,
    trials: Iterable[tuple[TrialRecord, RequestTable]],
    objective: Objective | None = None,
) -> tuple[PerfAnalysis, list[Finding]]:
    """All points of a run, one trial in memory at a time, and what stands against their figures."""
    cells: dict[tuple[str, Arm], _Cell] = {}
    findings: list[Finding] = []
    for record, table in trials:
        cell = cells.setdefault((record.trial.point.point_id, record.trial.arm), _Cell())
        findings += _take(cell, record, table, objective)
    points: dict[str, Point] = {}
    for trial in plan.trials:
        points.setdefault(trial.point.point_id, trial.point)
    bounds = _Bounds.of(manifest)
    results = []
    for point_id, point in points.items():
        arms = {
            arm: _point_arm(arm, cells[point_id, arm], objective) for arm in _arms(plan) if (point_id, arm) in cells
        }
        if arms:
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
    )
    return analysis, findings


def _arms(plan: PerfPlan) -> list[Arm]:
    order: tuple[Arm, ...] = ("baseline", "swiftkv-full", "swiftkv")
    present = {trial.arm for trial in plan.trials}
    return [arm for arm in order if arm in present]


def _take(cell: _Cell, record: TrialRecord, table: RequestTable, objective: Objective | None) -> Sequence[Finding]:
    """Adds a trial to its cell; a trial that did not complete leaves only its findings."""
    m = trial_metrics(table, record.trial.point.arrivals, record.window_s, objective)
    server = server_metrics(record.server_before, record.server_after)
    check = check_trial(record, table, m, server)
    cell.checks.append(check)
    if record.status != "complete":
        return check.findings
    cell.repeats.append(record.trial.repeat)
    cell.figures.append(_figures(m))
    for name in _POOLED:
        values = getattr(m.per_request, name)
        cell.pooled[name].append(values[~np.isnan(values)])
    cell.itl.merge(m.gaps.chunks)
    if cell.itl_per_token is not None:
        if m.gaps.tokens.n == 0 and m.gaps.chunks.n:
            cell.itl_per_token = None
        else:
            cell.itl_per_token.merge(m.gaps.tokens)
    cell.servers.append(server)
    cell.joules.append(_joule_per_token(record, m))
    cell.samples.append(_sample(table, m, record.trial.repeat))
    cell.requests += m.requests
    cell.ok += m.ok
    cell.good += m.good or 0
    for status, n in m.failures.items():
        cell.failures[status] = cell.failures.get(status, 0) + n
    return check.findings


def _figures(m: TrialMetrics) -> dict[str, float]:
    """Metric key -> figure of one trial, where it has one."""
    out: dict[str, float | None] = {}
    for key, metric in METRICS.items():
        if metric.latency is None:
            out[key] = getattr(m, key)
        else:
            found = m.latencies[metric.latency]
            out[key] = found.mean if metric.quantile is None else found.quantile(metric.quantile)
    return {key: value for key, value in out.items() if value is not None}


def _joule_per_token(record: TrialRecord, m: TrialMetrics) -> float | None:
    joules = record.telemetry.get("energy_j")
    if not isinstance(joules, int | float) or m.output_tokens is None:
        return None
    tokens = m.prompt_tokens + m.output_tokens
    return joules / tokens if tokens else None


def _sample(table: RequestTable, m: TrialMetrics, repeat: int) -> tuple[Float, Float, Float, Float, int]:
    rows = np.flatnonzero(~np.isnan(m.per_request.ttft_s))
    if len(rows) > SAMPLE:
        rows = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(int)]
    r = m.per_request
    return table.scheduled_s[rows], r.prompt_tokens[rows], r.ttft_s[rows], r.tpot_s[rows], repeat


def _point_arm(arm: Arm, cell: _Cell, objective: Objective | None) -> PointArm:
    estimates = {key: found for key in METRICS if (found := _estimate(key, cell)) is not None}
    share = None
    if objective is not None and cell.requests:
        wilson = share_interval(cell.good, cell.requests)
        share = None if wilson is None else (cell.good / cell.requests, wilson)
    joules = [j for j in cell.joules if j is not None]
    return PointArm(
        arm=arm,
        valid=all(check.valid for check in cell.checks) and bool(cell.figures),
        saturated=2 * sum(check.saturated for check in cell.checks) >= max(1, len(cell.checks)),
        trials=len(cell.figures),
        requests=cell.requests,
        ok=cell.ok,
        failures=cell.failures,
        estimates=estimates,
        goodput_share=share,
        breakdown=_breakdown(cell, estimates),
        joule_per_token=_over_trials(joules, cell.ok) if joules and len(joules) == len(cell.joules) else None,
        sample=_thinned(cell),
    )


def _estimate(key: str, cell: _Cell) -> Estimate | None:
    trials = tuple(figures.get(key) for figures in cell.figures)
    known = [value for value in trials if value is not None]
    if known and len(known) == len(trials):
        found = _over_trials(known, cell.ok)
        return found if len(known) > 1 else _one_trial(METRICS[key], cell, found)
    return _pooled(METRICS[key], cell, trials)


def _over_trials(values: Sequence[float], requests: int) -> Estimate:
    """Mean of the trials' figures, with a t interval over trials."""
    interval = mean_interval(values)
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
        gaps = cell.itl if metric.latency == "itl_s" else cell.itl_per_token
        value = None if gaps is None else gaps.distribution(cell.ok).quantile(metric.quantile)
    if value is None:
        return None
    method = f"requests of {len(trials)} trials pooled" + (", taken as independent" if interval is not None else "")
    return Estimate(value, interval, trials, cell.ok, method)


def _breakdown(cell: _Cell, estimates: Mapping[str, Estimate]) -> Breakdown | None:
    ttft = estimates.get("ttft_mean_s")
    split = [(s.queue_s, s.prefill_s) for s in cell.servers if s.queue_s is not None and s.prefill_s is not None]
    if ttft is None or not split or len(split) != len(cell.servers):
        return None
    queue_s, prefill_s = (float(np.mean(part)) for part in zip(*split, strict=True))
    return Breakdown(ttft.value, queue_s, prefill_s, ttft.value - queue_s - prefill_s)


def _thinned(cell: _Cell) -> Sample:
    if not cell.samples:
        empty = np.zeros(0)
        return Sample(empty, empty, empty, empty, empty, 0)
    columns = [np.concatenate([s[i] for s in cell.samples]) for i in range(4)]
    repeat = np.concatenate([np.full(len(s[0]), float(s[4])) for s in cell.samples])
    keep = np.arange(len(repeat))
    if len(keep) > SAMPLE:
        keep = np.linspace(0, len(keep) - 1, SAMPLE).astype(int)
    scheduled_s, prompt_tokens, ttft_s, tpot_s = (column[keep] for column in columns)
    return Sample(scheduled_s, prompt_tokens, ttft_s, tpot_s, repeat[keep], cell.ok)


def _point_result(
    point: Point, arms: dict[Arm, PointArm], cells: Mapping[tuple[str, Arm], _Cell], bounds: "_Bounds"
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
            if gain is not None and key != "achieved_rate" and not (saturated and METRICS[key].better == "lower")
        }
    return PointResult(point, arms, gains, withheld, bounds.at(point))


def _withheld(arms: Mapping[Arm, PointArm]) -> str | None:
    if "baseline" not in arms or "swiftkv" not in arms:
        return "one arm was not measured"
    invalid = [a for a in ("baseline", "swiftkv") if not arms[a].valid]
    if invalid:
        return f"invalid on {' and '.join(invalid)}"
    saturated = [a for a in ("baseline", "swiftkv") if arms[a].saturated]
    if saturated:
        return f"past saturation on {' and '.join(saturated)}: latencies grow with the length of the run"
    return None


def _gain(key: str, reference: _Cell, candidate: _Cell) -> Gain | None:
    """Of the trials whose repeat both arms completed; they share seed, schedule and prompts."""
    ours = dict(zip(candidate.repeats, candidate.figures, strict=True))
    theirs = dict(zip(reference.repeats, reference.figures, strict=True))
    repeats = [r for r in theirs if r in ours and key in ours[r] and key in theirs[r]]
    c, r = [ours[i][key] for i in repeats], [theirs[i][key] for i in repeats]
    if METRICS[key].better == "lower":
        c, r = r, c
    found: Ratio | None = paired_ratio(c, r)
    return None if found is None else Gain(found.value, found.interval, found.n, found.p, found.method)


@dataclass(frozen=True)
class _Bounds:
    """Model configurations of the two arms, where they are known."""

    baseline: Mapping[str, object] | None
    swiftkv: Mapping[str, object] | None

    @classmethod
    def of(cls, manifest: Manifest) -> "_Bounds":
        known = {spec.arm: spec.architecture for spec in manifest.engines}
        return cls(known.get("baseline"), known.get("swiftkv"))

    def at(self, point: Point) -> Bound | None:
        """At the mean lengths of a point; a shared prefix counts as computed."""
        if self.baseline is None or self.swiftkv is None:
            return None
        inputs, outputs = round(point.input_len.mean), max(1, round(point.output_len.mean))
        whole = [_request_flops(config, inputs, outputs) for config in (self.baseline, self.swiftkv)]
        return Bound(roofline.prefill_bound(self.baseline, self.swiftkv, inputs), whole[0] / whole[1])


def _request_flops(config: Mapping[str, object], inputs: int, outputs: int) -> float:
    """Prefill and the outputs − 1 decode steps; decode FLOPs are linear in the context, so its mean suffices."""
    steps = outputs - 1
    context = inputs + outputs // 2
    return roofline.prefill_flops(config, inputs) + steps * roofline.decode_flops(config, context)


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
            if key in p.gains and (metric.latency is not None or p.point.arrivals.process in _UNPACED)
        ]
        values = [gain.value for gain in gains]
        mean = geometric_mean(values)
        if mean is not None:
            out[key] = Overall(mean, min(values), max(values), len(values), gains[0] if len(gains) == 1 else None)
    return out
