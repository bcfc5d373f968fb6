"""When a column may end early: every verdict that its arms allow is reached, with all looks counted."""

from collections.abc import Mapping

import numpy as np

from swiftkv_bench.accuracy.looks import Decide, Scores
from swiftkv_bench.analysis.values import SIDES, ComparisonKind
from swiftkv_bench.checks import check_chance
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.stats.items import ALPHA, Score, compare_items, score
from swiftkv_bench.stats.verdicts import Verdict, sequential_non_inferiority

DECIDING: tuple[ComparisonKind, ...] = ("total", "model", "engine")


def decider(plan: AccuracyPlan) -> Decide:
    """What `run_accuracy` asks after each part of a column."""
    columns = {column.name: column for column in plan.columns}
    return lambda name, scores: is_decided(plan, columns[name], scores)


def is_decided(plan: AccuracyPlan, column: Column, scores: Scores) -> bool:
    """Whether more items could change no verdict of the column.

    PASS counts at the level of one column, since all must pass. FAIL counts at that level divided by the number of
    columns, so that it stands after Holm's correction. Models that guess are never decided.
    """
    verdicts = []
    for kind in DECIDING:
        reference, candidate = (scores.get(side) for side in SIDES[kind])
        if reference and candidate:
            verdicts.append(_is_reached(plan, column, reference, candidate))
    if not verdicts or not all(verdicts):
        return False
    known = [_mean(column, of_arm) for of_arm in scores.values() if of_arm]
    return check_chance(column.name, column.chance, known) is None


def _is_reached(
    plan: AccuracyPlan,
    column: Column,
    reference: Mapping[tuple[str, int], float],
    candidate: Mapping[tuple[str, int], float],
) -> bool:
    keys = sorted(reference.keys() & candidate.keys())
    if not keys:
        return False
    left, right = (np.array([side[key] for key in keys]) for side in (reference, candidate))
    delta = compare_items(left, right, [task for task, _ in keys], column.weight_by, seed=plan.seed)
    share = len(keys) / plan.planned(column)
    if sequential_non_inferiority(delta, column.margin, share).verdict is Verdict.PASS:
        return True
    strict = sequential_non_inferiority(delta, column.margin, share, ALPHA / len(plan.columns))
    return strict.verdict is Verdict.FAIL


def _mean(column: Column, of_arm: Mapping[tuple[str, int], float]) -> Score:
    keys = sorted(of_arm)
    return score(np.array([of_arm[key] for key in keys]), [task for task, _ in keys], column.weight_by)
