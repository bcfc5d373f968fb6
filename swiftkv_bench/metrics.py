"""THE definitions of what is measured under load, computed from a raw `RequestTable`.

Owns the formulas of every latency, rate and throughput, and `DEFINITIONS`, the sentences that every report prints.
Leaves intervals and comparisons to `stats`, validity to `checks`. Times are seconds; arrays have one element a
request, shape (n,), with NaN where a value is not defined. Only requests whose status is `ok` have latencies:
failures are counted beside them, never averaged in or away.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from swiftkv_bench.schema.perf import STATUS, Arrivals, Float, Int, RequestStatus, RequestTable

Bool = npt.NDArray[np.bool_]

QUANTILES: tuple[float, ...] = (0.5, 0.9, 0.95, 0.99, 0.999)
"""Percentiles of every latency, as shares of one."""

DEFINITIONS: Mapping[str, str] = {
    "TTFT": "Time to first token: arrival of the first chunk with non-empty content, minus send. "
    "An empty role delta is no content.",
    "TTFT from schedule": "The same chunk, minus the time the schedule wanted the request sent "
    "(free of coordinated omission).",
    "TPOT": "Time per output token: (last chunk − first chunk) / (output tokens − tokens in the first chunk), "
    "per request; none below two tokens or two chunks. Output tokens are the server's usage count.",
    "ITL": "Inter-token latency: every gap between consecutive chunks of a request, pooled over requests.",
    "ITL per token": "Each gap divided by the tokens of the chunk that ends it, counted once a token; "
    "none where the server does not tell tokens per chunk.",
    "E2E latency": "End of the response, minus send.",
    "Lateness": "Send, minus the time the schedule wanted the request sent.",
    "Output throughput": "Output tokens/s. All at once: all tokens, from the first send to the last response. "
    "Rates and closed loop: tokens delivered inside the arrival window, divided by its length.",
    "Total throughput": "Prompt + output tokens/s over the same time; the model card's combined throughput. "
    "A prompt counts when its first token arrives.",
    "Achieved rate": "Requests sent inside the arrival window, divided by its length.",
    "Goodput": "Requests/s that finish and meet every latency objective; failed requests miss.",
    "Percentiles": "Linear interpolation between order statistics. A percentile is printed only from the n at "
    "which, with 99 % confidence, two requests lie above it: p50 11, p90 64, p95 130, p99 662, p99.9 6,636.",
}
"""Names and meanings, in the order in which a report prints them."""


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
    first_s = _at(table.chunk_s, begin, chunks > 0)
    last_s = _at(table.chunk_s, end - 1, chunks > 0)
    output_tokens = _output_tokens(table)
    first_tokens = _at(table.chunk_tokens, begin, chunks > 0)
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


def _at(values: Float | Int, index: Int, there: Bool) -> Float:
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
class Distribution:
    """A pooled distribution: n, mean, extremes, and each percentile of `QUANTILES` that n supports."""

    n: int
    mean: float | None
    low: float | None
    high: float | None
    quantiles: tuple[float | None, ...]

    def quantile(self, q: float) -> float | None:
        """One of `QUANTILES`; None when n is below `requests_needed(q)`."""
        return self.quantiles[QUANTILES.index(q)]


def distribution(values: Float) -> Distribution:
    """Of the values that are defined (not NaN)."""
    there = values[~np.isnan(values)]
    n = len(there)
    if n == 0:
        return Distribution(0, None, None, None, (None,) * len(QUANTILES))
    found = np.quantile(there, QUANTILES)
    quantiles = tuple(float(v) if n >= requests_needed(q) else None for q, v in zip(QUANTILES, found, strict=True))
    return Distribution(n, float(there.mean()), float(there.min()), float(there.max()), quantiles)


@lru_cache(maxsize=64)
def requests_needed(quantile: float, confidence: float = 0.99) -> int:
    """Requests from which a percentile is claimed: the smallest n with P(Binomial(n, 1 − q) <= 1) <= 1 − confidence.

    The rule of MLPerf LoadGen's early stopping (two observations above the quantile): p90 64, p99 662.
    """
    q, n = quantile, 2
    while n * math.log(q) + math.log1p(n * (1 - q) / q) > math.log1p(-confidence):
        n += 1
    return n


class GapHistogram:
    """Streaming distribution of gaps: constant memory, mergeable over trials.

    Buckets are 1/4096 of a power of two wide, so a quantile is off by at most 0.013 %; mean, extremes and n are exact.
    Gaps below 2^-30 s (two chunks in one read) count as 0.
    """

    _LOW, _HIGH, _BITS = -30, 17, 12

    def __init__(self) -> None:
        self.n = 0
        self.total_s = 0.0
        self.low_s = math.inf
        self.high_s = -math.inf
        self._counts = np.zeros(((self._HIGH - self._LOW) << self._BITS) + 1, dtype=np.int64)

    def add(self, gaps_s: Float, weights: Int | None = None) -> None:
        """Counts gaps, each `weights` times (once without)."""
        if len(gaps_s) == 0:
            return
        # The bits of a positive float64 above its lowest 40 are a logarithmic bucket number.
        codes = np.ascontiguousarray(gaps_s, dtype=np.float64).view(np.int64) >> (52 - self._BITS)
        codes -= ((1023 + self._LOW) << self._BITS) - 1
        np.clip(codes, 0, len(self._counts) - 1, out=codes)
        if weights is None:
            self._counts += np.bincount(codes, minlength=len(self._counts))
            self.n += len(gaps_s)
            self.total_s += float(gaps_s.sum())
        else:
            self._counts += np.bincount(codes, weights, minlength=len(self._counts)).astype(np.int64)
            self.n += int(weights.sum())
            self.total_s += float(gaps_s @ weights)
        self.low_s = min(self.low_s, float(gaps_s.min()))
        self.high_s = max(self.high_s, float(gaps_s.max()))

    def merge(self, other: "GapHistogram") -> None:
        """Adds another histogram's counts."""
        self.n += other.n
        self.total_s += other.total_s
        self.low_s = min(self.low_s, other.low_s)
        self.high_s = max(self.high_s, other.high_s)
        self._counts += other._counts

    def quantile(self, q: float) -> float | None:
        """The gap below which a share `q` lies; None without gaps."""
        if self.n == 0:
            return None
        code = int(np.searchsorted(np.cumsum(self._counts), q * (self.n - 1), side="right"))
        if code == 0:
            return max(0.0, self.low_s)
        octave, part = divmod(code - 1, 1 << self._BITS)
        middle = math.ldexp(1 + (part + 0.5) / (1 << self._BITS), octave + self._LOW)
        return min(max(middle, self.low_s), self.high_s)

    def distribution(self, requests: int) -> Distribution:
        """With the percentiles that `requests` supports: gaps of one request are not independent."""
        if self.n == 0:
            return Distribution(0, None, None, None, (None,) * len(QUANTILES))
        quantiles = tuple(self.quantile(q) if requests >= requests_needed(q) else None for q in QUANTILES)
        return Distribution(self.n, self.total_s / self.n, self.low_s, self.high_s, quantiles)


_BLOCK = 1 << 22


def _blocks(table: RequestTable) -> Iterator[tuple[int, int]]:
    """Ranges of requests with about `_BLOCK` chunks each, so that temporaries stay small."""
    first, n = 0, len(table)
    while first < n:
        last = int(np.searchsorted(table.chunk_start, table.chunk_start[first] + _BLOCK, side="right")) - 1
        last = min(max(last, first + 1), n)
        yield first, last
        first = last


@dataclass(frozen=True)
class Gaps:
    """Pooled inter-token latencies of a trial's finished requests."""

    chunks: GapHistogram
    """Gap between consecutive chunks, as it arrived."""
    tokens: GapHistogram
    """The same per token; empty unless every later chunk of every finished request tells its tokens."""
    several: int
    """Chunks after the first with more than one token."""


def gaps(table: RequestTable) -> Gaps:
    """ITL and ITL per token of the finished requests of a trial."""
    ok = table.status == STATUS.index("ok")
    chunks, tokens, several, told = GapHistogram(), GapHistogram(), 0, True
    for first, last in _blocks(table):
        a, b = int(table.chunk_start[first]), int(table.chunk_start[last])
        if b - a < 2:
            continue
        later = np.repeat(ok[first:last], np.diff(table.chunk_start[first : last + 1]))
        heads = table.chunk_start[first:last] - a
        later[heads[heads < b - a]] = False
        gap_s = np.diff(table.chunk_s[a:b])[later[1:]]
        chunks.add(gap_s)
        size = table.chunk_tokens[a + 1 : b][later[1:]]
        told = told and bool((size >= 1).all())
        if told:
            several += int((size > 1).sum())
            tokens.add(gap_s / size, size)
    return Gaps(chunks, tokens if told else GapHistogram(), several)


@dataclass(frozen=True)
class Objective:
    """Latency objectives (SLO). A request meets it when it finished and every given limit holds."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_latency_s: float | None = None

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
    """Requests that met the objective; None without one."""
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
    m, found = request_metrics(table), gaps(table)
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
        good=None if objective is None else int(objective.met(m).sum()),
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
    last_s, first_s = _at(table.chunk_s, end - 1, chunks > 0), _at(table.chunk_s, begin, chunks > 0)
    inside = np.where(last_s <= until_s, chunks, 0)
    for i in np.flatnonzero((first_s <= until_s) & (last_s > until_s)):
        inside[i] = np.searchsorted(table.chunk_s[begin[i] : end[i]], until_s, side="right")
    share = np.divide(inside, chunks, out=np.zeros(len(table)), where=chunks > 0)
    output = float((share * m.output_tokens)[m.ok].sum())
    prompt = float(m.prompt_tokens[m.ok & (inside > 0)].sum())
    return prompt, None if math.isnan(output) else output, int((m.ok & (table.end_s <= until_s)).sum())


def in_flight(table: RequestTable, at_s: Sequence[float] | Float) -> Int:
    """Requests sent and not yet ended at each of the given times."""
    sent = np.sort(table.sent_s[~np.isnan(table.sent_s)])
    ended = np.sort(table.end_s[~np.isnan(table.sent_s) & ~np.isnan(table.end_s)])
    at = np.asarray(at_s, dtype=float)
    return np.searchsorted(sent, at, side="right") - np.searchsorted(ended, at, side="right")
