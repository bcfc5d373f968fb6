"""How late the fake engine's writes were."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

BOUNDS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
"""Upper bounds of the classes that writes are counted in; one more class lies above."""


@dataclass
class Lateness:
    """Writes counted by how late they were: handed to the kernel, minus due."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0
    worst_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts one write."""
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds
        if seconds > self.worst_s:
            self.worst_s = seconds

    @property
    def n(self) -> int:
        """Writes counted."""
        return sum(self.buckets)

    def below(self, share: float) -> float:
        """Upper bound of the class below which a share of the writes lies; the worst above the last class."""
        wanted, seen = share * self.n, 0
        for bound, count in zip(BOUNDS_S, self.buckets, strict=False):
            seen += count
            if seen >= wanted:
                return bound
        return self.worst_s


def together(parts: Sequence[Lateness]) -> Lateness:
    """The writes of all parts."""
    return Lateness(
        [sum(counts) for counts in zip(*(part.buckets for part in parts), strict=True)],
        sum(part.total_s for part in parts),
        max(part.worst_s for part in parts),
    )
