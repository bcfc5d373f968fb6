"""Looking at a comparison before all of its items are answered, without more false claims than one look makes.

Group-sequential test with the spending function of Lan and DeMets (1983) of the O'Brien–Fleming type: after a share
t of the items, at most 2 − 2Φ(z(1 − α/2)/√t) of the level α is used up. What is claimed at a look are the bounds of
the repeated confidence interval (Jennison and Turnbull 1984), which hold at every look together. Assumes that the
items come in random order and that their mean is close to normal.
"""

import math
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from swiftkv_bench.schema.perf import Float

LOOKS = 10
"""Looks at equal shares of the items, the last at all of them."""

_GRID = 161
_REACH = 8.0
"""The statistic is followed to this many standard deviations."""


def spent(share: float, alpha: float) -> float:
    """Level used up once this share of the items is answered: O'Brien–Fleming type, `alpha` at 1."""
    if share >= 1:
        return alpha
    return float(2 * special.ndtr(special.ndtri(alpha / 2) / math.sqrt(share)))


def shares_looked_at(share: float, looks: int = LOOKS) -> tuple[float, ...]:
    """The shares at which a comparison that now holds `share` of its items was looked at, the present one last."""
    planned = [k / looks for k in range(1, looks) if k / looks < share - 0.5 / looks]
    return (*planned, min(1.0, share))


@lru_cache(maxsize=512)
def boundary(shares: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """Critical values of the standardised statistic at each look, one-sided; infinite where no level is left to use.

    Found look by look: the sub-density of the statistic not yet stopped is carried on by numerical integration
    (Armitage, McPherson and Rowe 1969).
    """
    values: list[float] = []
    points, mass = np.zeros(1), np.ones(1)
    used, before = 0.0, 0.0
    for share in shares:
        level, deviation = spent(share, alpha) - used, math.sqrt(share - before)
        critical = _critical(level, math.sqrt(share), deviation, points, mass)
        values.append(critical)
        used += level if math.isfinite(critical) else 0.0
        top = min(critical, _REACH) * math.sqrt(share)
        grid = np.linspace(-_REACH * math.sqrt(share), top, _GRID)
        density = (
            np.exp(-0.5 * ((grid[:, None] - points) / deviation) ** 2) @ mass / (deviation * math.sqrt(2 * math.pi))
        )
        points, mass, before = grid, density * _simpson(grid), share
    return tuple(values)


def _critical(level: float, root_share: float, deviation: float, points: Float, mass: Float) -> float:
    """Value that the statistic passes with probability `level` at this look, having stopped at none before."""

    def excess(z: float) -> float:
        return float(special.ndtr((points - z * root_share) / deviation) @ mass) - level

    if level < 1e-14 or excess(_REACH) > 0:
        return math.inf
    return float(optimize.brentq(excess, -_REACH, _REACH, xtol=1e-9))


def nominal_level(share: float, alpha: float, looks: int = LOOKS) -> float:
    """One-sided level of the bounds that may be claimed now, so that all looks together err with `alpha` at most."""
    return float(special.ndtr(-boundary(shares_looked_at(share, looks), alpha)[-1]))


def overall_level(p: float, share: float, looks: int = LOOKS) -> float:
    """What a p value of one look is worth over all looks: the smallest `alpha` at which this look would claim it."""
    low, high = 1e-9, 0.5
    if p <= nominal_level(share, low, looks):
        return low
    if p > nominal_level(share, high, looks):
        return 1.0
    found = optimize.brentq(
        lambda at: nominal_level(share, 10**at, looks) - p, math.log10(low), math.log10(high), xtol=2e-3
    )
    return float(10**found)


def _simpson(grid: Float) -> Float:
    """Weights of Simpson's rule on an odd number of equally spaced points."""
    weights = np.full(len(grid), 2.0)
    weights[1::2] = 4.0
    weights[0] = weights[-1] = 1.0
    return np.asarray(weights * (grid[1] - grid[0]) / 3, dtype=float)
