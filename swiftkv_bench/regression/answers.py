"""Lines of what answers did: right ones lost beyond noise; unparsed and unfinished answers."""

from collections.abc import Iterator, Sequence
from typing import Literal

from swiftkv_bench.regression.claims import accuracy_line
from swiftkv_bench.regression.columns import ColumnPair
from swiftkv_bench.regression.comparison import Bounds, Flips, Line, Role
from swiftkv_bench.regression.pairs import Pair
from swiftkv_bench.regression.policy import Policy
from swiftkv_bench.stats.flips import LossExcess, NetLoss, flip_test
from swiftkv_bench.stats.items import compare_items
from swiftkv_bench.stats.verdicts import Verdict, non_inferiority


def flip_line(pair: Pair, where: str, title: str, flips: Flips, policy: Policy) -> Line:
    """More right answers lost than noise loses? Without a known noise rate: more lost than won?"""
    floor = None if flips.floor_n is None or flips.floor_flips is None else (flips.floor_flips, flips.floor_n)
    found = flip_test(flips.lost, flips.gained, flips.n, floor, policy.accuracy.flip_floor)
    margin, (low, high) = policy.accuracy.flip_margin, found.bounds(policy.alpha)
    if found.p_more <= policy.alpha and found.effect > margin:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.PASS if high < margin else Verdict.INCONCLUSIVE
    line = accuracy_line(pair, "flips", "flips", where, title, margin=margin, n=flips.n, worse="higher")
    return line.model_copy(
        update={
            "role": _role(pair),
            "reference_value": found.noise,
            "candidate_value": flips.lost / flips.n,
            "effect": found.effect,
            "bounds": Bounds(low=low, high=high, method=found.method),
            "p_fail": found.p_more,
            "verdict": verdict,
            "n_to_decide": found.n_to_decide(margin, policy.alpha) if verdict is Verdict.INCONCLUSIVE else None,
            "flips": flips,
        }
    )


def all_flips_line(pair: Pair, columns: Sequence[ColumnPair], policy: Policy) -> Iterator[Line]:
    """Flips of all columns together; the floor is measured only where every column has one."""
    counted = [(found, c.floor) for c in columns if (found := column_flips(c, policy)) is not None]
    if len(counted) < 2:
        return
    floors = [floor for _, floor in counted if floor is not None]
    floor = (sum(f for f, _ in floors), sum(n for _, n in floors)) if len(floors) == len(counted) else None
    n, lost, gained = (sum(getattr(found, name) for found, _ in counted) for name in ("n", "lost", "gained"))
    excess = flip_test(lost, gained, n, floor, policy.accuracy.flip_floor)
    yield flip_line(pair, "all columns", "flips of all columns", _flips(n, lost, gained, None, excess), policy)


def column_flips(found: ColumnPair, policy: Policy) -> Flips | None:
    """Flips of a column; None for continuous scores."""
    d = found.delta
    if d.lost is None or d.gained is None:
        return None
    excess = flip_test(d.lost, d.gained, d.n, found.floor, policy.accuracy.flip_floor)
    return _flips(d.n, d.lost, d.gained, d.mcnemar_p, excess)


def unanswered_line(pair: Pair, found: ColumnPair, metric: Literal["unparsed", "unfinished"], policy: Policy) -> Line:
    """Rise of unparsed or unfinished answers on the same items."""
    before, after = (getattr(side, metric).astype(float) for side in (found.reference, found.candidate))
    delta = compare_items(1 - before, 1 - after, [found.column.name] * len(before))
    margin = policy.accuracy.unanswered_margin
    verdict = non_inferiority(delta, margin, policy.alpha)
    title = f"{found.column.title} {metric} answers"
    line = accuracy_line(pair, "answers", metric, found.column.name, title, margin=margin, n=delta.n, worse="higher")
    bounds = None
    if verdict.low is not None and verdict.high is not None:
        bounds = Bounds(low=-verdict.high, high=-verdict.low, method="paired score interval (Tango)")
    return line.model_copy(
        update={
            "role": _role(pair),
            "reference_value": float(before.mean()),
            "candidate_value": float(after.mean()),
            "effect": -delta.delta,
            "bounds": bounds,
            "p_fail": verdict.p_fail,
            "verdict": verdict.verdict,
            "n_to_decide": verdict.n_to_decide,
        }
    )


def _role(pair: Pair) -> Role:
    return "guard" if pair.role == "primary" else pair.role


def _flips(n: int, lost: int, gained: int, p: float | None, excess: LossExcess | NetLoss) -> Flips:
    floor = excess.floor
    return Flips(
        n=n, lost=lost, gained=gained, mcnemar_p=p,
        floor_flips=None if floor is None else floor[0],
        floor_n=None if floor is None else floor[1],
        floor_rate=excess.floor_rate,
    )  # fmt: skip
