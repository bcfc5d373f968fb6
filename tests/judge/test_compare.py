"""From lines to a verdict: the correction, what counts, what is handed on."""

from pathlib import Path
from typing import Any

import pytest

from swiftkv_bench.errors import InputError
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Claim, Draft, Family, Measured, Role, Verdict
from swiftkv_bench.judge.verdict import judged
from tests.judge.planted import Scores, answered, compared, flipped, loaded, right

RIGHT = right(200, 159)
SCORES: Scores = {("gsm8k", "baseline", 0): RIGHT, ("gsm8k", "swiftkv", 0): RIGHT}
TTFT: Any = {"baseline": [0.1, 0.101, 0.099], "swiftkv": [0.1, 0.101, 0.099]}


def _draft(family: Family, p: float, role: Role = "guard") -> Draft:
    """Of a TTFT that is a tenth longer."""
    claim = Claim("performance", family, role, "ttft_mean_s", "t", f"{family}/{p}", "reference run", "swiftkv",
                  "swiftkv", "ratio", "higher", 0.05, "trials", strict=False)  # fmt: skip
    return Draft(claim, Measured(effect=1.1, low=1.0, high=1.2, n=5, p_fail=p))


def test_families_share_the_error_rate_and_those_that_decide_have_three_times_as_much() -> None:
    drafts = [_draft("load", 0.02), *(_draft("load guard", p) for p in (0.02, 0.5, 0.6, 0.7))]
    found, claims = judged(drafts, 0.05, correct=True)
    assert claims == 5
    # Weights 3 and 4 x 1/4, sorted by p/weight: 4/3 x 0.02, then 1/0.25 x 0.02.
    assert [one.p_fail_corrected for one in found] == pytest.approx([0.08 / 3, 0.08, 1, 1, 1])
    assert [one.verdict for one in found[:2]] == [Verdict.FAIL, Verdict.INCONCLUSIVE]
    assert found[1].reason == "beyond the margin by itself, but not after the correction over 5 claims"


def test_lines_that_are_shown_take_no_part_in_the_correction() -> None:
    found, claims = judged([_draft("load", 0.04), _draft("load", 0.04, "shown")], 0.05, correct=True)
    assert claims == 1
    assert [(one.verdict, one.p_fail_corrected) for one in found] == [(Verdict.FAIL, 0.04)] * 2


def test_without_a_correction_every_claim_stands_alone() -> None:
    found, _ = judged([_draft("load", 0.04) for _ in range(9)], 0.05, correct=False)
    assert all(one.verdict is Verdict.FAIL for one in found)


def test_one_part_that_fails_fails_the_whole(tmp_path: Path) -> None:
    run = loaded(tmp_path / "load", TTFT)
    before, after = answered(tmp_path / "a", SCORES), answered(tmp_path / "b", SCORES)
    found = compared(before, after)
    assert (found.verdicts.accuracy, found.verdicts.performance) == (Verdict.PASS, None)
    assert compared(run, run).verdicts.accuracy is None


def test_the_document_holds_everything_and_reads_back(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SCORES)
    after = answered(tmp_path / "b", {**SCORES, ("gsm8k", "swiftkv", 0): flipped(RIGHT, lost=20)})
    found = compared(before, after)
    again = RunComparison.model_validate_json(found.model_dump_json())
    assert again == found
    assert again.schema_id == "swiftkv-bench/comparison/2"
    assert again.reference.git is not None
    assert again.commands[0].startswith("swiftkv-bench perf")
    assert again.commands[-1] == "swiftkv-bench compare"


def test_an_incomplete_run_is_compared_with_a_warning(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SCORES, status="incomplete", status_reason="2 trials failed")
    notes = compared(before, before).notes
    assert {(n.code, n.side) for n in notes} == {("run-incomplete", "reference"), ("run-incomplete", "candidate")}


def test_a_run_without_checksums_is_compared_with_a_warning(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SCORES, sealed=False)
    assert {n.code for n in compared(before, before).notes} == {"no-checksums"}


def test_arms_need_both_arms(tmp_path: Path) -> None:
    run = answered(tmp_path / "a", {("gsm8k", "baseline", 0): RIGHT})
    with pytest.raises(InputError, match="has no swiftkv arm"):
        compared(run)
