"""Latencies and token counts of every request."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swiftkv_bench.schema.perf import STATUS, Float, Int, RequestTable

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RequestMetrics:
    """Per-request values of a trial, in order of schedule. NaN: not defined for this request."""

    ok: Bool
    lateness_s: Float
    ttft_s: Float
    ttft_from_schedule_s: Float
    tpot_s: Float
    e2e_latency_s: Float
    prompt_tokens: Float
    """As the server's usage says, else as asked."""
    output_tokens: Float
    """As the server's usage says, else the sum over chunks where every chunk tells; NaN if neither does."""


def request_metrics(table: RequestTable) -> RequestMetrics:
    """Every per-request latency of a trial, each defined in `DEFINITIONS`."""
    ok = table.status == STATUS.index("ok")
    begin, end = table.chunk_start[:-1], table.chunk_start[1:]
    chunks = end - begin
    first_s = at_index(table.chunk_s, begin, chunks > 0)
    last_s = at_index(table.chunk_s, end - 1, chunks > 0)
    output_tokens = _output_tokens(table)
    first_tokens = at_index(table.chunk_tokens, begin, chunks > 0)
    first_tokens = np.where(first_tokens >= 1, first_tokens, 1.0)
    later_tokens = output_tokens - first_tokens
    with np.errstate(invalid="ignore"):
        has_tpot = ok & (chunks >= 2) & (later_tokens >= 1)
    tpot_s = np.full(len(table), np.nan)
    np.divide(last_s - first_s, later_tokens, out=tpot_s, where=has_tpot)
    return RequestMetrics(
        ok=ok,
        lateness_s=table.sent_s - table.scheduled_s,
        ttft_s=np.where(ok, first_s - table.sent_s, np.nan),
        ttft_from_schedule_s=np.where(ok, first_s - table.scheduled_s, np.nan),
        tpot_s=tpot_s,
        e2e_latency_s=np.where(ok, table.end_s - table.sent_s, np.nan),
        prompt_tokens=np.where(table.prompt_tokens >= 0, table.prompt_tokens, table.prompt_tokens_asked).astype(float),
        output_tokens=output_tokens,
    )


def at_index(values: Float | Int, index: Int, there: Bool) -> Float:
    """values[index] where `there`, else NaN; shape of `index`."""
    out = np.full(len(index), np.nan)
    out[there] = values[index[there]]
    return out


def _output_tokens(table: RequestTable) -> Float:
    usage = table.output_tokens.astype(float)
    usage[table.output_tokens < 0] = np.nan
    missing = np.flatnonzero(table.output_tokens < 0)
    for i in missing:
        tokens = table.chunk_tokens[table.chunk_start[i] : table.chunk_start[i + 1]]
        if len(tokens) and (tokens >= 0).all():
            usage[i] = tokens.sum()
    return usage


@dataclass(frozen=True)
class Objective:
    """Latency objectives (SLO). A request meets it when it finished and every given limit holds.

    A load meets it when a share of its requests does.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_latency_s: float | None = None
    share: float = 0.9

    def met(self, m: RequestMetrics) -> Bool:
        """shape (n,). A request without a TPOT (a single token) meets any TPOT limit."""
        out = m.ok.copy()
        if self.ttft_s is not None:
            out &= m.ttft_s <= self.ttft_s
        if self.tpot_s is not None:
            out &= np.isnan(m.tpot_s) | (m.tpot_s <= self.tpot_s)
        if self.e2e_latency_s is not None:
            out &= m.e2e_latency_s <= self.e2e_latency_s
        return out

    @property
    def text(self) -> str:
        """`TTFT <= 2 s and TPOT <= 0.05 s`."""
        limits = (("TTFT", self.ttft_s), ("TPOT", self.tpot_s), ("E2E latency", self.e2e_latency_s))
        return " and ".join(f"{name} ≤ {limit:g} s" for name, limit in limits if limit is not None)
