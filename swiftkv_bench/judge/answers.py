"""Claims about what answers did: right ones lost beyond noise; unparsed and unfinished answers.

They are claims about the answered items: a defect among them is one, its absence says nothing of items without an
answer, so that such a column can FAIL here and not PASS.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from swiftkv_bench.evidence.answers import Answers, common_rows
from swiftkv_bench.judge.columns import ColumnPair
from swiftkv_bench.judge.differences import level, over_looks
from swiftkv_bench.judge.lines import Claim, Draft, Family, Flips, Measured
from swiftkv_bench.judge.pairs import Pair
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.stats.flips import LossExcess, NetLoss, flip_test
from swiftkv_bench.stats.items import ItemDelta, compare_items


def _claim(pair: Pair, family: Family, metric: str, where: str, title: str, margin: float, *, strict: bool) -> Claim:
    return Claim(
        "accuracy", family, pair.guard, metric, title, where, pair.kind, pair.reference_arm, pair.candidate_arm,
        "difference", "higher", margin, strict=strict,
    )  # fmt: skip


def flip_claims(pair: Pair, found: ColumnPair, policy: Policy) -> Iterator[Draft]:
    """Right answers lost beyond noise; of scores that are not 0 or 1, changes beyond those of two baseline answers."""
    flips = column_flips(found, policy)
    claim = _claim(
        pair, "flips", "flips", found.column.name, f"{found.column.title} flips", policy.accuracy.flip_margin,
        strict=False,
    )  # fmt: skip
    if flips is not None:
        yield Draft(claim, _lost(flips, found.floor, policy, found.share, found.cut_short))
    elif found.again is not None and found.column.measure.is_mean:
        yield _changed(pair, found, found.again, policy)


def _changed(pair: Pair, found: ColumnPair, again: tuple[Answers, Answers], policy: Policy) -> Draft:
    """By how much more scores change than between two answers of the baseline, item by item."""
    left, right = common_rows(found.reference, again[0])
    ours = np.abs(found.candidate.score - found.reference.score)[left]
    noise = np.abs(again[1].score - again[0].score)[right]
    title = f"{found.column.title} changes"
    claim = _claim(pair, "flips", "changes", found.column.name, title, found.column.margin, strict=True)
    if not len(left):
        return Draft(claim, Measured(why_open="no item was answered twice by the baseline"))
    delta = compare_items(ours, noise, [found.reference.tasks[i] for i in left])
    return Draft(claim, _rise(delta, float(noise.mean()), float(ours.mean()), found, policy, claim.margin))


def column_flips(found: ColumnPair, policy: Policy) -> Flips | None:
    """Flips of a column; None for scores that are not 0 or 1."""
    d = found.delta
    if d.lost is None or d.gained is None:
        return None
    excess = flip_test(d.lost, d.gained, d.n, found.floor, policy.accuracy.flip_floor)
    return _flips(d.n, d.lost, d.gained, d.mcnemar_p, excess)


def all_flips(pair: Pair, columns: Sequence[ColumnPair], policy: Policy) -> Iterator[Draft]:
    """Flips of all columns together; the floor is measured only where every column has one."""
    counted = [(flips, c) for c in columns if (flips := column_flips(c, policy)) is not None]
    if len(counted) < 2:
        return
    floors = [c.floor for _, c in counted if c.floor is not None]
    floor = (sum(f for f, _ in floors), sum(n for _, n in floors)) if len(floors) == len(counted) else None
    n, lost, gained = (sum(getattr(flips, name) for flips, _ in counted) for name in ("n", "lost", "gained"))
    excess = flip_test(lost, gained, n, floor, policy.accuracy.flip_floor)
    cut = next((c.cut_short for _, c in counted if c.cut_short is not None), None)
    early = next((f"{c.column.title} ended early" for _, c in counted if c.ended_early), None)
    claim = _claim(pair, "flips", "flips", "all columns", "flips of all columns",
                   policy.accuracy.flip_margin, strict=False)  # fmt: skip
    yield Draft(claim, _lost(_flips(n, lost, gained, None, excess), floor, policy, None, cut or early, early))


def _lost(
    flips: Flips, floor: tuple[int, int] | None, policy: Policy, share: float | None, no_pass: str | None,
    no_fail: str | None = None,
) -> Measured:  # fmt: skip
    """More right answers lost than noise loses? Without a known noise rate: more lost than won?"""
    found = flip_test(flips.lost, flips.gained, flips.n, floor, policy.accuracy.flip_floor)
    low, high = found.bounds(level(policy.alpha, share))
    margin = policy.accuracy.flip_margin
    return Measured(
        effect=found.effect, low=low, high=high, method=found.method, n=flips.n,
        p_fail=over_looks(found.p_more, share),
        reference_value=found.noise, candidate_value=flips.lost / flips.n, flips=flips, no_pass=no_pass,
        no_fail=no_fail, needed=lambda alpha: found.n_to_decide(margin, alpha),
    )  # fmt: skip


def unanswered(pair: Pair, found: ColumnPair, metric: Literal["unparsed", "unfinished"], policy: Policy) -> Draft:
    """Rise of unparsed or unfinished answers on the same items."""
    before, after = (getattr(side, metric).astype(float) for side in (found.reference, found.candidate))
    delta = compare_items(1 - before, 1 - after, ["answers"] * len(before))
    margin = policy.accuracy.unanswered_margin
    title = f"{found.column.title} {metric} answers"
    claim = _claim(pair, "answers", metric, found.column.name, title, margin, strict=True)
    return Draft(claim, _rise(delta, float(np.mean(before)), float(np.mean(after)), found, policy, margin))


def _rise(delta: ItemDelta, before: float, after: float, found: ColumnPair, policy: Policy, margin: float) -> Measured:
    """Of something that should not rise; `delta` is what it fell by."""
    ends, p = delta.bound(level(policy.alpha, found.share)), delta.p_at_most(-margin)
    return Measured(
        effect=-delta.delta, low=None if ends is None else -ends[1], high=None if ends is None else -ends[0],
        method="" if ends is None else delta.method, n=delta.n,
        p_fail=over_looks(p, found.share), reference_value=before, candidate_value=after, no_pass=found.cut_short,
        why_open="one independent item has no standard error" if ends is None else None,
    )  # fmt: skip


def _flips(n: int, lost: int, gained: int, p: float | None, excess: LossExcess | NetLoss) -> Flips:
    floor = excess.floor
    return Flips(
        n=n, lost=lost, gained=gained, mcnemar_p=p,
        floor_flips=None if floor is None else floor[0],
        floor_n=None if floor is None else floor[1],
        floor_rate=excess.floor_rate,
    )  # fmt: skip
