"""How often `accuracy --stop-when-decided` claims what is not so: simulated columns, the program's own verdicts.

A column has `items` 0/1 scores of two arms that flip at a given rate, with a true drop of exactly the margin, where
every PASS and every FAIL is a false claim, or of nothing, where the share that passes is the power. It is looked at
after each tenth and ends at its first verdict. Beside it, the same looks at plain 95 % bounds.

    python benchmarks/stopping_calibration.py
"""

from dataclasses import dataclass

import numpy as np

from swiftkv_bench.stats.intervals import share_interval
from swiftkv_bench.stats.items import ItemDelta, compare_items
from swiftkv_bench.stats.sequential import LOOKS
from swiftkv_bench.stats.verdicts import Verdict, non_inferiority, sequential_non_inferiority

COLUMNS = 2_000
"""Simulated columns of a kind."""


@dataclass(frozen=True)
class Kind:
    """What is simulated; shares of one."""

    items: int
    margin: float
    flips: float
    drop: float


def looks(kind: Kind, rng: np.random.Generator) -> list[tuple[float, ItemDelta]]:
    """(share of the items, difference) at each look at one column."""
    u = rng.random(kind.items)
    lost, flipped = (kind.flips + kind.drop) / 2, kind.flips
    reference = np.where((u >= lost) & (u < flipped), 0.0, 1.0)
    candidate = np.where(u < lost, 0.0, 1.0)
    ends = [round(k * kind.items / LOOKS) for k in range(1, LOOKS + 1)]
    return [(n / kind.items, compare_items(reference[:n], candidate[:n], ["column"] * n)) for n in ends]


def ended(kind: Kind, seen: list[tuple[float, ItemDelta]]) -> tuple[Verdict, float]:
    """The verdict of the column and the share of its items that it took."""
    for share, delta in seen:
        verdict = sequential_non_inferiority(delta, kind.margin, share).verdict
        if verdict is not Verdict.INCONCLUSIVE:
            return verdict, share
    return Verdict.INCONCLUSIVE, 1.0


def plain(kind: Kind, seen: list[tuple[float, ItemDelta]]) -> Verdict:
    """The first verdict of as many looks at plain bounds."""
    found = (non_inferiority(delta, kind.margin).verdict for _, delta in seen)
    return next((verdict for verdict in found if verdict is not Verdict.INCONCLUSIVE), Verdict.INCONCLUSIVE)


def main() -> None:
    """Prints a row a kind."""
    print("| items | margin | flips | true drop | PASS | FAIL | items asked | plain looks: PASS, FAIL |")
    print("|---|---|---|---|---|---|---|---|")
    shapes = [(1200, 0.025, 0.10), (1200, 0.025, 0.03), (400, 0.025, 0.06), (200, 0.03, 0.05)]
    kinds = [Kind(*shape, drop=shape[1]) for shape in shapes] + [Kind(*shapes[0], drop=0.0)]
    for seed, kind in enumerate(kinds):
        rng = np.random.default_rng(seed)
        columns = [looks(kind, rng) for _ in range(COLUMNS)]
        verdicts, shares = zip(*(ended(kind, seen) for seen in columns), strict=True)
        naive = [plain(kind, seen) for seen in columns]
        cells = [f"{kind.items:,}", f"{kind.margin:.1%}", f"{kind.flips:.0%}", f"{kind.drop:.1%}"]
        cells += [_rate(verdicts.count(v)) for v in (Verdict.PASS, Verdict.FAIL)]
        cells += [f"{np.mean(shares):.0%}"]
        cells += [", ".join(f"{naive.count(v) / COLUMNS:.1%}" for v in (Verdict.PASS, Verdict.FAIL))]
        print("| " + " | ".join(cells) + " |", flush=True)


def _rate(count: int) -> str:
    found = share_interval(count, COLUMNS)
    ends = "" if found is None else f" [{found.low * 100:.1f}, {found.high * 100:.1f}]"
    return f"{count / COLUMNS:.1%}{ends}"


if __name__ == "__main__":
    main()
