"""Right answers lost beyond those that noise loses: by A/A flips or a given rate, else by what flips the other way."""

import math
from dataclasses import dataclass

from scipy import special, stats

from swiftkv_bench.stats.intervals import share_interval
from swiftkv_bench.stats.items import ALPHA, POWER, score_bounds


@dataclass(frozen=True)
class LossExcess:
    """Right answers lost, of n items, and those that noise loses.

    Two answers of one engine are exchangeable: noise turns right answers wrong as often as wrong ones right. So every
    item answered twice shows two chances of a loss by noise, one in either direction, and each of its flips is one.

    Attributes:
        lost, n: right to wrong, of how many items.
        floor: (flips, items) of two answers of one engine; None when a rate is given instead.
        floor_rate: flip rate of an unchanged engine, measured or given.
    """

    lost: int
    n: int
    floor: tuple[int, int] | None
    floor_rate: float

    @property
    def noise(self) -> float:
        """Share of the items that noise alone loses."""
        return self.floor_rate / 2

    @property
    def effect(self) -> float:
        """Share of the items lost beyond noise."""
        return self.lost / self.n - self.noise

    @property
    def method(self) -> str:
        """How bounds and p are made, one phrase."""
        if self.floor is None:
            return "Wilson bounds and binomial test against half of a given flip rate"
        return "Newcombe bounds and Fisher's exact test against A/A flips"

    def bounds(self, alpha: float = ALPHA) -> tuple[float, float]:
        """One-sided bounds of the excess, level `alpha` each.

        Wilson bounds of the rate minus an assumed floor; with a measured one the bounds of a difference of two shares
        (Newcombe 1998, method 10).
        """
        rate, (low, high) = self.lost / self.n, _wilson(self.lost, self.n, alpha)
        if self.floor is None:
            return low - self.noise, high - self.noise
        f_low, f_high = _wilson(self.floor[0], 2 * self.floor[1], alpha)
        down = math.hypot(rate - low, f_high - self.noise)
        up = math.hypot(high - rate, self.noise - f_low)
        return self.effect - down, self.effect + up

    @property
    def p_more(self) -> float:
        """One-sided exact p of "no more is lost than noise loses".

        Fisher's test against a measured floor, the binomial test against an assumed one. Takes the chances as
        independent; an item answered twice flips in one direction at most, which errs to the safe side.
        """
        if self.floor is None:
            return float(special.bdtrc(self.lost - 1, self.n, self.noise)) if self.lost else 1.0
        flips, chances = self.floor[0], 2 * self.floor[1]
        return float(stats.hypergeom.sf(self.lost - 1, self.n + chances, self.lost + flips, self.n))

    def n_to_decide(self, margin: float, alpha: float = ALPHA) -> int | None:
        """Items that would show the excess to be below the margin if the rate is the one seen; None when it is not.

        A floor is taken to grow with the items.
        """
        room = margin - self.effect
        if room <= 0:
            return None
        rate, z = self.lost / self.n, float(special.ndtri(1 - alpha))
        if self.lost == 0:
            return math.ceil(z * z * (1 - room) / room)
        spread = 1.0 if self.floor is None else 1 + self.n / (2 * self.floor[1])
        return math.ceil(spread * rate * (1 - rate) * ((z + float(special.ndtri(POWER))) / room) ** 2)


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
    def noise(self) -> float:
        """Share of the items that noise loses: as many as were won."""
        return self.gained / self.n

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
) -> "LossExcess | NetLoss":
    """Losses against a measured floor, else against a given flip rate, else by the direction of flips alone.

    Raises:
        ValueError: there is no item.
    """
    if n <= 0:
        raise ValueError("flips need at least one item")
    if floor is not None and floor[1] > 0:
        return LossExcess(lost, n, floor, floor[0] / floor[1])
    return NetLoss(lost, gained, n) if given is None else LossExcess(lost, n, None, given)


def _wilson(count: int, n: int, alpha: float) -> tuple[float, float]:
    found = share_interval(count, n, 1 - 2 * alpha)
    return (0.0, 1.0) if found is None else (found.low, found.high)
