"""Pooled distributions: mean, extremes, and the percentiles that a sample supports."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from swiftkv_bench.schema.perf import STATUS, Float, Int, RequestTable

QUANTILES: tuple[float, ...] = (0.5, 0.9, 0.95, 0.99, 0.999)
"""Percentiles of every latency, as shares of one."""


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

    Buckets are 1/1024 of a power of two wide, so a quantile is off by at most 0.05 %; mean, extremes and n are exact.
    Gaps below 2^-30 s (two chunks in one read) count as 0.
    """

    _LOW, _HIGH, _BITS = -30, 17, 10

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

    @classmethod
    def none(cls) -> "Gaps":
        """Of answers that were not streamed."""
        return cls(GapHistogram(), GapHistogram(), 0)


def gaps(table: RequestTable, *, counted: bool = True) -> Gaps:
    """ITL and ITL per token of the finished requests of a trial.

    Args:
        counted: whether the tokens that chunks tell can be believed.
    """
    ok = table.status == STATUS.index("ok")
    chunks, tokens, several, told = GapHistogram(), GapHistogram(), 0, counted
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
