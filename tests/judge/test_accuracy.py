"""Accuracy lines: what fails, what passes, what stays open, and why."""

from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.errors import IncomparableError, InputError
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.schema.accuracy import ColumnStatus
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.stats.items import compare_items, score_bounds
from swiftkv_bench.store import Run
from tests.judge.planted import Scores, answered, compared, flipped, line, right

SCORE, FLIPS = "accuracy/gsm8k/score/swiftkv/reference run", "accuracy/gsm8k/flips/swiftkv/reference run"
N = 200
RIGHT = right(N, 159)
SAME: Scores = {("gsm8k", "baseline", 0): RIGHT, ("gsm8k", "swiftkv", 0): RIGHT}


def _with(swiftkv: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Scores:
    return {**SAME, ("gsm8k", "swiftkv", 0): swiftkv}


def test_a_run_against_itself_passes(tmp_path: Path) -> None:
    run = answered(tmp_path / "a", SAME)
    found = compared(run, run)
    assert found.verdicts.overall is Verdict.PASS
    assert line(found, SCORE).effect == 0.0
    assert found.flipped_total == 0


def test_issue_217_fails_on_the_flips_of_the_column(tmp_path: Path) -> None:
    # 79.6 to 74.9 % of 200 items is 159 to 150 right: a 3-point margin cannot see it, the flips do.
    before = answered(tmp_path / "a", {**SAME, ("gsm8k", "baseline", 1): RIGHT})
    after = answered(tmp_path / "b", _with(flipped(RIGHT, lost=12, gained=3)))
    found = compared(before, after)
    assert found.verdicts.overall is Verdict.FAIL
    assert [one.line_id for one in found.failed] == [FLIPS]
    flips = line(found, FLIPS).flips
    assert flips is not None
    assert (flips.lost, flips.gained, flips.n, flips.floor_flips) == (12, 3, N, 0)
    assert line(found, SCORE).verdict is Verdict.INCONCLUSIVE


def test_without_a_noise_floor_flips_fail_by_their_direction_alone(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SAME)
    one_way = compared(before, answered(tmp_path / "b", _with(flipped(RIGHT, lost=9))))
    assert [one.line_id for one in one_way.failed] == [FLIPS]
    assert line(one_way, FLIPS).effect == pytest.approx(0.045)
    both_ways = compared(before, answered(tmp_path / "c", _with(flipped(RIGHT, lost=15, gained=15))))
    assert both_ways.failed == ()
    known = Policy.model_validate({"accuracy": {"flip_floor": 0.01}})
    after = answered(tmp_path / "d", _with(flipped(RIGHT, lost=15, gained=15)))
    assert [one.line_id for one in compared(before, after, known).failed] == [FLIPS]


def test_flips_within_a_measured_noise_floor_do_not_fail(tmp_path: Path) -> None:
    noisy = {**SAME, ("gsm8k", "baseline", 1): flipped(RIGHT, lost=8, gained=7)}
    before = answered(tmp_path / "a", noisy)
    after = answered(tmp_path / "b", _with(flipped(RIGHT, lost=8, gained=7)))
    found = line(compared(before, after), FLIPS)
    assert found.verdict is not Verdict.FAIL
    assert found.flips is not None
    assert (found.flips.floor_flips, found.flips.floor_n) == (15, N)
    assert found.effect == pytest.approx(8 / N - 15 / (2 * N))


def test_the_noise_floor_is_that_of_both_runs(tmp_path: Path) -> None:
    first: Scores = {**SAME, ("gsm8k", "baseline", 1): flipped(RIGHT, lost=2)}
    second: Scores = {**SAME, ("gsm8k", "baseline", 1): flipped(RIGHT, gained=4)}
    before, after = answered(tmp_path / "a", first), answered(tmp_path / "b", second)
    both, itself = (line(compared(before, other), FLIPS).flips for other in (after, before))
    assert both is not None
    assert itself is not None
    assert (both.floor_flips, both.floor_n) == (6, 2 * N)
    assert (itself.floor_flips, itself.floor_n) == (2, N)


def test_a_large_drop_fails_on_the_score(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SAME)
    found = compared(before, answered(tmp_path / "b", _with(flipped(RIGHT, lost=40))))
    assert line(found, SCORE).verdict is Verdict.FAIL
    assert line(found, SCORE).effect == pytest.approx(-0.2)
    assert {one.metric for one in found.failed} == {"score", "flips"}


def test_the_arms_of_one_run_are_held_to_the_margin_and_not_to_flips(tmp_path: Path) -> None:
    run = answered(tmp_path / "a", _with(flipped(RIGHT, lost=8, gained=8)))
    found = compared(run)
    ids = [one.line_id for one in found.lines]
    assert "accuracy/gsm8k/score/swiftkv/baseline arm" in ids
    assert not any("/flips/" in one for one in ids)
    assert line(found, ids[0]).flips is not None


def test_skipping_that_changes_answers_of_full_depth_fails(tmp_path: Path) -> None:
    scores = {**_with(flipped(RIGHT, lost=10, gained=10)), ("gsm8k", "swiftkv-full", 0): RIGHT}
    scores = {**scores, ("gsm8k", "baseline", 1): RIGHT}
    found = compared(answered(tmp_path / "a", scores))
    assert [one.line_id for one in found.failed] == ["accuracy/gsm8k/flips/swiftkv/full depth"]


def test_bounds_and_p_are_those_of_the_paired_comparison(tmp_path: Path) -> None:
    after = flipped(RIGHT, lost=12, gained=3)
    found = line(compared(answered(tmp_path / "a", SAME), answered(tmp_path / "b", _with(after))), SCORE)
    delta = compare_items(RIGHT, after, ["gsm8k"] * N)
    assert found.bounds is not None
    assert (found.bounds.low, found.bounds.high) == delta.bound(0.05)
    assert found.p_fail == delta.p_at_most(-0.03)
    assert (found.reference_value, found.candidate_value) == pytest.approx((159 / N, 150 / N))


def test_a_policy_margin_replaces_the_suites(tmp_path: Path) -> None:
    before, after = answered(tmp_path / "a", SAME), answered(tmp_path / "b", _with(flipped(RIGHT, lost=3)))
    strict = Policy.model_validate({"accuracy": {"columns": {"gsm8k": 0.02}, "margin": 0.1}})
    assert line(compared(before, after, strict), SCORE).limit == -0.02
    loose = Policy.model_validate({"accuracy": {"margin": 0.1}})
    assert line(compared(before, after, loose), SCORE).verdict is Verdict.PASS


def test_a_margin_below_the_noise_of_the_baseline_claims_no_pass_and_still_fails_far_drops(tmp_path: Path) -> None:
    noisy = {**SAME, ("gsm8k", "baseline", 1): flipped(RIGHT, lost=8, gained=8)}
    before = answered(tmp_path / "a", noisy)
    same = line(compared(before, before), SCORE)
    assert same.verdict is Verdict.INCONCLUSIVE
    assert "within the noise of two runs of the baseline" in (same.reason or "")
    broken = answered(tmp_path / "b", _with(flipped(RIGHT, lost=60)))
    assert line(compared(before, broken), SCORE).verdict is Verdict.FAIL


def test_a_rise_of_unparsed_answers_fails(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SAME)
    after = answered(tmp_path / "b", SAME, unparsed=20)
    found = compared(before, after)
    assert [one.line_id for one in found.failed] == ["accuracy/gsm8k/unparsed/swiftkv/reference run"]
    assert found.failed[0].effect == pytest.approx(0.1)


def test_a_column_that_the_candidate_did_not_answer_is_no_pass(tmp_path: Path) -> None:
    both = {**SAME, ("arc", "baseline", 0): RIGHT, ("arc", "swiftkv", 0): RIGHT}
    before = answered(tmp_path / "a", both)
    after = answered(tmp_path / "b", {**SAME, ("arc", "baseline", 0): RIGHT})
    found = compared(before, after)
    assert (
        line(found, "accuracy/arc/score/swiftkv/reference run").reason == "the candidate has no answer to this column"
    )
    assert found.verdicts.overall is Verdict.INCONCLUSIVE


def _cut_short(folder: Path, scores: Scores) -> Run:
    """A run whose SwiftKV engine died in the column."""
    run = answered(folder, scores, sealed=False)
    status = ColumnStatus(arm="swiftkv", column="gsm8k", status="incomplete", reason="the engine died")
    (run.path / "columns.json").write_text(f"[{status.model_dump_json()}]")
    return run


def test_items_that_the_candidate_left_out_and_could_have_lost_are_no_pass(tmp_path: Path) -> None:
    right_last = RIGHT[::-1]
    before = answered(tmp_path / "a", {**SAME, ("gsm8k", "swiftkv", 0): right_last})
    found = compared(before, _cut_short(tmp_path / "b", _with(right_last[:180])))
    score = line(found, SCORE)
    assert (score.n, score.verdict, score.n_to_decide) == (180, Verdict.INCONCLUSIVE, None)
    assert score.reason == (
        "20 of 200 items have no answer and might turn the verdict (the candidate: the engine died)"
    )
    assert score.bounds is not None
    low = 0.9 * score_bounds(0, 0, 180)[0]
    assert score.bounds.low == pytest.approx(low - 0.1)  # all 20 were right on the other side
    assert line(found, FLIPS).verdict is Verdict.INCONCLUSIVE
    assert found.verdicts.overall is Verdict.INCONCLUSIVE


def test_items_that_were_left_out_and_cannot_be_lost_leave_the_pass(tmp_path: Path) -> None:
    # The 20 that are missing are wrong on the other side.
    run = _cut_short(tmp_path / "b", _with(RIGHT[:180]))
    assert line(compared(answered(tmp_path / "a", SAME), run), SCORE).verdict is Verdict.PASS


def test_a_drop_that_missing_items_could_not_make_good_fails(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SAME)
    broken = flipped(RIGHT, lost=60)[:180]
    assert line(compared(before, _cut_short(tmp_path / "b", _with(broken))), SCORE).verdict is Verdict.FAIL
    slight = flipped(RIGHT, lost=12)[:100]
    after = _cut_short(tmp_path / "c", _with(slight))
    found = line(compared(before, after), SCORE)
    assert (found.verdict, found.p_fail_corrected) == (Verdict.INCONCLUSIVE, 1.0)


def test_a_column_that_no_side_answered_is_no_pass_unless_its_data_were_absent(tmp_path: Path) -> None:
    both = {**SAME, ("arc", "baseline", 0): RIGHT, ("arc", "swiftkv", 0): RIGHT}
    run = answered(tmp_path / "a", both, sealed=False)
    kept = [text for text in run.items_path.read_text().splitlines() if '"column":"gsm8k"' in text]
    run.items_path.write_text("\n".join(kept) + "\n")
    found = compared(run)
    arc = "accuracy/arc/score/swiftkv/baseline arm"
    assert line(found, arc).reason == "neither side has an answer to this column"
    assert found.verdicts.overall is Verdict.INCONCLUSIVE
    arms: tuple[Arm, ...] = ("baseline", "swiftkv")
    states = [
        ColumnStatus(arm=arm, column="arc", status="not run", reason="data not present: give --data-dir")
        for arm in arms
    ]
    (run.path / "columns.json").write_text(f"[{','.join(s.model_dump_json() for s in states)}]")
    found = compared(run)
    assert arc not in [one.line_id for one in found.lines]
    assert found.verdicts.overall is Verdict.PASS


def test_lines_of_the_baseline_arm_are_shown_and_decide_nothing(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SAME)
    after = answered(tmp_path / "b", {**SAME, ("gsm8k", "baseline", 0): flipped(RIGHT, lost=60)})
    found = compared(before, after)
    assert line(found, "accuracy/gsm8k/score/baseline/reference run").verdict is Verdict.FAIL
    assert found.verdicts.overall is Verdict.PASS


def test_items_that_changed_come_with_their_texts(tmp_path: Path) -> None:
    before, after = answered(tmp_path / "a", SAME), answered(tmp_path / "b", _with(flipped(RIGHT, lost=1)))
    found = compared(before, after).flipped
    assert [(f.doc_id, f.reference_score, f.candidate_score) for f in found] == [(0, 1.0, 0.0)]
    assert found[0].prompt == "Question 0 of gsm8k?"
    assert found[0].candidate_answer == "The best answer is B."


def test_no_common_item_is_an_error(tmp_path: Path) -> None:
    before, after = answered(tmp_path / "a", SAME), answered(tmp_path / "b", SAME, first=1000)
    with pytest.raises(InputError, match="answered no common item of gsm8k"):
        compared(before, after)


def test_another_prompt_is_refused_by_name(tmp_path: Path) -> None:
    before, after = answered(tmp_path / "a", SAME), answered(tmp_path / "b", SAME, prompt_hash="other")
    with pytest.raises(IncomparableError, match="200 of 200 items have another prompt") as caught:
        compared(before, after)
    assert caught.value.key == "prompt_hash"
