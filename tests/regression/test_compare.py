"""From lines to a verdict: the correction, what counts, what is handed on."""

from pathlib import Path
from typing import Any

import pytest

from swiftkv_bench.errors import InputError
from swiftkv_bench.regression.compare import corrected
from swiftkv_bench.regression.comparison import Family, Line, Role, RunComparison
from swiftkv_bench.regression.policy import Policy
from swiftkv_bench.stats.verdicts import Verdict, holm
from tests.regression.planted import Scores, answered, compared, flipped, loaded, right

RIGHT = right(200, 159)
SCORES: Scores = {("gsm8k", "baseline", 0): RIGHT, ("gsm8k", "swiftkv", 0): RIGHT}
TTFT: Any = {"baseline": [0.1, 0.101, 0.099], "swiftkv": [0.1, 0.101, 0.099]}


def _line(family: Family, p: float, role: Role = "guard") -> Line:
    return Line(
        line_id=f"{family}/{p}", part="performance", family=family, role=role, metric="ttft_mean_s", title="t",
        where="w", reference="baseline run", reference_arm="swiftkv", candidate_arm="swiftkv", scale="ratio",
        worse="higher", margin=0.05, limit=1.05, n=5, n_unit="trials", p_fail=p,
        verdict=Verdict.FAIL if p <= 0.05 else Verdict.PASS,
    )  # fmt: skip


def test_each_family_has_an_equal_share_of_the_error_rate() -> None:
    lines = [_line("overall", 0.02), *(_line("cell", p) for p in (0.02, 0.5, 0.6, 0.7))]
    found, claims = corrected(lines, Policy())
    assert claims == 5
    weights = [1.0, 0.25, 0.25, 0.25, 0.25]
    assert [one.p_fail_corrected for one in found] == pytest.approx(holm([0.02, 0.02, 0.5, 0.6, 0.7], weights))
    assert [one.verdict for one in found[:2]] == [Verdict.FAIL, Verdict.INCONCLUSIVE]
    assert found[1].reason == "beyond the margin by itself, but not after the correction over 5 claims"


def test_lines_that_are_shown_take_no_part_in_the_correction() -> None:
    found, claims = corrected([_line("cell", 0.04), _line("cell", 0.04, "shown")], Policy())
    assert claims == 1
    assert [one.verdict for one in found] == [Verdict.FAIL, Verdict.FAIL]
    assert found[1].p_fail_corrected is None


def test_without_a_correction_every_claim_stands_alone() -> None:
    lines = [_line("cell", 0.04) for _ in range(9)]
    found, _ = corrected(lines, Policy(correction="none"))
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
    assert again.schema_id == "swiftkv-bench/comparison/1"
    assert again.baseline.git is not None
    assert again.commands[0].startswith("swiftkv-bench perf")
    assert again.commands[-1] == "swiftkv-bench compare"


def test_an_incomplete_run_is_compared_with_a_warning(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SCORES, status="incomplete", status_reason="2 trials failed")
    notes = compared(before, before).notes
    assert {(n.code, n.side) for n in notes} == {("run-incomplete", "baseline"), ("run-incomplete", "candidate")}


def test_a_run_without_checksums_is_compared_with_a_warning(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SCORES, sealed=False)
    assert {n.code for n in compared(before, before).notes} == {"no-checksums"}


def test_arms_need_both_arms(tmp_path: Path) -> None:
    run = answered(tmp_path / "a", {("gsm8k", "baseline", 0): RIGHT})
    with pytest.raises(InputError, match="has no swiftkv arm"):
        compared(run)
