"""Lines under load: trials with known latencies."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from swiftkv_bench.errors import InputError
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Arrivals
from tests.judge.planted import BATCH, RATE, compared, line, loaded, read

BASE = [0.100, 0.101, 0.099, 0.1005, 0.0995]
SLOW = [0.110, 0.1111, 0.1089, 0.1105, 0.1095]
TTFT = {("ttft_paired_s", "swiftkv"), ("ttft_mean_s", "swiftkv")}
FAST = Arrivals(process="constant", rate=20.0)


def test_a_tenth_more_ttft_fails_on_ttft_alone(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE}, arrivals=(RATE, FAST))
    after = loaded(tmp_path / "b", {"baseline": BASE, "swiftkv": SLOW}, arrivals=(RATE, FAST))
    found = compared(before, after)
    assert found.verdicts.performance is Verdict.FAIL
    assert {(one.metric, one.candidate_arm) for one in found.failed} == TTFT
    for metric, role in (("ttft_paired_s", "primary"), ("ttft_mean_s", "guard")):
        whole = line(found, f"performance/all points/{metric}/swiftkv/reference run")
        assert whole.effect == pytest.approx(1.1, abs=1e-3)
        assert (whole.role, whole.n, whole.n_unit) == (role, 5, "pairs of trials")


def test_medians_compare_request_by_request_and_take_a_stall_of_a_few_requests(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    # Requests differ by a factor of ten for what their schedule does to them; noise of 1 % a request.
    fixed = [rng.uniform(0.05, 0.5, 40) for _ in range(5)]
    before, same, slow = (
        [x * factor * np.exp(0.01 * rng.standard_normal(40)) for x in fixed] for factor in (1.0, 1.0, 1.1)
    )
    for stalled in (same[1], slow[3]):
        stalled[10:15] = 3.0
    runs = [
        loaded(tmp_path / name, {"baseline": before, "swiftkv": swiftkv})
        for name, swiftkv in (("a", before), ("b", same), ("c", slow))
    ]
    line_id = "performance/{}/{}/swiftkv/reference run"
    at = read(runs[0]).trials[0].trial.point.point_id
    passes, fails = (line(compared(runs[0], run), line_id.format(at, "ttft_paired_s")) for run in runs[1:])
    mean = line(compared(runs[0], runs[2]), line_id.format(at, "ttft_mean_s"))
    assert (passes.verdict, fails.verdict, mean.verdict) == (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)
    each = [np.median(np.log(c / b)) for b, c in zip(before, slow, strict=True)]
    assert fails.effect == pytest.approx(np.exp(np.mean(each)), rel=1e-6)
    assert fails.p_fail == pytest.approx(stats.ttest_1samp(each, 0.0, alternative="greater").pvalue, rel=1e-4)
    assert fails.bounds is not None
    assert "the ratio of the same request" in fails.bounds.method


def test_what_is_slower_beyond_chance_but_within_the_margin_does_not_fail(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE})
    for slower, expected in ((1.04, Verdict.PASS), (1.06, Verdict.FAIL)):
        after = loaded(tmp_path / f"b{slower}", {"baseline": BASE, "swiftkv": [slower * x for x in BASE]})
        assert compared(before, after).verdicts.overall is expected


def test_a_run_against_itself_and_a_repeat_passes(tmp_path: Path) -> None:
    run = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE}, arrivals=(RATE, BATCH))
    again = loaded(tmp_path / "b", {"baseline": BASE[::-1], "swiftkv": BASE[::-1]}, arrivals=(RATE, BATCH))
    assert compared(run, run).verdicts.overall is Verdict.PASS
    assert compared(run, again).verdicts.overall is Verdict.PASS
    assert compared(run).verdicts.overall is Verdict.PASS


def test_runs_of_other_seeds_do_not_pair(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE})
    after = loaded(tmp_path / "b", {"baseline": BASE, "swiftkv": SLOW[:4]}, seed=100)
    found = compared(before, after).lines
    ttft = next(one for one in found if one.metric == "ttft_p50_s" and one.candidate_arm == "swiftkv")
    expected = stats.ttest_ind(np.log(SLOW[:4]), np.log(BASE), equal_var=False, alternative="greater")
    assert ttft.n_unit == "trials"
    assert ttft.p_fail == pytest.approx(expected.pvalue, rel=1e-3)


def test_the_only_point_decides_where_there_is_one(tmp_path: Path) -> None:
    run = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE})
    assert {(one.family, one.role, one.metric) for one in compared(run).lines} == {
        ("load", "primary", "ttft_paired_s"), ("load", "primary", "tpot_paired_s"),
        ("load guard", "guard", "ttft_mean_s"), ("load guard", "guard", "tpot_mean_s"),
    }  # fmt: skip
    means = Policy.model_validate({"performance": {"metrics": {"ttft_mean_s": 0.05}}})
    assert {(one.metric, one.role) for one in compared(run, policy=means).lines} == {("ttft_mean_s", "primary")}


def test_an_open_point_does_not_hold_up_an_average_that_passes(tmp_path: Path) -> None:
    run = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE}, arrivals=(RATE, FAST))
    noisy = loaded(tmp_path / "b", {"baseline": BASE, "swiftkv": BASE}, arrivals=(RATE, FAST))
    found = compared(run, noisy)
    cells = [one for one in found.lines if one.point is not None and one.candidate_arm == "swiftkv"]
    assert {one.role for one in cells} == {"guard"}


def test_throughput_is_compared_where_the_rate_does_not_set_it(tmp_path: Path) -> None:
    run = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE}, arrivals=(RATE, BATCH))
    cells = [one for one in compared(run).lines if one.metric == "total_throughput"]
    assert [one.point.arrivals.process for one in cells if one.point is not None] == ["all-at-once"]


def test_goodput_is_compared_under_latency_targets(tmp_path: Path) -> None:
    policy = Policy.model_validate({"performance": {"slo": "ttft=105ms"}})
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE})
    after = loaded(tmp_path / "b", {"baseline": BASE, "swiftkv": SLOW})
    assert all(one.metric != "goodput" for one in compared(before, after).lines)
    found = compared(before, before, policy)
    assert any(one.metric == "goodput" and one.verdict is Verdict.PASS for one in found.lines)
    broken = [one for one in compared(before, after, policy).lines if one.metric == "goodput" and one.role == "primary"]
    assert broken[0].verdict is Verdict.INCONCLUSIVE
    assert broken[0].reason == "no trial pairs, or a figure is 0"


def test_goodput_is_counted_against_the_runs_own_targets(tmp_path: Path) -> None:
    run = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE}, slo="ttft=105ms")
    assert any(one.metric == "goodput" and one.verdict is Verdict.PASS for one in compared(run, run).lines)


def test_invalid_trials_are_left_out_of_their_pair(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE}, late={("swiftkv", 2): 0.5})
    after = loaded(tmp_path / "b", {"baseline": BASE, "swiftkv": BASE})
    found = compared(before, after)
    ttft = next(one for one in found.lines if one.metric == "ttft_mean_s" and one.candidate_arm == "swiftkv")
    assert ttft.n == 4
    assert any(note.code == "late-client" and note.side == "reference" for note in found.notes)


def test_no_valid_trial_is_no_pass(tmp_path: Path) -> None:
    late = {("swiftkv", k): 0.5 for k in range(5)}
    good = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE})
    bad = loaded(tmp_path / "b", {"baseline": BASE, "swiftkv": BASE}, late=late)  # type: ignore[arg-type]
    for before, after in ((good, bad), (bad, good)):
        found = compared(before, after)
        assert found.verdicts.overall is Verdict.INCONCLUSIVE
        assert any("valid" in (one.reason or "") for one in found.lines if one.role == "primary")


def test_one_trial_a_side_is_undecided(tmp_path: Path) -> None:
    run = loaded(tmp_path / "a", {"baseline": BASE[:1], "swiftkv": BASE[:1]})
    found = compared(run)
    assert found.verdicts.overall is Verdict.INCONCLUSIVE
    assert "at least 2 are needed" in (found.lines[0].reason or "")


def test_what_moved_the_unchanged_baseline_arm_alike_is_no_regression(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE})
    slower_machine = loaded(tmp_path / "b", {"baseline": SLOW, "swiftkv": SLOW})
    found = compared(before, slower_machine)
    assert found.verdicts.overall is Verdict.INCONCLUSIVE
    assert any("the machine changed" in (one.reason or "") for one in found.lines)
    assert any(note.code == "control-moved" for note in found.notes)


def test_what_a_slower_machine_took_from_the_unchanged_baseline_arm_is_taken_off(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE})
    for control, expected in ((1.04, Verdict.INCONCLUSIVE), (0.96, Verdict.FAIL)):
        arms: dict[Arm, list[float]] = {"baseline": [control * t for t in BASE], "swiftkv": [1.08 * t for t in BASE]}
        assert compared(before, loaded(tmp_path / f"b{control}", arms)).verdicts.overall is expected


def test_what_moved_far_more_than_the_unchanged_baseline_arm_fails(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE})
    after = loaded(tmp_path / "b", {"baseline": SLOW, "swiftkv": [t * 1.3 for t in BASE]})
    found = compared(before, after)
    assert {(one.metric, one.candidate_arm) for one in found.failed} == TTFT
    assert any(note.code == "control-moved" for note in found.notes)


def test_a_new_engine_version_that_slows_both_arms_fails(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE}, packages={"vllm": "0.32.0"})
    after = loaded(tmp_path / "b", {"baseline": SLOW, "swiftkv": SLOW}, packages={"vllm": "0.33.0"})
    assert compared(before, after).verdicts.overall is Verdict.FAIL


def test_no_common_point_is_an_error(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE}, arrivals=(RATE,))
    after = loaded(tmp_path / "b", {"baseline": BASE, "swiftkv": BASE}, arrivals=(FAST,))
    with pytest.raises(InputError, match="no load point in common"):
        compared(before, after)


def test_points_of_one_side_alone_are_named(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", {"baseline": BASE, "swiftkv": BASE}, arrivals=(RATE, FAST))
    after = loaded(tmp_path / "b", {"baseline": BASE, "swiftkv": BASE}, arrivals=(RATE,))
    notes = [note for note in compared(before, after).notes if note.code == "unmatched-point"]
    assert len(notes) == 1
    assert notes[0].side == "reference"
