"""Three-valued verdicts, the n that would decide, and Holm's correction."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.judge.differences import measured
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.judge.verdict import holm, overall
from swiftkv_bench.stats.items import ItemDelta, compare_items
from tests.judge.planted import said

Z95, Z80 = 1.6448536269514722, 0.8416212335729143


def _delta(n: int, lost: int, gained: int) -> ItemDelta:
    reference = np.array([1.0] * lost + [0.0] * gained + [1.0] * (n - lost - gained))
    candidate = np.array([0.0] * lost + [1.0] * gained + [1.0] * (n - lost - gained))
    return compare_items(reference, candidate, ["t"] * n)


@pytest.mark.parametrize(
    ("n", "lost", "gained", "margin", "verdict"),
    [
        (2000, 50, 50, 0.025, Verdict.PASS),
        (2000, 200, 20, 0.025, Verdict.FAIL),
        (200, 10, 5, 0.025, Verdict.INCONCLUSIVE),
        (105, 0, 0, 0.025, Verdict.INCONCLUSIVE),
        (106, 0, 0, 0.025, Verdict.PASS),
    ],
)
def test_verdict_by_the_one_sided_bounds(n: int, lost: int, gained: int, margin: float, verdict: Verdict) -> None:
    found = measured(_delta(n, lost, gained), margin, 0.05)
    assert said(found, margin) is verdict
    assert found.low is not None
    assert found.high is not None
    assert (found.low > -margin, found.high < -margin) == (verdict is Verdict.PASS, verdict is Verdict.FAIL)


def test_small_p_of_failing_goes_with_a_fail() -> None:
    for n, lost, gained in ((2000, 200, 20), (200, 10, 5), (2000, 50, 50)):
        found = measured(_delta(n, lost, gained), 0.025, 0.05)
        assert found.p_fail is not None
        assert (found.p_fail < 0.05) == (said(found, 0.025) is Verdict.FAIL)


def test_n_to_decide_gives_eighty_percent_power_at_the_difference_seen() -> None:
    delta = _delta(200, 10, 5)
    found = measured(delta, 0.05, 0.05)
    assert said(found, 0.05) is Verdict.INCONCLUSIVE
    assert found.needed is not None
    needed = found.needed(0.05)
    assert needed is not None
    assert delta.stderr is not None
    stderr = delta.stderr * math.sqrt(200 / needed)
    assert (0.05 + delta.delta) / stderr == pytest.approx(Z95 + Z80, rel=0.01)


def test_n_to_decide_without_a_flip_is_where_the_score_bound_reaches_the_margin() -> None:
    found = measured(_delta(50, 0, 0), 0.025, 0.05).needed
    assert found is not None
    assert found(0.05) == 106


def test_without_an_error_nothing_is_decided() -> None:
    found = measured(compare_items(np.ones(1), np.ones(1), ["t"]), 0.01, 0.05)
    assert (said(found, 0.01), found.low, found.p_fail) == (Verdict.INCONCLUSIVE, None, None)


def test_holm_steps_down() -> None:
    # Sorted .01, .03, .04, .5 times 4, 3, 2, 1, then made monotone: .04, .09, .09, .5
    assert holm([0.04, 0.01, 0.5, 0.03]) == pytest.approx((0.09, 0.04, 0.5, 0.09))
    assert holm([]) == ()


def test_weighted_holm_gives_each_claim_its_share() -> None:
    # 0.01/3 and 0.02/1 of a total weight 4; the first takes 4/3 · 0.01, then 1/1 · 0.02 remains.
    assert holm([0.01, 0.02], [3.0, 1.0]) == pytest.approx((4 / 3 * 0.01, 0.02))
    assert holm([0.01, 0.02], [7.0, 7.0]) == pytest.approx(holm([0.01, 0.02]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_raw_and_bonferroni(p: list[float]) -> None:
    for raw, adjusted in zip(p, holm(p), strict=True):
        assert raw <= adjusted <= min(1.0, len(p) * raw) + 1e-15


def test_overall_fails_before_it_is_open() -> None:
    p, f, i = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
    assert [overall(v) for v in ([p, p], [p, i], [i, f], [])] == [p, i, f, i]
