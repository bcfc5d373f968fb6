"""The rules of docs/statistics.md that keep a verdict back, and policies that ask for what runs do not have."""

from dataclasses import replace

import pytest

from swiftkv_bench.analysis import analyse_evidence
from swiftkv_bench.errors import InputError
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.judgement import Judgement, judge, judge_arms
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.schema.engine import Arm
from tests.judge.simulated import Shape, run

LOAD = Shape(
    seed=1, columns=0, items=3, points=1, trials=3, arms=("baseline", "swiftkv"), worse=1.0, flips=0.0, chance=None,
    continuous=False, again=False, cut=0,
)  # fmt: skip
ITEMS = replace(LOAD, columns=1, items=200, points=0, worse=0.0)


def _gating(*keys: str) -> Policy:
    return Policy.model_validate({"performance": {"metrics": dict.fromkeys(keys, 0.05)}})


def _line(found: Judgement, metric: str, reference: str = "baseline arm") -> Line:
    return next(x for x in found.lines if (x.metric, x.reference, x.candidate_arm) == (metric, reference, "swiftkv"))


def _changed(whole: Evidence, arm: Arm, **figures: float | None) -> Evidence:
    """The arm's trials with other figures; None takes one away."""
    trials = []
    for trial in whole.trials:
        told = {**trial.figures, **(figures if trial.trial.arm == arm else {})}
        trials.append(replace(trial, figures={key: value for key, value in told.items() if value is not None}))
    return replace(whole, trials=tuple(trials))


def test_figures_that_depend_on_lengths_are_withheld_where_lengths_differ() -> None:
    equal, policy = run(LOAD), _gating("joule_per_token")
    assert _line(judge_arms(equal, policy), "joule_per_token").verdict is Verdict.FAIL
    longer = _changed(equal, "swiftkv", output_len=4.1)
    found = _line(judge_arms(longer, policy), "joule_per_token")
    assert (found.verdict, found.reason) == (
        Verdict.INCONCLUSIVE,
        "mean output lengths differ, 4.0 and 4.1 tokens a request: throughput, E2E latency and energy are not compared",
    )
    assert "joule_per_token" not in analyse_evidence(longer).perf[0].points[0].gains
    assert "ttft_mean_s" in analyse_evidence(longer).perf[0].points[0].gains
    cheaper = _changed(longer, "swiftkv", joule_per_token=0.01)
    assert _line(judge_arms(cheaper, policy), "joule_per_token").verdict is Verdict.INCONCLUSIVE


def test_trials_that_are_not_valid_enter_no_claim_with_their_partner() -> None:
    whole = run(replace(LOAD, trials=4))  # the fourth trial of SwiftKV is not valid
    assert _line(judge_arms(whole, _gating("ttft_mean_s")), "ttft_mean_s").n == 3
    none = replace(whole, trials=tuple(replace(t, valid=False) for t in whole.trials))
    found = judge_arms(none, Policy())
    assert found.verdicts.performance is Verdict.INCONCLUSIVE
    assert found.lines[0].reason == "the reference and the candidate have no valid trial"


def test_a_fall_that_was_published_is_taken_off_before_it_is_judged_again() -> None:
    lost = run(replace(ITEMS, worse=0.1))
    told = lost.manifest
    accuracy = told.plan.accuracy
    assert accuracy is not None
    column = accuracy.columns[0].model_copy(update={"name": "gsm8k", "title": "GSM8K"})
    plan = accuracy.model_copy(update={"columns": (column,), "published": "published_accuracy.csv"})
    manifest = told.model_copy(update={"plan": told.plan.model_copy(update={"accuracy": plan})})
    answers = {("gsm8k", arm, repeat): found for (_, arm, repeat), found in lost.answers.items()}
    found = judge_arms(replace(lost, manifest=manifest, answers=answers), Policy())
    own, held = _line(found, "score"), _line(found, "score", "published")
    # The model card's rows: 82.56 and 79.45 %.
    assert held.published_delta == pytest.approx(-0.0311)
    assert own.effect is not None
    assert held.effect == pytest.approx(own.effect + 0.0311)
    assert held.bounds is not None
    assert own.bounds is not None
    assert held.bounds.high == pytest.approx((own.bounds.high or 0) + 0.0311)
    none = Policy(references=("baseline arm",))
    assert all(
        x.reference != "published" for x in judge_arms(replace(lost, manifest=manifest, answers=answers), none).lines
    )


def test_a_metric_that_no_trial_has_is_refused_by_name() -> None:
    for key, repair in (("goodput", "run with --slo"), ("itl_p99_s", "measure more requests")):
        with pytest.raises(InputError, match=rf"performance.metrics.{key} cannot be computed.*{repair}"):
            judge_arms(run(LOAD), _gating(key))


def test_a_metric_that_one_side_lacks_is_a_line_that_names_the_side() -> None:
    whole, policy = run(LOAD), _gating("joule_per_token", "ttft_mean_s")
    for arm, side in (("baseline", "reference"), ("swiftkv", "candidate")):
        found = judge_arms(_changed(whole, arm, joule_per_token=None), policy)  # type: ignore[arg-type]
        energy = _line(found, "joule_per_token")
        assert (energy.verdict, energy.reason) == (Verdict.INCONCLUSIVE, f"no trial of the {side} has energy per token")
        assert found.verdicts.overall is Verdict.FAIL  # TTFT doubled


def test_metrics_of_a_run_without_a_load_part_are_open_and_name_it() -> None:
    with_load, without = run(replace(ITEMS, points=1), name="a"), run(ITEMS, name="b")
    found = _line(judge(with_load, without, _gating("ttft_mean_s")), "ttft_mean_s", "reference run")
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "the candidate has no load part")


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (
            {"accuracy": {"columns": {"c00": 0.1}}},
            r"accuracy.columns.c00 is no column of these runs \(did you mean 'c0'",
        ),
        (
            {"references": ["accepted run"]},
            "the policy's references \\(accepted run\\) leave nothing to compare in run",
        ),
    ],
)
def test_a_policy_that_fits_no_run_is_refused(policy: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        judge_arms(run(ITEMS), Policy.model_validate(policy))
