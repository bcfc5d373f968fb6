"""Figures of one arm at one load point, over its trials."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from swiftkv_bench.analysis.cells import SAMPLE, Cell, ReducedTrial
from swiftkv_bench.analysis.machine import machine_use
from swiftkv_bench.analysis.values import METRICS, Breakdown, Estimate, Metric, PointArm, Sample
from swiftkv_bench.metrics import Objective, distribution
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import RequestStatus
from swiftkv_bench.stats.intervals import mean_interval, quantile_interval, share_interval


def point_arm(arm: Arm, cell: Cell, objective: Objective | None) -> PointArm:
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
        saturated=cell.saturated,
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


def _estimate(key: str, cell: Cell) -> Estimate | None:
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


def _one_trial(metric: Metric, cell: Cell, found: Estimate) -> Estimate:
    """A percentile of a single trial keeps its value; its interval is that of order statistics."""
    values = cell.values(metric)
    interval = None if values is None or metric.quantile is None else quantile_interval(values, metric.quantile)
    if interval is None:
        return found
    return Estimate(found.value, interval, found.trials, found.requests, "one trial, requests taken as independent")


def _pooled(metric: Metric, cell: Cell, trials: tuple[float | None, ...]) -> Estimate | None:
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


def _breakdown(trials: Sequence[ReducedTrial], estimates: Mapping[str, Estimate]) -> Breakdown | None:
    ttft = estimates.get("ttft_mean_s")
    servers = [t.server for t in trials]
    split = [(s.queue_s, s.prefill_s) for s in servers if s.queue_s is not None and s.prefill_s is not None]
    if ttft is None or not split or len(split) != len(servers):
        return None
    queue_s, prefill_s = (float(np.mean(part)) for part in zip(*split, strict=True))
    return Breakdown(ttft.value, queue_s, prefill_s, ttft.value - queue_s - prefill_s)


def _thinned(trials: Sequence[ReducedTrial]) -> Sample:
    names = ("scheduled_s", "prompt_tokens", "ttft_s", "tpot_s", "repeat")
    columns = [np.concatenate([getattr(t.sample, name) for t in trials] or [np.zeros(0)]) for name in names]
    if len(columns[0]) > SAMPLE:
        keep = np.linspace(0, len(columns[0]) - 1, SAMPLE).astype(int)
        columns = [column[keep] for column in columns]
    return Sample(*columns, sum(t.sample.of for t in trials))  # type: ignore[call-arg]
