"""One accuracy column on two sides: the items that both answered, and what noise and coverage allow to claim."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swiftkv_bench.analysis.coverage import Coverage, coverage, missing_items, no_data
from swiftkv_bench.checks import Finding, check_chance, check_margin
from swiftkv_bench.errors import IncomparableError, InputError
from swiftkv_bench.regression.evidence import Answers, Evidence, Key
from swiftkv_bench.regression.pairs import Pair
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, ColumnStatus
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Float
from swiftkv_bench.stats.items import ItemDelta, compare_items, score
from swiftkv_bench.stats.missing import Missing

_PRINTS = ("document", "prompt", "target")


@dataclass(frozen=True)
class ColumnPair:
    """One column of a pair: the items that both sides answered, in the same order.

    Attributes:
        floor: (flips, items) between two answers of the original model; None when there are none.
        noise: half-width of the difference between those two, share of one, where it is no less than the margin.
        withheld: why a PASS cannot be claimed; None when it can.
        missing: items that both sides were to answer and one did not; claims hold whatever they would have scored.
        cut_short: why there are such items, for print; None when there are none.
        looked_share: share of the planned items, where the column ended early on verdicts of this very pair.
    """

    column: Column
    reference: Answers
    candidate: Answers
    delta: ItemDelta
    margin: float
    floor: tuple[int, int] | None
    noise: float | None
    withheld: str | None
    missing: Missing | None
    cut_short: str | None
    looked_share: float | None

    @property
    def flipped(self) -> list[tuple[Key, float, float]]:
        """(item, reference's score, candidate's score) of every item whose score differs."""
        ours, theirs = self.candidate.score, self.reference.score
        return [(self.candidate.keys[i], float(theirs[i]), float(ours[i])) for i in np.flatnonzero(theirs != ours)]


def column_pair(pair: Pair, column: Column, plan: AccuracyPlan, margin: float) -> ColumnPair | None:
    """The column's common items; None when a side did not answer it.

    Raises:
        IncomparableError: an item has another document, prompt or target on the other side.
        InputError: the sides answered different items only.
    """
    reference = pair.reference.answers.get((column.name, pair.reference_arm, 0))
    candidate = pair.candidate.answers.get((column.name, pair.candidate_arm, 0))
    if reference is None or candidate is None:
        return None
    rows = _common(column.name, pair, reference, candidate)
    ours, theirs = candidate.at([j for _, j in rows]), reference.at([i for i, _ in rows])
    delta = compare_items(theirs.score, ours.score, [task for task, _ in ours.keys], column.weight_by, seed=plan.seed)
    noise = _noise(column.name, pair)
    beyond = None if noise is None else check_margin(column.name, noise, margin)
    sides = [
        (_coverage(column, side, arm, answers), dict(zip(answers.keys, answers.score.tolist(), strict=True)))
        for side, arm, answers in (
            (pair.reference, pair.reference_arm, reference),
            (pair.candidate, pair.candidate_arm, candidate),
        )
    ]
    missing = missing_items(column, *sides)
    interval = None if noise is None or beyond is None else noise.interval
    return ColumnPair(
        column=column,
        reference=theirs,
        candidate=ours,
        delta=delta,
        margin=margin,
        floor=_floor(column.name, pair),
        noise=None if interval is None else interval.half_width,
        withheld=_withheld(column, theirs, ours, beyond),
        missing=missing,
        cut_short=None if missing is None else _cut_short(missing.n, len(rows), [one for one, _ in sides]),
        looked_share=_looked_share(column, pair, plan, len(rows)),
    )


def who_lacks(pair: Pair, column: Column) -> str | None:
    """`the candidate has no answer`, for a column that lacks a side; None where its data were at hand for neither."""
    sides = ((pair.reference, pair.reference_arm), (pair.candidate, pair.candidate_arm))
    empty = [(column.name, arm, 0) not in side.answers for side, arm in sides]
    if all(empty):
        states = [coverage(column, (arm, 0), 0, side.manifest, side.statuses) for side, arm in sides]
        return None if all(no_data(one.state, one.reason) for one in states) else "neither side has an answer"
    return "the reference has no answer" if empty[0] else "the candidate has no answer"


def _common(column: str, pair: Pair, reference: Answers, candidate: Answers) -> list[tuple[int, int]]:
    """Rows of the items that both answered.

    Raises:
        IncomparableError, InputError: as `column_pair`.
    """
    at = {key: i for i, key in enumerate(reference.keys)}
    rows = [(at[key], j) for j, key in enumerate(candidate.keys) if key in at]
    labels = f"{pair.reference.side.label} and {pair.candidate.side.label}"
    if not rows:
        raise InputError(
            f"{labels} answered no common item of {column} ({len(reference):,} and {len(candidate):,} items); run both "
            "with the same --seed and --limit"
        )
    index = np.array(rows)
    differs = reference.prints[index[:, 0]] != candidate.prints[index[:, 1]]
    if differs.any():
        first, which = (int(x) for x in np.argwhere(differs)[0])
        task, doc_id = candidate.keys[int(index[first, 1])]
        count = int(differs.any(axis=1).sum())
        raise IncomparableError(
            f"{_PRINTS[which]}_hash",
            f"{column}: {count:,} of {len(rows):,} items have another {_PRINTS[which]} in {labels} (first: "
            f"{task}/{doc_id}), so scores do not pair; answer both with the same suite, data and tokenizer",
        )
    return rows


def _floor(column: str, pair: Pair) -> tuple[int, int] | None:
    """(flips, items) of the original model against itself, in both runs together where both answered twice.

    Flips between the sides hold the noise of either, so that the mean of both rates is what noise alone makes.
    """
    flips = n = 0
    runs = {side.manifest.run_id: side for side in (pair.reference, pair.candidate)}
    for side in runs.values():
        first, second = (side.answers.get((column, "baseline", repeat)) for repeat in (0, 1))
        if first is not None and second is not None and _binary(first.score) and _binary(second.score):
            again = {key: float(second.score[i]) for i, key in enumerate(second.keys)}
            both = [(float(first.score[i]), again[key]) for i, key in enumerate(first.keys) if key in again]
            flips, n = flips + sum(a != b for a, b in both), n + len(both)
    return (flips, n) if n else None


def _noise(column: str, pair: Pair) -> ItemDelta | None:
    for side in (pair.reference, pair.candidate):
        first, second = (side.answers.get((column, "baseline", repeat)) for repeat in (0, 1))
        if first is not None and second is not None and first.keys == second.keys:
            return compare_items(first.score, second.score, [task for task, _ in first.keys])
    return None


def _coverage(column: Column, side: Evidence, arm: Arm, answers: Answers) -> Coverage:
    return coverage(column, (arm, 0), len(answers), side.manifest, side.statuses)


def _cut_short(missing: int, n: int, sides: Sequence[Coverage]) -> str:
    names = ("the reference", "the candidate")
    why = [f"{name}: {one.reason}" for name, one in zip(names, sides, strict=True) if one.state == "incomplete"]
    return f"{missing:,} of {missing + n:,} items have no answer and might turn the verdict ({'; '.join(why)})"


def _withheld(column: Column, reference: Answers, candidate: Answers, beyond: Finding | None) -> str | None:
    """Why a PASS cannot be claimed on the column."""
    if beyond is not None:
        return beyond.message
    sides = (reference, candidate)
    scores = [score(side.score, [task for task, _ in side.keys], column.weight_by) for side in sides]
    chance = check_chance(column.name, column.chance, scores)
    if chance is not None:
        return chance.message
    return None


def _looked_share(column: Column, pair: Pair, plan: AccuracyPlan, n: int) -> float | None:
    """Two runs never looked at each other's answers, so only arms of one run share a stopping rule."""
    if pair.reference.manifest.run_id != pair.candidate.manifest.run_id:
        return None
    states = [_status(pair.candidate, arm, column) for arm in (pair.reference_arm, pair.candidate_arm)]
    if not any(state is not None and state.status == "ended early" for state in states):
        return None
    return min(1.0, n / plan.planned(column))


def _status(side: Evidence, arm: Arm, column: Column) -> ColumnStatus | None:
    return next((s for s in side.statuses if (s.column, s.arm, s.repeat) == (column.name, arm, 0)), None)


def _binary(values: Float) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())
