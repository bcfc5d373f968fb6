"""Flips of 0/1 scores against those of an unchanged engine: above its rate, or one-sided where no rate is known."""

import math
from dataclasses import dataclass

from scipy import special, stats

from swiftkv_bench.stats.intervals import share_interval
from swiftkv_bench.stats.items import ALPHA, POWER, score_bounds


@dataclass(frozen=True)
class FlipExcess:
    """Flips of n items, and the flips that noise makes.

    Attributes:
        flips, n: items that changed sides, of how many.
        floor: (flips, items) of two answers of one engine; None when a rate is given instead.
        floor_rate: measured, or given.
    """

    flips: int
    n: int
    floor: tuple[int, int] | None
    floor_rate: float

    @property
    def effect(self) -> float:
        """Flip rate above the floor's, share of one."""
        return self.flips / self.n - self.floor_rate

    @property
    def method(self) -> str:
        """How bounds and p are made, one phrase."""
        if self.floor is None:
            return "Wilson bounds and binomial test against a given flip rate"
        return "Newcombe bounds and Fisher's exact test against A/A flips"

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
        return self.effect - down, self.effect + up

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
        room = margin - self.effect
        if room <= 0:
            return None
        rate, z = self.flips / self.n, float(special.ndtri(1 - alpha))
        if self.flips == 0:
            return math.ceil(z * z * (1 - room) / room)
        sides = 1 if self.floor is None else 2
        return math.ceil(sides * rate * (1 - rate) * ((z + float(special.ndtri(POWER))) / room) ** 2)


@dataclass(frozen=True)
class NetLoss:
    """Flips without a known noise rate: noise flips either way alike, a defect turns right answers wrong.

    Attributes:
        lost, gained, n: right to wrong, wrong to right, of how many items.
    """

    lost: int
    gained: int
    n: int
    floor: None = None
    floor_rate: None = None
    method: str = "Tango's score bounds and exact one-sided McNemar test"

    @property
    def effect(self) -> float:
        """Share of the items lost, net of those gained."""
        return (self.lost - self.gained) / self.n

    def bounds(self, alpha: float = ALPHA) -> tuple[float, float]:
        """One-sided bounds of the net loss, level `alpha` each."""
        low, high = score_bounds(self.gained, self.lost, self.n, alpha)
        return -high, -low

    @property
    def p_more(self) -> float:
        """One-sided exact p of "flips fall either way alike"."""
        return float(special.bdtrc(self.lost - 1, self.lost + self.gained, 0.5)) if self.lost else 1.0

    def n_to_decide(self, margin: float, alpha: float = ALPHA) -> int | None:
        """Items that would show the loss to be below the margin if the flips are those seen; None when it is not."""
        room, z = margin - self.effect, float(special.ndtri(1 - alpha))
        if room <= 0:
            return None
        if self.lost + self.gained == 0:
            return math.ceil(z * z * (1 - room) / room)
        variance = (self.lost + self.gained) / self.n - self.effect**2
        return math.ceil(variance * ((z + float(special.ndtri(POWER))) / room) ** 2)


def flip_test(
    lost: int, gained: int, n: int, floor: tuple[int, int] | None, given: float | None
) -> "FlipExcess | NetLoss":
    """Flips against a measured floor, else against a given rate, else by their direction alone.

    Raises:
        ValueError: there is no item.
    """
    if n <= 0:
        raise ValueError("flips need at least one item")
    if floor is not None and floor[1] > 0:
        return FlipExcess(lost + gained, n, floor, floor[0] / floor[1])
    return NetLoss(lost, gained, n) if given is None else FlipExcess(lost + gained, n, None, given)


def _wilson(flips: int, n: int, alpha: float) -> tuple[float, float]:
    found = share_interval(flips, n, 1 - 2 * alpha)
    return (0.0, 1.0) if found is None else (found.low, found.high)
