"""How often `accuracy --stop-when-decided` claims what is not so: simulated columns, judged by the program itself.

A column is one of seven generated ones of a report. Its `items` 0/1 scores of two arms flip at a given rate, with a
true drop of exactly the margin, where every PASS and every FAIL is a false claim; of nothing, where every FAIL is one
and the share that passes is the power; or of three times the margin, where every PASS is one. It is looked at after
each tenth and ends as `accuracy` ends it. Beside it, the same looks at plain 95 % bounds, as if each were the only one.

    python benchmarks/stopping_calibration.py [--columns 1000]
"""

import argparse
from dataclasses import dataclass

import numpy as np

from swiftkv_bench.judge.differences import measured
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.judge.stopping import verdicts_now
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Float
from swiftkv_bench.stats.intervals import share_interval
from swiftkv_bench.stats.items import ALPHA, compare_items
from swiftkv_bench.stats.sequential import LOOKS

COLUMNS = 7
ARMS: tuple[Arm, ...] = ("baseline", "swiftkv")


@dataclass(frozen=True)
class Kind:
    """What is simulated; shares of one."""

    items: int
    margin: float
    flips: float
    drop: float

    @property
    def plan(self) -> AccuracyPlan:
        """The report that the column is of."""
        columns = tuple(
            Column(name=f"c{k}", title=f"C{k}", task=f"c{k}", file="simulated", metric="acc", num_fewshot=0,
                   chat_template=False, documents=self.items, margin=self.margin)
            for k in range(COLUMNS)
        )  # fmt: skip
        return AccuracyPlan(suite="s", suite_hash="h", columns=columns, arms=ARMS, seed=0, stop_when_decided=True)


def scores(kind: Kind, rng: np.random.Generator) -> tuple[Float, Float]:
    """Answers of the baseline and of the candidate, in the order in which they are asked."""
    u = rng.random(kind.items)
    lost, flipped = (kind.flips + kind.drop) / 2, kind.flips
    return np.where((u >= lost) & (u < flipped), 0.0, 1.0), np.where(u < lost, 0.0, 1.0)


def ended(kind: Kind, plan: AccuracyPlan, sides: tuple[Float, Float]) -> tuple[Verdict, float]:
    """The verdict of the column and the share of its items that it took."""
    for n in (round(k * kind.items / LOOKS) for k in range(1, LOOKS + 1)):
        asked = {
            (arm, 0): {("c0", i): float(x) for i, x in enumerate(of_arm[:n])}
            for arm, of_arm in zip(ARMS, sides, strict=True)
        }
        [verdict] = verdicts_now(plan, plan.columns[0], asked)
        if verdict is not Verdict.INCONCLUSIVE:
            return verdict, n / kind.items
    return Verdict.INCONCLUSIVE, 1.0


def plain(kind: Kind, sides: tuple[Float, Float]) -> Verdict:
    """The first claim of as many looks at plain bounds."""
    for n in (round(k * kind.items / LOOKS) for k in range(1, LOOKS + 1)):
        found = measured(compare_items(sides[0][:n], sides[1][:n], ["c0"] * n), kind.margin, ALPHA)
        if found.low is not None and found.low > -kind.margin:
            return Verdict.PASS
        if found.high is not None and found.high < -kind.margin:
            return Verdict.FAIL
    return Verdict.INCONCLUSIVE


def main() -> None:
    """Prints a row a kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=1000, help="simulated columns of a kind")
    count = parser.parse_args().columns
    print("| items | margin | flips | true drop | PASS | FAIL | items asked | plain looks: PASS, FAIL |")
    print("|---|---|---|---|---|---|---|---|")
    shapes = [(1200, 0.025, 0.10), (1200, 0.025, 0.03), (400, 0.025, 0.06), (200, 0.03, 0.05)]
    kinds = [Kind(n, margin, max(flips, k * margin), k * margin) for k in (1, 0, 3) for n, margin, flips in shapes]
    for seed, kind in enumerate(kinds):
        rng, plan = np.random.default_rng(seed), kind.plan
        columns = [scores(kind, rng) for _ in range(count)]
        verdicts, shares = zip(*(ended(kind, plan, sides) for sides in columns), strict=True)
        naive = [plain(kind, sides) for sides in columns]
        cells = [f"{kind.items:,}", f"{kind.margin:.1%}", f"{kind.flips:.1%}", f"{kind.drop:.1%}"]
        cells += [_rate(verdicts.count(v), count) for v in (Verdict.PASS, Verdict.FAIL)]
        cells += [f"{np.mean(shares):.0%}"]
        cells += [", ".join(f"{naive.count(v) / count:.1%}" for v in (Verdict.PASS, Verdict.FAIL))]
        print("| " + " | ".join(cells) + " |", flush=True)


def _rate(count: int, of: int) -> str:
    found = share_interval(count, of)
    ends = "" if found is None else f" [{found.low * 100:.1f}, {found.high * 100:.1f}]"
    return f"{count / of:.1%}{ends}"


if __name__ == "__main__":
    main()
