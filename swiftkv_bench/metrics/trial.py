"""Everything that is computed of one trial: counts, throughputs, rates, distributions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swiftkv_bench.metrics.distributions import Distribution, Gaps, distribution, gaps
from swiftkv_bench.metrics.requests import Bool, Objective, RequestMetrics, at_index, request_metrics
from swiftkv_bench.schema.perf import STATUS, Arrivals, Float, Int, RequestStatus, RequestTable


@dataclass(frozen=True)
class TrialMetrics:
    """Everything that is computed of one trial.

    A throughput is None when no request finished or the server did not tell its tokens.
    """

    requests: int
    ok: int
    failures: dict[RequestStatus, int]
    prompt_tokens: int
    """Of finished requests."""
    output_tokens: int | None
    """Of finished requests; None where one does not tell."""
    measured_s: float
    """The time that throughputs divide by."""
    output_throughput: float | None
    total_throughput: float | None
    request_throughput: float | None
    """Finished requests/s over the same time."""
    achieved_rate: float | None
    """None when everything was sent at once."""
    good: int | None
    """Requests that met the objective; None without one, or where nothing was streamed that it is about."""
    goodput: float | None
    """`good` / `measured_s`."""
    latencies: dict[str, Distribution]
    """By name: ttft_s, ttft_from_schedule_s, tpot_s, itl_s, itl_per_token_s, e2e_latency_s, lateness_s."""
    per_request: RequestMetrics
    gaps: Gaps


LATENCIES = ("ttft_s", "ttft_from_schedule_s", "tpot_s", "e2e_latency_s", "lateness_s")
"""Per-request latencies of `RequestMetrics`."""


def trial_metrics(
    table: RequestTable, arrivals: Arrivals, window_s: float, objective: Objective | None = None
) -> TrialMetrics:
    """All metrics of a trial.

    Args:
        window_s: length of the arrival window; not used when everything was sent at once.
    """
    m = request_metrics(table)
    found = gaps(table, counted=bool(m.counted[m.ok].all())) if m.streamed else Gaps.none()
    ok = int(m.ok.sum())
    latencies = {name: distribution(getattr(m, name)) for name in LATENCIES}
    latencies["itl_s"] = found.chunks.distribution(ok)
    latencies["itl_per_token_s"] = found.tokens.distribution(ok)
    at_once = arrivals.process == "all-at-once"
    measured_s = _batch_s(table, m.ok) if at_once else window_s
    prompt, output, finished = _delivered(table, m, math.inf if at_once else window_s)
    usable = ok > 0 and measured_s > 0
    sent = table.sent_s[~np.isnan(table.sent_s)]
    total_output = float(m.output_tokens[m.ok].sum())
    good = None if objective is None or not objective.told(m) else int(objective.met(m).sum())
    return TrialMetrics(
        requests=len(table),
        ok=ok,
        failures=failures(table),
        prompt_tokens=int(m.prompt_tokens[m.ok].sum()),
        output_tokens=None if math.isnan(total_output) else int(total_output),
        measured_s=measured_s,
        output_throughput=output / measured_s if usable and output is not None else None,
        total_throughput=(prompt + output) / measured_s if usable and output is not None else None,
        request_throughput=finished / measured_s if usable else None,
        achieved_rate=None if at_once or window_s <= 0 else float((sent <= window_s).sum()) / window_s,
        good=good,
        goodput=None if good is None or measured_s <= 0 else good / measured_s,
        latencies=latencies,
        per_request=m,
        gaps=found,
    )


def failures(table: RequestTable) -> dict[RequestStatus, int]:
    """Count of every status other than `ok` that occurs."""
    counts = np.bincount(table.status, minlength=len(STATUS))
    return {name: int(counts[i]) for i, name in enumerate(STATUS) if name != "ok" and counts[i]}


def _batch_s(table: RequestTable, ok: Bool) -> float:
    """From the first send to the last response of a finished request."""
    return float(table.end_s[ok].max() - np.nanmin(table.sent_s)) if ok.any() else 0.0


def _delivered(table: RequestTable, m: RequestMetrics, until_s: float) -> tuple[float, float | None, int]:
    """Prompt tokens, output tokens and finished requests of `ok` requests up to a time.

    A request's output tokens are spread evenly over its chunks, for a server need not tell them per chunk.
    """
    if not m.ok.any():
        return 0.0, None, 0
    chunks = np.diff(table.chunk_start)
    begin, end = table.chunk_start[:-1], table.chunk_start[1:]
    last_s, first_s = at_index(table.chunk_s, end - 1, chunks > 0), at_index(table.chunk_s, begin, chunks > 0)
    inside = np.where(last_s <= until_s, chunks, 0)
    for i in np.flatnonzero((first_s <= until_s) & (last_s > until_s)):
        inside[i] = np.searchsorted(table.chunk_s[begin[i] : end[i]], until_s, side="right")
    share = np.divide(inside, chunks, out=np.zeros(len(table)), where=chunks > 0)
    output = float((share * m.output_tokens)[m.ok].sum())
    prompt = float(m.prompt_tokens[m.ok & (inside > 0)].sum())
    return prompt, None if math.isnan(output) else output, int((m.ok & (table.end_s <= until_s)).sum())


def in_flight(table: RequestTable, at_s: Sequence[float] | Float, rows: Bool | None = None) -> Int:
    """Requests (of the given rows, or all) sent and not yet ended at each of the given times."""
    sent_s, end_s = (table.sent_s, table.end_s) if rows is None else (table.sent_s[rows], table.end_s[rows])
    sent = np.sort(sent_s[~np.isnan(sent_s)])
    ended = np.sort(end_s[~np.isnan(sent_s) & ~np.isnan(end_s)])
    at = np.asarray(at_s, dtype=float)
    return np.searchsorted(sent, at, side="right") - np.searchsorted(ended, at, side="right")
