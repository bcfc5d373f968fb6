"""Figures of one arm at one load point, over its trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from swiftkv_bench.analysis.machine import machine_use
from swiftkv_bench.analysis.values import Breakdown, Estimate, PointArm
from swiftkv_bench.evidence.traffic import over_trials
from swiftkv_bench.evidence.trials import SAMPLE, Sample, TrialDetail, TrialFigures, mostly_saturated
from swiftkv_bench.metrics import METRICS, GapHistogram, Metric, Objective, distribution
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Float, RequestStatus
from swiftkv_bench.stats.intervals import mean_interval, quantile_interval, share_interval


@dataclass
class Cell:
    """The trials of one arm at one point. Figures come from the `kept` repeats; from all when that is empty."""

    trials: list[TrialFigures] = field(default_factory=list)
    kept: frozenset[int] = frozenset()

    @property
    def used(self) -> list[TrialFigures]:
        """The trials that figures come from."""
        return [t for t in self.trials if t.trial.repeat in self.kept] or self.trials

    @property
    def details(self) -> list[TrialDetail]:
        """What the run folder has of them."""
        return [t.detail for t in self.used if t.detail is not None]

    @property
    def ok(self) -> int:
        """Finished requests of the used trials."""
        return sum(d.counts.ok for d in self.details)

    def values(self, metric: Metric) -> Float | None:
        """The metric's latency of every finished request; None where only a histogram was kept."""
        arrays = [d.latencies[metric.latency] for d in self.details if metric.latency in d.latencies]
        return np.concatenate(arrays) if arrays else None

    def gaps(self, metric: Metric) -> GapHistogram:
        """Gaps of all used trials together."""
        merged = GapHistogram()
        for d in self.details:
            merged.merge(d.itl if metric.latency == "itl_s" else d.itl_per_token)
        return merged


def point_arm(arm: Arm, cell: Cell, objective: Objective | None) -> PointArm:
    used = cell.details
    requests = sum(t.counts.requests for t in used)
    failures: dict[RequestStatus, int] = {}
    for t in used:
        for status, n in t.counts.failures.items():
            failures[status] = failures.get(status, 0) + n
    good = [t.counts.good for t in used if t.counts.good is not None]
    wilson = share_interval(sum(good), requests) if objective is not None else None
    estimates = {
        key: found for key, m in METRICS.items() if not m.paired and (found := _estimate(key, cell)) is not None
    }
    return PointArm(
        arm=arm,
        valid=bool(cell.kept),
        saturated=mostly_saturated(cell.used),
        trials=len(cell.used),
        trials_left_out=len(cell.trials) - len(cell.used),
        requests=requests,
        ok=cell.ok,
        failures=failures,
        estimates=estimates,
        goodput_share=None if wilson is None else (sum(good) / requests, wilson),
        breakdown=_breakdown(used, estimates),
        sample=_thinned(used),
        machine=machine_use([t.telemetry for t in used], [t.server for t in used]),
        traffic=over_trials([t.traffic for t in used]),
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


def _breakdown(trials: Sequence[TrialDetail], estimates: Mapping[str, Estimate]) -> Breakdown | None:
    ttft = estimates.get("ttft_mean_s")
    servers = [t.server for t in trials]
    split = [(s.queue_s, s.prefill_s) for s in servers if s.queue_s is not None and s.prefill_s is not None]
    if ttft is None or not split or len(split) != len(servers):
        return None
    queue_s, prefill_s = (float(np.mean(part)) for part in zip(*split, strict=True))
    return Breakdown(ttft.value, queue_s, prefill_s, ttft.value - queue_s - prefill_s)


def _thinned(trials: Sequence[TrialDetail]) -> Sample:
    names = ("scheduled_s", "prompt_tokens", "ttft_s", "tpot_s", "repeat")
    columns = [np.concatenate([getattr(t.sample, name) for t in trials] or [np.zeros(0)]) for name in names]
    if len(columns[0]) > SAMPLE:
        keep = np.linspace(0, len(columns[0]) - 1, SAMPLE).astype(int)
        columns = [column[keep] for column in columns]
    return Sample(*columns, sum(t.sample.of for t in trials))  # type: ignore[call-arg]
