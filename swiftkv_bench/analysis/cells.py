"""One trial of a load point reduced to what its point needs, and the trials of one arm there."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from swiftkv_bench.analysis.values import METRICS, Metric, Sample
from swiftkv_bench.checks import Finding, TrialCheck, check_trial
from swiftkv_bench.metrics import (
    GapHistogram,
    Lengths,
    Objective,
    ServerMetrics,
    TrialMetrics,
    server_metrics,
    trial_metrics,
)
from swiftkv_bench.schema.perf import Float, RequestStatus, RequestTable, TrialRecord
from swiftkv_bench.schema.telemetry import Telemetry
from swiftkv_bench.sweep import Outcome

SAMPLE = 2_000
"""Requests an arm and point kept for a scatter."""

_POOLED = ("ttft_s", "tpot_s", "e2e_latency_s", "ttft_from_schedule_s")


@dataclass(frozen=True)
class Counts:
    """Requests of one trial."""

    requests: int
    ok: int
    good: int | None
    failures: dict[RequestStatus, int]
    prompt_tokens: int
    """Of finished requests, as `output_tokens`."""
    output_tokens: int | None


@dataclass(frozen=True)
class ReducedTrial:
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
    counts: Counts


@dataclass
class Cell:
    """The trials of one arm at one point. Figures come from the `kept` repeats; from all when that is empty."""

    trials: list[ReducedTrial] = field(default_factory=list)
    kept: frozenset[int] = frozenset()

    @property
    def used(self) -> list[ReducedTrial]:
        """The trials that figures come from."""
        return [t for t in self.trials if t.repeat in self.kept] or self.trials

    @property
    def saturated(self) -> bool:
        """At least half of the used trials were past saturation."""
        return 2 * sum(t.check.saturated for t in self.used) >= max(1, len(self.used))

    @property
    def ok(self) -> int:
        """Finished requests of the used trials."""
        return sum(t.counts.ok for t in self.used)

    @property
    def lengths(self) -> Lengths:
        """Mean lengths of the finished requests of the used trials."""
        counts = [t.counts for t in self.used]
        outputs = [c.output_tokens for c in counts if c.output_tokens is not None]
        prompt = sum(c.prompt_tokens for c in counts)
        if not self.ok:
            return None, None
        # Texts that neither side counted have -1.
        return prompt / self.ok if prompt > 0 else None, sum(outputs) / self.ok if len(outputs) == len(counts) else None

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


def reduce_trial(
    record: TrialRecord, table: RequestTable, objective: Objective | None
) -> tuple[ReducedTrial | None, Sequence[Finding]]:
    """A trial's figures and findings; a trial that did not complete leaves only its findings."""
    m = trial_metrics(table, record.trial.point.arrivals, record.window_s, objective)
    server = server_metrics(record.server_before, record.server_after)
    check = check_trial(record, table, m, server)
    if record.status != "complete":
        return None, check.findings
    latencies = {name: values[~np.isnan(values)] for name in _POOLED for values in [getattr(m.per_request, name)]}
    figures, joules = trial_figures(m), _joule_per_token(record, m, server)
    trial = ReducedTrial(
        repeat=record.trial.repeat,
        check=check,
        figures=figures if joules is None else figures | {"joule_per_token": joules},
        latencies=latencies,
        itl=m.gaps.chunks,
        itl_per_token=m.gaps.tokens,
        server=server,
        telemetry=record.telemetry,
        sample=_sample(table, m, record.trial.repeat),
        counts=Counts(m.requests, m.ok, m.good, m.failures, m.prompt_tokens, m.output_tokens),
    )
    return trial, check.findings


def outcome(record: TrialRecord, table: RequestTable, objective: Objective | None = None) -> Outcome:
    """What a sweep needs to know of one trial."""
    trial, _ = reduce_trial(record, table, objective)
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
