"""One trial under load as everything above uses it: its figures, what they were computed from, what stands against it.

The one place where a recorded trial becomes figures: reports, comparisons, accepted runs and sweeps all read here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from swiftkv_bench.checks import Finding, check_trial
from swiftkv_bench.evidence.traffic import NOTHING_TOLD, Traffic, traffic_of
from swiftkv_bench.metrics import (
    GapHistogram,
    Objective,
    ServerMetrics,
    TrialMetrics,
    server_metrics,
    trial_figures,
    trial_metrics,
)
from swiftkv_bench.schema.perf import Float, RequestStatus, RequestTable, Trial, TrialRecord
from swiftkv_bench.schema.telemetry import Telemetry

PAIRED = ("ttft_s", "tpot_s")
"""Latencies that are kept of every request, so that trials of one schedule compare request by request."""

REQUESTS_KEPT = 1000
"""Most requests of a trial that are kept; the median of as many is known to a few per cent of their spread."""

SAMPLE = 2_000
"""Requests an arm and point kept for a scatter."""

_POOLED = ("ttft_s", "tpot_s", "e2e_latency_s", "ttft_from_schedule_s")


@dataclass(frozen=True)
class Sample:
    """Requests of one arm at one point for a scatter, at most `of` thinned evenly; all arrays shape (n,)."""

    scheduled_s: Float
    prompt_tokens: Float
    ttft_s: Float
    tpot_s: Float
    repeat: Float
    of: int


@dataclass(frozen=True)
class Counts:
    """Requests of one trial; `good` met the objective, None without one."""

    requests: int
    ok: int
    good: int | None
    failures: dict[RequestStatus, int]


@dataclass(frozen=True)
class TrialDetail:
    """What a run folder has of a trial beside its figures; an accepted run keeps none of it."""

    latencies: dict[str, Float]
    itl: GapHistogram
    itl_per_token: GapHistogram
    server: ServerMetrics
    telemetry: Telemetry | None
    sample: Sample
    counts: Counts
    traffic: Traffic = NOTHING_TOLD


@dataclass(frozen=True)
class TrialFigures:
    """One complete trial; its raw table is let go.

    Attributes:
        valid: no finding of severity `invalid`.
        saturated: requests came faster than they were answered.
        figures: metric key -> figure, where the trial supports one.
        requests: latency (`PAIRED`) -> seconds of every request in order of schedule, NaN for one without it; of trials
            of more than `REQUESTS_KEPT` requests every second, third, ... one.
        detail: None for an accepted run.
    """

    trial: Trial
    started_utc: str
    valid: bool
    saturated: bool
    figures: Mapping[str, float]
    requests: Mapping[str, Float] = field(default_factory=dict)
    detail: TrialDetail | None = None


def mostly_saturated(trials: Collection[TrialFigures]) -> bool:
    """Requests came faster than they were answered in half of the trials at least; not so without a trial."""
    return 2 * sum(t.saturated for t in trials) >= max(1, len(trials))


def read_trial(
    record: TrialRecord, table: RequestTable, objective: Objective | None
) -> tuple[TrialFigures | None, tuple[Finding, ...]]:
    """A trial's figures and findings; a trial that did not complete leaves only its findings."""
    m = trial_metrics(table, record.trial.point.arrivals, record.window_s, objective)
    server = server_metrics(record.server_before, record.server_after)
    check = check_trial(record, table, m, server)
    if record.status != "complete":
        return None, check.findings
    detail = TrialDetail(
        latencies={name: values[~np.isnan(values)] for name in _POOLED for values in [getattr(m.per_request, name)]},
        itl=m.gaps.chunks,
        itl_per_token=m.gaps.tokens,
        server=server,
        telemetry=record.telemetry,
        sample=_sample(table, m, record.trial.repeat),
        counts=Counts(m.requests, m.ok, m.good, m.failures),
        traffic=traffic_of(record, table, m, server),
    )
    trial = TrialFigures(
        trial=record.trial,
        started_utc=record.started_utc,
        valid=check.valid,
        saturated=check.saturated,
        figures=trial_figures(m, server, record.telemetry),
        requests={name: kept(getattr(m.per_request, name)) for name in PAIRED},
        detail=detail,
    )
    return trial, check.findings


def kept(values: Float) -> Float:
    """At most `REQUESTS_KEPT` of the values, evenly, rounded as an accepted run keeps them."""
    step = -(-len(values) // REQUESTS_KEPT)
    return values[:: max(1, step)].astype(np.float32).astype(float)


def _sample(table: RequestTable, m: TrialMetrics, repeat: int) -> Sample:
    rows = np.flatnonzero(~np.isnan(m.per_request.ttft_s))
    if len(rows) > SAMPLE:
        rows = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(int)]
    r = m.per_request
    columns = (table.scheduled_s[rows], r.prompt_tokens[rows], r.ttft_s[rows], r.tpot_s[rows])
    return Sample(*columns, np.full(len(rows), float(repeat)), m.ok)
