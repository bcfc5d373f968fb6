"""Flips of 0/1 scores against the rate at which an unchanged engine flips (the A/A floor)."""

import math
from dataclasses import dataclass

from scipy import special, stats

from swiftkv_bench.stats.intervals import share_interval
from swiftkv_bench.stats.items import ALPHA, POWER


@dataclass(frozen=True)
class FlipExcess:
    """Flips of n items, and the flips that noise makes.

    Attributes:
        flips, n: items that changed sides, of how many.
        floor: (flips, items) of two answers of one engine; None when only a rate is assumed.
        floor_rate: measured, or assumed.
    """

    flips: int
    n: int
    floor: tuple[int, int] | None
    floor_rate: float

    @property
    def excess(self) -> float:
        """Flip rate above the floor's, share of one."""
        return self.flips / self.n - self.floor_rate

    def bounds(self, alpha: float = ALPHA) -> tuple[float, float]:
        """One-sided bounds of the excess, level `alpha` each.

        Wilson bounds of the rate minus an assumed floor; with a measured one the bounds of a difference of two shares
        (Newcombe 1998, method 10).
        """
        rate, (low, high) = self.flips / self.n, _wilson(self.flips, self.n, alpha)
        if self.floor is None:
            return low - self.floor_rate, high - self.floor_rate
        f_low, f_high = _wilson(*self.floor, alpha)
        down = math.hypot(rate - low, f_high - self.floor_rate)
        up = math.hypot(high - rate, self.floor_rate - f_low)
        return self.excess - down, self.excess + up

    @property
    def p_more(self) -> float:
        """One-sided exact p of "no more flips than noise makes".

        Fisher's test against a measured floor, the binomial test against an assumed one. Takes the two sets of flips as
        independent.
        """
        if self.floor is None:
            return float(special.bdtrc(self.flips - 1, self.n, self.floor_rate)) if self.flips else 1.0
        flips = self.flips + self.floor[0]
        return float(stats.hypergeom.sf(self.flips - 1, self.n + self.floor[1], flips, self.n))

    def n_to_decide(self, margin: float, alpha: float = ALPHA) -> int | None:
        """Items that would show the excess to be below the margin if the rate is the one seen; None when it is not."""
        room = margin - self.excess
        if room <= 0:
            return None
        rate, z = self.flips / self.n, float(special.ndtri(1 - alpha))
        if self.flips == 0:
            return math.ceil(z * z * (1 - room) / room)
        sides = 1 if self.floor is None else 2
        return math.ceil(sides * rate * (1 - rate) * ((z + float(special.ndtri(POWER))) / room) ** 2)


def flip_excess(flips: int, n: int, floor: tuple[int, int] | None, assumed: float) -> FlipExcess:
    """Flips against a measured floor, else an assumed rate.

    Raises:
        ValueError: there is no item.
    """
    if n <= 0:
        raise ValueError("flips need at least one item")
    if floor is not None and floor[1] > 0:
        return FlipExcess(flips, n, floor, floor[0] / floor[1])
    return FlipExcess(flips, n, None, assumed)


def _wilson(flips: int, n: int, alpha: float) -> tuple[float, float]:
    found = share_interval(flips, n, 1 - 2 * alpha)
    return (0.0, 1.0) if found is None else (found.low, found.high)
