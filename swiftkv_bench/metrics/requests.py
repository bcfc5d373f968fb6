"""Latencies and token counts of every request."""

from dataclasses import dataclass, replace

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
    tpot_least_s: Float
    """What TPOT is at the least: equal to it where the server tells the tokens of each chunk."""
    tpot_most_s: Float
    """What it is at the most, with one token at least in every chunk."""
    e2e_latency_s: Float
    prompt_tokens: Float
    """As the server's usage says, else as asked."""
    output_tokens: Float
    """As the server's usage says, else the sum over chunks where every chunk tells; NaN if neither does."""
    counted: Bool
    """Whether the tokens of every chunk are told and are those of the usage, up to one that has no text."""
    at_once: Bool
    """Whether several tokens came, all in one read: nothing was streamed, as far as one can see from here."""

    @property
    def streamed(self) -> bool:
        """Whether latencies of tokens can be told: half of the answers of several tokens at most came at once."""
        several = int((self.ok & (self.output_tokens >= 2)).sum())
        return several == 0 or 2 * int(self.at_once.sum()) <= several


def request_metrics(table: RequestTable) -> RequestMetrics:
    """Every per-request latency of a trial, each defined in `DEFINITIONS`."""
    ok = table.status == STATUS.index("ok")
    begin, end = table.chunk_start[:-1], table.chunk_start[1:]
    chunks = end - begin
    first_s = at_index(table.chunk_s, begin, chunks > 0)
    span_s = at_index(table.chunk_s, end - 1, chunks > 0) - first_s
    running = told_by_chunks(table)
    output_tokens = _output_tokens(table, running)
    counted = _counted(output_tokens, running)
    together, told = _first_read(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Chunks that do not tell are taken as equal, and as one token each where there are more of them than tokens.
        even = together * np.maximum(1.0, output_tokens / chunks)
        least, most = output_tokens - together, np.minimum(output_tokens, chunks) - together
        later = np.where(counted, output_tokens - np.maximum(told, 1), output_tokens - even)
        several, at_once = ok & (output_tokens >= 2), (chunks > 0) & (together == chunks)
        has_tpot = several & ~at_once & (later > 0) & (most > 0)
    found = RequestMetrics(
        ok=ok,
        lateness_s=table.sent_s - table.scheduled_s,
        ttft_s=np.where(ok, first_s - table.sent_s, np.nan),
        ttft_from_schedule_s=np.where(ok, first_s - table.scheduled_s, np.nan),
        tpot_s=_quotient(span_s, later, has_tpot),
        tpot_least_s=_quotient(span_s, np.where(counted, later, least), has_tpot),
        tpot_most_s=_quotient(span_s, np.where(counted, later, most), has_tpot),
        e2e_latency_s=np.where(ok, table.end_s - table.sent_s, np.nan),
        prompt_tokens=np.where(table.prompt_tokens >= 0, table.prompt_tokens, table.prompt_tokens_asked).astype(float),
        output_tokens=output_tokens,
        counted=counted,
        at_once=several & at_once,
    )
    return found if found.streamed else _without_streams(found)


def _without_streams(m: RequestMetrics) -> RequestMetrics:
    """The same without what only a stream tells."""
    names = ("ttft_s", "ttft_from_schedule_s", "tpot_s", "tpot_least_s", "tpot_most_s")
    return replace(m, **{name: np.full(len(m.ok), np.nan) for name in names})


def _quotient(above: Float, below: Float, where: Bool) -> Float:
    out = np.full(len(above), np.nan)
    np.divide(above, below, out=out, where=where)
    return out


def told_by_chunks(table: RequestTable) -> Int:
    """Sum of the tokens that the chunks of each request tell, shape (n,); -1 where one does not, or there is none."""
    there = np.flatnonzero(np.diff(table.chunk_start) > 0)
    out = np.full(len(table), -1, dtype=np.int64)
    if len(there):
        # Requests without chunks take no place, so each segment ends where the next one begins.
        begin, end = table.chunk_start[:-1][there], int(table.chunk_start[-1])
        total = np.add.reduceat(table.chunk_tokens[:end], begin, dtype=np.int64)
        fewest = np.minimum.reduceat(table.chunk_tokens[:end], begin)
        out[there] = np.where(fewest >= 0, total, -1)
    return out


def _counted(output_tokens: Float, running: Int) -> Bool:
    return np.asarray((running >= 0) & (np.abs(output_tokens - running) <= 1))


def _first_read(table: RequestTable) -> tuple[Int, Int]:
    """Chunks that came in the same read as the first one of their request, and the tokens that they tell."""
    begin, end = table.chunk_start[:-1], table.chunk_start[1:]
    together, told = np.zeros(len(begin), dtype=np.int64), np.zeros(len(begin), dtype=np.int64)
    rows = np.flatnonzero(end > begin)
    first_s = at_index(table.chunk_s, begin, end > begin)
    while len(rows):
        at = begin[rows] + together[rows]
        told[rows] += table.chunk_tokens[at]
        together[rows] += 1
        rows = rows[at + 1 < end[rows]]
        rows = rows[table.chunk_s[begin[rows] + together[rows]] == first_s[rows]]
    return together, told


def at_index(values: Float | Int, index: Int, there: Bool) -> Float:
    """values[index] where `there`, else NaN; shape of `index`."""
    out = np.full(len(index), np.nan)
    out[there] = values[index[there]]
    return out


def _output_tokens(table: RequestTable, running: Int) -> Float:
    found = np.where(table.output_tokens >= 0, table.output_tokens, running).astype(float)
    found[found < 0] = np.nan
    return found


@dataclass(frozen=True)
class Objective:
    """Latency objectives (SLO). A request meets it when it finished and every given limit holds.

    A load meets it when a share of its requests does.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_latency_s: float | None = None
    share: float = 0.9

    def told(self, m: RequestMetrics) -> bool:
        """Whether a trial says if it is met: latencies of tokens need a stream."""
        return m.streamed or (self.ttft_s is None and self.tpot_s is None)

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
