"""One judge: the page, `compare`, its JSON, the exit code and the rule that ends a column agree, whatever was run."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftkv_bench.analysis import analyse_evidence
from swiftkv_bench.cli.comparing import conclude
from swiftkv_bench.errors import InconclusiveError, RegressionError
from swiftkv_bench.evidence.answers import collect
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.compare import Asked, compare_arms
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.judgement import Judgement, judge, judge_arms
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.judge.stopping import is_decided
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from tests.judge.simulated import Shape, ended, items, run, shapes

ASKED = Asked(Policy(), None, (), (), "2026-11-25T00:00:00+00:00")
QUICK = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def _exit_code(found: RunComparison) -> int:
    try:
        conclude(found)
    except (RegressionError, InconclusiveError) as e:
        return e.exit_code
    return 0


@settings(QUICK, max_examples=150)
@given(shapes())
def test_page_compare_json_and_exit_code_agree_line_by_line(shape: Shape) -> None:
    evidence = run(shape)
    page = analyse_evidence(evidence)
    found = compare_arms(evidence, ASKED)
    again = RunComparison.model_validate_json(found.model_dump_json())
    assert page.judgements[0].lines == found.lines == again.lines
    assert page.judgements[0].verdicts == found.verdicts == again.verdicts
    assert _exit_code(found) == {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 4}[found.verdicts.overall]
    by_id = {line.line_id: line for line in found.lines}
    for part in page.accuracy:
        assert part.verdict is found.verdicts.accuracy
        averages = [] if part.macro is None else [("macro", c) for c in part.macro.comparisons.values()]
        columns = [(c.column.name, one) for c in part.columns for one in c.comparisons.values()]
        for where, one in (*columns, *averages):
            if one.line is not None:
                assert one.line == by_id[one.line.line_id]
                assert one.line.where == where
                assert one.effect == one.line.effect
    for perf in page.perf:
        assert perf.verdict is found.verdicts.performance
        for metric, overall in perf.overall.items():
            line = by_id.get(f"performance/all points/{metric}/swiftkv/baseline arm")
            if line is not None and line.effect is not None:
                assert overall.mean == pytest.approx(1 / line.effect)


def _decided_at(evidence: Evidence, plan: AccuracyPlan, column: Column) -> float | None:
    """The first tenth after which the column ends, as the runner asks."""
    for tenth in range(1, 10):
        share = tenth / 10
        scores = {
            (arm, repeat): dict(zip(found.keys, found.score.tolist(), strict=True))
            for (name, arm, repeat), whole in evidence.answers.items()
            if name == column.name
            for found in [whole.at(list(range(round(share * len(whole)))))]
        }
        if is_decided(plan, column, scores, with_load=evidence.manifest.plan.perf is not None):
            return share
    return None


@settings(QUICK, max_examples=100)
@given(shapes(), st.sampled_from((0.0, 0.3, 0.6)))
def test_what_ends_a_column_early_is_what_page_and_compare_say_of_it(shape: Shape, worse: float) -> None:
    shape = replace(shape, columns=max(1, shape.columns), items=200, worse=worse, again=False, cut=0)
    evidence = run(shape, stops=True)
    plan = evidence.manifest.plan.accuracy
    assert plan is not None
    at = _decided_at(evidence, plan, plan.columns[-1])
    if at is None:
        return
    name = plan.columns[-1].name
    for found in (judge_arms(ended(evidence, name, at), Policy()), compare_arms(ended(evidence, name, at), ASKED)):
        scores = [x for x in found.lines if (x.where, x.metric) == (name, "score")]
        assert len(scores) == len(shape.arms) * (len(shape.arms) - 1) // 2
        assert {x.verdict for x in scores} <= {Verdict.PASS, Verdict.FAIL}


def _scores(found: Judgement) -> dict[str, Line]:
    return {x.line_id: x for x in found.lines if x.metric == "score"}


@settings(QUICK, max_examples=100)
@given(shapes(), st.integers(1, 30))
def test_a_worse_item_more_never_turns_fail_to_pass(shape: Shape, more: int) -> None:
    shape = replace(shape, columns=max(1, shape.columns), points=0, cut=0)
    before = items(shape)
    added = [one.model_copy(update={"doc_id": shape.items + i, "doc_hash": f"new {i}",
                                    "score": float(one.arm == "baseline")})
             for i in range(more) for one in before if one.doc_id == 0]  # fmt: skip
    evidence = run(shape)
    plan = evidence.manifest.plan.accuracy
    assert plan is not None
    columns = tuple(c.model_copy(update={"documents": shape.items + more}) for c in plan.columns)
    longer = evidence.manifest.model_copy(update={"plan": evidence.manifest.plan.model_copy(
        update={"accuracy": plan.model_copy(update={"columns": columns})})})  # fmt: skip
    first = judge_arms(evidence, Policy())
    second = judge_arms(replace(evidence, manifest=longer, answers=collect([*before, *added])), Policy())
    for line_id, line in _scores(first).items():
        if line.verdict is Verdict.FAIL and line.candidate_arm == "swiftkv" and line.reference == "baseline arm":
            assert _scores(second)[line_id].verdict is not Verdict.PASS
    if first.verdicts.overall is Verdict.FAIL and any(x.metric == "score" for x in first.failed):
        assert second.verdicts.overall is not Verdict.PASS


@settings(QUICK, max_examples=100)
@given(shapes())
def test_swapped_sides_mirror_the_effects(shape: Shape) -> None:
    one, other = run(shape, faulty="swiftkv", name="a"), run(shape, faulty="baseline", name="b")
    there, back = judge(one, other, Policy()), judge(other, one, Policy())
    mirrored = {x.line_id: x for x in back.lines}
    for line in there.lines:
        twin = mirrored[line.line_id]
        if line.reference != "reference run" or line.metric in ("flips", "changes") or line.effect is None:
            continue
        assert (line.reference_value, line.candidate_value) == (twin.candidate_value, twin.reference_value)
        assert twin.effect == pytest.approx(-line.effect if line.scale == "difference" else 1 / line.effect, abs=1e-12)
        if line.bounds is not None and line.bounds.low is not None and line.bounds.high is not None:
            assert twin.bounds is not None
            ends = (-line.bounds.high, -line.bounds.low)
            if line.scale == "ratio":
                ends = (1 / line.bounds.high, 1 / line.bounds.low)
            assert (twin.bounds.low, twin.bounds.high) == pytest.approx(ends, abs=1e-9)


@settings(QUICK, max_examples=100)
@given(shapes(), st.randoms(use_true_random=False))
def test_the_order_of_items_trials_and_files_does_not_matter(shape: Shape, random: np.random.Generator) -> None:
    evidence = run(shape)
    shuffled, trials = items(shape), list(evidence.trials)
    random.shuffle(shuffled)
    random.shuffle(trials)
    answers = collect(shuffled)
    names = list(answers)
    random.shuffle(names)
    mixed = replace(evidence, answers={name: answers[name] for name in names}, trials=tuple(trials))
    assert judge_arms(mixed, Policy()).lines == judge_arms(evidence, Policy()).lines
