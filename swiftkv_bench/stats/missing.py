"""What a claim about all planned items is worth when some of them have no answer.

Such items are not missing at random: long prompts end engines first, and the defect that is looked for may be what
ended this one. So nothing is assumed of them but that a score lies between 0 and 1, and a claim stands only where it
would stand whatever they had scored (worst-case bounds: Horowitz and Manski, JASA 95, 2000).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from swiftkv_bench.stats.items import ItemDelta, mean_delta

Scores = Mapping[tuple[str, int], float]
"""(task, doc_id) -> score, 0 to 1."""


@dataclass(frozen=True)
class Missing:
    """Planned items that at least one of two arms did not answer.

    The difference over all planned items lies between `(1 − share) · d + low` and `(1 − share) · d + high`, d the
    difference over the items that both answered.

    Attributes:
        n: items.
        share: n / planned items.
        low, high: what these items add to the difference at the least and at the most.
    """

    n: int
    share: float
    low: float
    high: float

    @classmethod
    def between(cls, reference: Scores, candidate: Scores, planned: int, by: str = "item") -> Self | None:
        """From the answers of both; None when all planned items were answered by both.

        Where one side's score s is known the difference lies in −s .. 1 − s (reference) or s − 1 .. s (candidate), else
        in −1 .. 1. Where more items are known on one side than are missing, the least and the greatest are taken.

        Args:
            by: how the column is averaged, see `unknown`.
        """
        n = planned - len(reference.keys() & candidate.keys())
        if n <= 0:
            return None
        if by == "task":
            return cls.unknown(n, planned, by)
        lone = [(-reference[key], 1 - reference[key]) for key in reference.keys() - candidate.keys()]
        lone += [(candidate[key] - 1, candidate[key]) for key in candidate.keys() - reference.keys()]
        lone += [(-1.0, 1.0)] * (n - len(lone))
        low = sum(sorted(least for least, _ in lone)[:n]) / planned
        high = sum(sorted((most for _, most in lone), reverse=True)[:n]) / planned
        return cls(n, n / planned, low, high)

    @classmethod
    def unknown(cls, n: int, planned: int, by: str = "item") -> Self | None:
        """Of n items nothing is known on either side; None when n is not above 0.

        Args:
            by: how the column is averaged. By `task`, the weights of missing items are not known: nothing is bounded.
        """
        if n <= 0:
            return None
        share = 1.0 if by == "task" else n / planned
        return cls(n, share, -share, share)

    def widen(self, low: float, high: float) -> tuple[float, float]:
        """Bounds over all planned items, from those over the answered ones."""
        return (1 - self.share) * low + self.low, (1 - self.share) * high + self.high

    def needed(self, value: float) -> float:
        """Least difference over the answered items at which that over all of them can reach `value`; −1 for any."""
        return -1.0 if self.share >= 1 else max(-1.0, (value - self.high) / (1 - self.share))


def mean_with_missing(
    deltas: Sequence[ItemDelta], missing: Sequence[Missing | None]
) -> tuple[ItemDelta, Missing] | None:
    """What the average of columns can be claimed from, where columns have missing items; None when none has.

    Returns:
        The mean of the columns' answered shares of their differences, and what the missing items add to it.
    """
    known = [m for m in missing if m is not None]
    shares = [1.0 if m is None else 1 - m.share for m in missing]
    mean = mean_delta([_scaled(d, share) for d, share in zip(deltas, shares, strict=True)])
    if not known or mean is None:
        return None
    c = len(deltas)
    rest = Missing(sum(m.n for m in known), 0.0, sum(m.low for m in known) / c, sum(m.high for m in known) / c)
    return mean, rest


def _scaled(delta: ItemDelta, share: float) -> ItemDelta:
    error = None if delta.stderr is None else delta.stderr * share
    pulls = None if delta.pulls is None else delta.pulls * share
    return replace(delta, delta=delta.delta * share, stderr=error, pulls=pulls)
