"""One accuracy column on two sides: the items that both answered, their difference, and the rules that forbid a word.

Differences are of scores of which more is better; a column whose metric is better when lower is turned round here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from swiftkv_bench.checks import Finding, check_chance
from swiftkv_bench.errors import IncomparableError
from swiftkv_bench.evidence.answers import PRINTS, Answers, Key, common_rows
from swiftkv_bench.evidence.coverage import Coverage, coverage, missing_items, no_data
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.pairs import Pair
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.schema.perf import Float
from swiftkv_bench.stats.intervals import Interval
from swiftkv_bench.stats.items import ItemDelta, Score, compare_aggregates, compare_items, item_weights, score
from swiftkv_bench.stats.missing import Missing
from swiftkv_bench.stats.sequential import nominal_level


@dataclass(frozen=True)
class ColumnPair:
    """One column of a pair: the items that both sides answered, in the same order.

    Attributes:
        delta: of scores of which more is better.
        floor: (flips, items) between two answers of the original model; None when there are none.
        noise: difference of those two; None when there are none.
        again: the original model's answers and its second ones, of the same items; None when there are none.
        guessed: why the column says nothing of quality; None when it does.
        missing: items that both sides were to answer and one did not; claims hold whatever they would have scored.
        cut_short: why there are such items, for print; None when there are none.
        share: of the planned items, where the column is looked at before its end; None where it is not.
    """

    column: Column
    reference: Answers
    candidate: Answers
    delta: ItemDelta
    floor: tuple[int, int] | None
    noise: ItemDelta | None
    again: tuple[Answers, Answers] | None
    guessed: str | None
    missing: Missing | None
    cut_short: str | None
    share: float | None
    ended_early: bool

    @property
    def sign(self) -> int:
        """−1 where a lower figure is better."""
        return sign(self.column)

    @property
    def means(self) -> tuple[float, float]:
        """The reference's and the candidate's figure on the common items."""
        found = [figure_of(self.column, side) for side in (self.reference, self.candidate)]
        return found[0], found[1]

    @property
    def interval(self) -> Interval | None:
        """Two-sided 95 % of candidate − reference, in the metric's direction."""
        return turned(self.delta.interval, self.sign)

    @property
    def flipped(self) -> list[tuple[Key, float, float]]:
        """(item, reference's score, candidate's score) of every item whose score differs."""
        ours, theirs = self.candidate.score, self.reference.score
        return [(self.candidate.keys[i], float(theirs[i]), float(ours[i])) for i in np.flatnonzero(theirs != ours)]


@dataclass(frozen=True)
class ColumnSide:
    """One side of a column: its answers and how much of the column they are."""

    answers: Answers
    coverage: Coverage


def sign(column: Column) -> int:
    """−1 where a lower figure is better."""
    return 1 if column.measure.higher_is_better else -1


def turned(interval: Interval | None, way: int) -> Interval | None:
    """The interval of a difference in the metric's own direction."""
    if interval is None or way == 1:
        return interval
    return replace(interval, low=-interval.high, high=-interval.low)


def figure_of(column: Column, answers: Answers) -> float:
    """The column's figure over these answers."""
    if not column.measure.is_mean:
        return answers.aggregate(column.measure.aggregation)
    if column.weight_by == "item":
        return float(answers.score.mean())
    return float(item_weights(answers.tasks, column.weight_by) @ answers.score)


def better_scores(column: Column, answers: Answers) -> Float:
    """Scores of which more is better; 0/1 scores stay 0/1."""
    return answers.score if column.measure.higher_is_better else 1 - answers.score


def guessing(column: Column, sides: Sequence[Answers]) -> Finding | None:
    """That no side is better than guessing, where the column's figure is a mean of shares; None when one is."""
    if not (column.measure.is_mean and column.measure.is_share):
        return None
    scores = [_better_score(column, side) for side in sides if len(side)]
    return check_chance(column.name, _chance(column), scores)


def _chance(column: Column) -> float | None:
    """What guessing scores where more is better."""
    return column.chance if column.chance is None or column.measure.higher_is_better else 1 - column.chance


def _better_score(column: Column, answers: Answers) -> Score:
    return score(better_scores(column, answers), answers.tasks, column.weight_by)


def _better_by_key(column: Column, answers: Answers) -> dict[Key, float]:
    return dict(zip(answers.keys, better_scores(column, answers).tolist(), strict=True))


def column_pair(pair: Pair, column: Column, plan: AccuracyPlan) -> ColumnPair | None:
    """The column's common items; None when a side did not answer it or they share none.

    Raises:
        IncomparableError: an item has another document, prompt or target on the other side.
    """
    sides = []
    for side, arm in pair.sides:
        answers = side.answers.get((column.name, arm, 0))
        if answers is None or not len(answers):
            return None
        sides.append(ColumnSide(answers, coverage(column, (arm, 0), len(answers), side.manifest, side.statuses)))
    runs = {side.manifest.run_id: side for side in (pair.reference, pair.candidate)}
    twice = [found for side in runs.values() if (found := _twice(side, column)) is not None]
    labels = f"{pair.reference.side.label} and {pair.candidate.side.label}"
    plans = [side.manifest.plan.accuracy for side in runs.values()]
    looked = any(one is not None and one.stop_when_decided for one in plans)
    return compared_column(column, plan, sides[0], sides[1], twice, labels, looked=looked)


def compared_column(
    column: Column, plan: AccuracyPlan, reference: ColumnSide, candidate: ColumnSide,
    twice: Sequence[tuple[ColumnSide, ColumnSide]], labels: str, *, looked: bool,
) -> ColumnPair | None:  # fmt: skip
    """Two sides of a column; None when they share no item.

    Args:
        twice: answers of the original model and its second ones, of each run that has them.
        looked: the column was looked at after each tenth of its items.

    Raises:
        IncomparableError: as `column_pair`.
    """
    left, right = common_rows(reference.answers, candidate.answers)
    if not len(left):
        return None
    theirs, ours = reference.answers.at(left), candidate.answers.at(right)
    _same_items(column.name, labels, theirs, ours)
    delta = difference(column, theirs, ours, plan.seed)
    sides = (reference, candidate)
    missing = missing_items(column, *((one.coverage, _better_by_key(column, one.answers)) for one in sides))
    if missing is not None and not (column.measure.is_mean and column.measure.is_share):
        missing = Missing(missing.n, 1.0, -math.inf, math.inf)
    share = min(1.0, len(left) / plan.planned(column)) if looked else None
    floor, again = _again(twice)
    return ColumnPair(
        column=column,
        reference=theirs,
        candidate=ours,
        delta=delta if share is None else replace(delta, tail=nominal_level(share, delta.tail)),
        floor=floor,
        noise=None if again is None else difference(column, *again, plan.seed),
        again=again,
        guessed=_guessed(column, theirs, ours),
        missing=missing,
        cut_short=None if missing is None else _cut_short(missing.n, len(left), [one.coverage for one in sides]),
        share=share,
        ended_early=looked and any(one.coverage.state == "ended early" for one in sides),
    )


def difference(column: Column, reference: Answers, candidate: Answers, seed: int) -> ItemDelta:
    """candidate − reference on the same items, of figures of which more is better."""
    measure, ends = column.measure, (column.measure.low, column.measure.high)
    span = None if ends[0] is None or ends[1] is None else ends[1] - ends[0]
    if not measure.is_mean:
        clusters = candidate.clusters if candidate.clusters is not None else candidate.prints[:, 0]
        return compare_aggregates(
            measure.aggregation, reference.parts, candidate.parts, better=sign(column), clusters=clusters, seed=seed,
            span=span,
        )  # fmt: skip
    return compare_items(
        better_scores(column, reference), better_scores(column, candidate), candidate.tasks, column.weight_by,
        seed=seed, clusters=candidate.clusters, documents=candidate.prints[:, 0], span=span,
    )  # fmt: skip


def who_lacks(pair: Pair, column: Column) -> str | None:
    """`the candidate has no answer to this column`; None where its data were at hand for neither."""
    counts = [len(side.answers.get((column.name, arm, 0), ())) for side, arm in pair.sides]
    if all(counts):
        return f"the sides answered no common item ({counts[0]:,} and {counts[1]:,}); give both the same --seed"
    if any(counts):
        return f"the {'candidate' if counts[0] else 'reference'} has no answer to this column"
    states = [coverage(column, (arm, 0), 0, side.manifest, side.statuses) for side, arm in pair.sides]
    if all(no_data(one.state, one.reason) for one in states):
        return None
    return "neither side has an answer to this column"


def _same_items(column: str, labels: str, reference: Answers, candidate: Answers) -> None:
    """Raises: IncomparableError: as `column_pair`."""
    differs = reference.prints != candidate.prints
    if not differs.any():
        return
    first, which = (int(x) for x in np.argwhere(differs)[0])
    task, doc_id = candidate.keys[first]
    count = int(differs.any(axis=1).sum())
    raise IncomparableError(
        f"{PRINTS[which]}_hash",
        f"{column}: {count:,} of {len(differs):,} items have another {PRINTS[which]} in {labels} (first: "
        f"{task}/{doc_id}), so scores do not pair; answer both with the same suite, data and tokenizer",
    )


def _twice(side: Evidence, column: Column) -> tuple[ColumnSide, ColumnSide] | None:
    """The original model's answers of a run, and its second ones; None without both."""
    found = []
    for repeat in (0, 1):
        answers = side.answers.get((column.name, "baseline", repeat))
        if answers is None:
            return None
        reached = coverage(column, ("baseline", repeat), len(answers), side.manifest, side.statuses)
        found.append(ColumnSide(answers, reached))
    return found[0], found[1]


def _again(
    twice: Sequence[tuple[ColumnSide, ColumnSide]],
) -> tuple[tuple[int, int] | None, tuple[Answers, Answers] | None]:
    """What the original model does against itself: (flips, items) in all runs together, and the first run's answers.

    Flips between the sides hold the noise of either, so that the mean of both rates is what noise alone makes. Answers
    that were cut short give no rate: those that are missing might be the quiet ones.
    """
    flips = n = 0
    again: tuple[Answers, Answers] | None = None
    for one, other in twice:
        left, right = common_rows(one.answers, other.answers)
        if len(left):
            first, second = one.answers.at(left), other.answers.at(right)
            again = again or (first, second)
            whole = all(side.coverage.state != "incomplete" for side in (one, other))
            if whole and all(np.isin(side.score, (0.0, 1.0)).all() for side in (first, second)):
                flips, n = flips + int((first.score != second.score).sum()), n + len(left)
    return ((flips, n) if n else None), again


def _guessed(column: Column, reference: Answers, candidate: Answers) -> str | None:
    """The rule of chance level: no side is better than guessing, and the candidate is not far below it either.

    Two models that guess cannot lose quality. One that answers clearly worse than guessing is broken, whatever the
    other knows.
    """
    found, chance = guessing(column, (reference, candidate)), _chance(column)
    if found is None:
        return None
    ours = _better_score(column, candidate).interval
    broken = chance is not None and ours is not None and ours.high < chance - column.margin
    return None if broken else found.message


def _cut_short(missing: int, n: int, sides: Sequence[Coverage]) -> str:
    names = ("the reference", "the candidate")
    why = [f"{name}: {one.reason}" for name, one in zip(names, sides, strict=True) if one.state == "incomplete"]
    return f"{missing:,} of {missing + n:,} items have no answer and might turn the verdict ({'; '.join(why)})"
