"""Items without an answer: whatever they would have scored lies within the bounds, and the bounds are reached."""

from itertools import product

import numpy as np
import pytest

from swiftkv_bench.judge.differences import measured
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.stats.items import ItemDelta, compare_items
from swiftkv_bench.stats.missing import Missing, mean_with_missing
from tests.judge.planted import said

REFERENCE = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
CANDIDATE = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0]


def _scores(values: list[float], answered: tuple[int, ...]) -> dict[tuple[str, int], float]:
    return {("t", i): values[i] for i in answered}


def _delta(n: int, lost: int, gained: int = 0) -> ItemDelta:
    reference = np.concatenate([np.ones(lost), np.zeros(gained), np.ones(n - lost - gained)])
    candidate = np.concatenate([np.zeros(lost), np.ones(gained), np.ones(n - lost - gained)])
    return compare_items(reference, candidate, ["t"] * n)


@pytest.mark.parametrize(
    ("of_reference", "of_candidate"),
    [
        ((0, 1, 2, 3, 4, 5), (0, 1, 2)),  # one side was cut short
        ((0, 1, 2, 3), (2, 3, 4)),  # both were, at different items
        ((0, 1, 2), (0, 1, 2)),  # three items that nobody answered
    ],
)
def test_bounds_are_the_extremes_over_all_that_missing_answers_could_be(
    of_reference: tuple[int, ...], of_candidate: tuple[int, ...]
) -> None:
    planned = len(REFERENCE)
    reference, candidate = _scores(REFERENCE, of_reference), _scores(CANDIDATE, of_candidate)
    unknown = [(side, i) for side, known in ((0, of_reference), (1, of_candidate)) for i in set(range(6)) - set(known)]
    possible = []
    for values in product((0.0, 0.5, 1.0), repeat=len(unknown)):
        sides = [dict(reference), dict(candidate)]
        for (side, i), value in zip(unknown, values, strict=True):
            sides[side]["t", i] = value
        possible.append(sum(sides[1][key] - sides[0][key] for key in sides[0]) / planned)
    both = sorted(reference.keys() & candidate.keys())
    seen = float(np.mean([candidate[key] - reference[key] for key in both]))
    missing = Missing.between(reference, candidate, planned)
    assert missing is not None
    assert missing.n == planned - len(both)
    assert missing.widen(seen, seen) == pytest.approx((min(possible), max(possible)))


def test_nothing_is_missing_where_both_answered_what_was_planned() -> None:
    answered = _scores(REFERENCE, (0, 1, 2))
    assert Missing.between(answered, answered, 3) is None
    assert Missing.unknown(0, 3) is None


def test_more_known_items_than_missing_ones_count_at_their_worst_and_best() -> None:
    # Of five items that the reference alone answered two were asked of the candidate; which ones is not known.
    reference = {("t", i): score for i, score in enumerate([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])}
    missing = Missing.between(reference, {("t", 0): 1.0}, 3)
    assert missing is not None
    assert missing.n == 2
    assert (missing.low, missing.high) == pytest.approx((-2 / 3, 2 / 3))


def test_a_column_weighted_by_task_claims_nothing() -> None:
    missing = Missing.between(_scores(REFERENCE, (0, 1, 2)), _scores(CANDIDATE, (0, 1)), 3, "task")
    assert missing is not None
    assert missing == Missing.unknown(1, 3, "task")
    assert missing.widen(-0.5, -0.4) == (-1.0, 1.0)
    found = measured(_delta(100, 60), 0.02, 0.05, missing=missing)
    assert (said(found, 0.02), found.p_fail) == (Verdict.INCONCLUSIVE, 1.0)


@pytest.mark.parametrize(
    ("lost", "missing", "verdict"),
    [
        (0, None, Verdict.PASS),
        (0, Missing.unknown(100, 1100), Verdict.INCONCLUSIVE),  # a tenth could be lost
        (0, Missing.unknown(10, 1010), Verdict.PASS),  # a hundredth, within the margin
        (60, None, Verdict.FAIL),
        (60, Missing.unknown(100, 1100), Verdict.INCONCLUSIVE),  # could have been made good
        (250, Missing.unknown(100, 1100), Verdict.FAIL),  # could not
    ],
)
def test_a_verdict_stands_where_it_does_whatever_missing_items_scored(
    lost: int, missing: Missing | None, verdict: Verdict
) -> None:
    found = measured(_delta(1000, lost), 0.025, 0.05, missing=missing)
    assert said(found, 0.025) is verdict
    assert found.p_fail is not None
    assert (found.p_fail <= 0.05) is (verdict is Verdict.FAIL)
    assert (found.needed is None) is (missing is not None)


def test_p_of_failing_is_the_level_at_which_the_widened_bound_meets_the_margin() -> None:
    delta, missing = _delta(400, 60), Missing.unknown(20, 420)
    assert missing is not None
    found = measured(delta, 0.05, 0.05, missing=missing)
    assert found.p_fail is not None
    bounds = delta.bound(found.p_fail)
    assert bounds is not None
    assert missing.widen(*bounds)[1] == pytest.approx(-0.05, abs=1e-6)


def test_the_average_is_bounded_by_what_each_column_could_add() -> None:
    deltas = [_delta(90, 9), _delta(100, 0)]
    missing = Missing.unknown(10, 100)
    found = mean_with_missing(deltas, [missing, None])
    assert found is not None
    mean, rest = found
    # (0.9 · (−0.1) ± 0.1 + 0) / 2
    assert rest.widen(mean.delta, mean.delta) == pytest.approx((-0.095, 0.005))
    assert rest.n == 10
    assert mean_with_missing(deltas, [None, None]) is None
