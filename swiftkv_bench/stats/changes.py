"""Steps in a series of independent values: where its level changed, with a known rate of false alarms.

Within an interval Hawkins' test of a single shift (Journal of the American Statistical Association 72, 1977): the
largest |t| over all splits, t of the difference of the two means with the pooled variance. A level that rose and came
back hides from a test of the whole series, so it is made on intervals of every length too (seeded binary segmentation:
Kovács, Bühlmann, Li and Munk, Biometrika 110, 2023), and the smallest p counts. Both null distributions depend on
lengths alone when values are normal, so that p is exact up to simulation. A found step divides the series, and either
part is tested again at the same level.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from swiftkv_bench.schema.perf import Float

SHORTEST = 2
"""Values on either side of a step: one value alone is an outlier, and `compare` judges the newest run."""
FEWEST = 5
_SIMULATED = 20_000
_SERIES = 4_000
_SEED = 1977


@dataclass(frozen=True)
class Step:
    """A change of level.

    Attributes:
        index: first value of the new level.
        before, after: means of the levels on either side, up to the neighbouring steps.
        p: of "no step in this part of the series".
    """

    index: int
    before: float
    after: float
    p: float


def largest_shift(values: Sequence[float] | Float) -> tuple[int, float] | None:
    """(first index of the new level, p) of the most likely shift; None below five values or without any spread."""
    x = np.asarray(values, dtype=float)
    n = len(x)
    if n < FEWEST or np.ptp(x) <= 1e-12 * max(1.0, float(np.abs(x).max())):
        return None
    smallest, at = 2.0, 0
    for first, last in _intervals(n):
        t = _shift_t(x[None, first:last])[0]
        p = float(_p_values(last - first, np.array([t.max()]))[0])
        if p < smallest:
            smallest, at = p, first + SHORTEST + int(np.argmax(t))
    null = _null_smallest(n)
    return at, (1 + int((null <= smallest * (1 + 1e-9)).sum())) / (1 + len(null))


def steps(values: Sequence[float] | Float, alpha: float = 0.05) -> tuple[Step, ...]:
    """All steps found at level `alpha`, in order."""
    x = np.asarray(values, dtype=float)
    found: dict[int, float] = {}
    parts = [(0, len(x))]
    while parts:
        first, last = parts.pop()
        shift = largest_shift(x[first:last])
        if shift is not None and shift[1] <= alpha:
            at = first + shift[0]
            found[at] = shift[1]
            parts += [(first, at), (at, last)]
    edges = [0, *sorted(found), len(x)]
    return tuple(
        Step(at, float(x[before:at].mean()), float(x[at:after].mean()), found[at])
        for before, at, after in zip(edges, edges[1:], edges[2:], strict=False)
    )


def _shift_t(x: Float) -> Float:
    """|t| of every split, shape (series, splits), of series in rows."""
    n = x.shape[1]
    left = np.arange(SHORTEST, n - SHORTEST + 1)
    sums, squares = np.cumsum(x, axis=1), np.cumsum(x**2, axis=1)
    total, total_squares = sums[:, -1:], squares[:, -1:]
    head, head_squares = sums[:, left - 1], squares[:, left - 1]
    within = head_squares - head**2 / left + (total_squares - head_squares) - (total - head) ** 2 / (n - left)
    difference = head / left - (total - head) / (n - left)
    variance = np.maximum(within, 1e-12 * np.maximum(total_squares, 1e-300)) / (n - 2)
    return np.asarray(np.abs(difference) / np.sqrt(variance * (1 / left + 1 / (n - left))), dtype=float)


def _intervals(n: int) -> list[tuple[int, int]]:
    """The whole series first, then ever shorter ones, each layer overlapping by half."""
    found, length = [(0, n)], n / math.sqrt(2)
    while round(length) >= FEWEST:
        size = round(length)
        count = 2 * math.ceil(n / length) - 1
        starts = np.unique(np.round(np.linspace(0, n - size, count)).astype(int))
        found += [(int(start), int(start) + size) for start in starts]
        length /= math.sqrt(2)
    return found


def _p_values(n: int, largest: Float) -> Float:
    """p of the largest |t| of series of n values."""
    null = _null(n)
    above = len(null) - np.searchsorted(null, largest * (1 - 1e-9), side="left")
    return np.asarray((1 + above) / (1 + len(null)), dtype=float)


@lru_cache(maxsize=64)
def _null_smallest(n: int) -> Float:
    """Smallest p over the intervals, of `_SERIES` series of n normal values."""
    x = np.random.default_rng([_SEED, n, 1]).standard_normal((_SERIES, n))
    smallest = np.ones(_SERIES)
    for first, last in _intervals(n):
        np.minimum(smallest, _p_values(last - first, _shift_t(x[:, first:last]).max(axis=1)), out=smallest)
    return smallest


@lru_cache(maxsize=256)
def _null(n: int) -> Float:
    """Largest |t| of `_SIMULATED` series of n normal values, sorted."""
    rng = np.random.default_rng([_SEED, n])
    out = np.empty(_SIMULATED)
    block = max(1, 2_000_000 // n)
    for first in range(0, _SIMULATED, block):
        last = min(first + block, _SIMULATED)
        out[first:last] = _shift_t(rng.standard_normal((last - first, n))).max(axis=1)
    return np.sort(out)
