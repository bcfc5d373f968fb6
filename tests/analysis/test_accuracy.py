"""Columns from answered items: pairing, verdicts, the parts of a difference, published rows, the items shown."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from swiftkv_bench.analysis import AccuracyAnalysis, analyse, analyse_all
from swiftkv_bench.analysis.values import AnswerView
from swiftkv_bench.checks import Finding
from swiftkv_bench.errors import IncomparableError
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, ItemRecord
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.store import Run, create_run
from tests.synthetic import accuracy_column, accuracy_run, item, load_run, manifest

ARC = accuracy_column("arc_challenge", "ARC-Challenge", 200, 0.025, 0.25)
GSM = accuracy_column("gsm8k", "GSM8K", 200, 0.03, None)


def _run(
    folder: Path,
    items: Iterable[ItemRecord],
    columns: Sequence[Column] = (ARC,),
    arms: Sequence[Arm] = ("baseline", "swiftkv"),
    published: str | None = "published_accuracy.csv",
) -> Run:
    plan = AccuracyPlan(
        suite="paper", suite_hash="h", columns=tuple(columns), arms=tuple(arms), seed=0,
        published=published,
    )  # fmt: skip
    run = create_run(folder, manifest("a", RunPlan(accuracy=plan), arms))
    run.items_path.write_text("".join(one.model_dump_json() + "\n" for one in items))
    return run


def _items(arm: Arm, right: int, n: int = 200, column: str = "arc_challenge", **changes: object) -> list[ItemRecord]:
    """The first `right` of n items are answered right."""
    return [item(arm, column, i, float(i < right), **changes) for i in range(n)]


def _accuracy(run: Run) -> tuple[AccuracyAnalysis, tuple[Finding, ...]]:
    found = analyse(run)
    return found.accuracy[0], found.findings


def test_scores_difference_and_flips_of_a_column(tmp_path: Path) -> None:
    part, _ = _accuracy(_run(tmp_path / "r", [*_items("baseline", 160), *_items("swiftkv", 150)]))
    column = part.columns[0]
    scores = {arm: a.score.mean for arm, a in column.arms.items() if a.score is not None}
    assert scores == {"baseline": 0.8, "swiftkv": 0.75}
    delta = column.comparisons["total"].delta
    assert (delta.n, delta.lost, delta.gained) == (200, 10, 0)
    assert delta.delta == pytest.approx(-0.05)
    assert delta.mcnemar_p == pytest.approx(2 / 2**10)
    assert (part.items_total, part.flips_total) == (200, 10)


def test_items_pair_by_id_whatever_their_order(tmp_path: Path) -> None:
    swift = _items("swiftkv", 150)
    one, _ = _accuracy(_run(tmp_path / "a", [*_items("baseline", 160), *swift]))
    two, _ = _accuracy(_run(tmp_path / "b", [*swift[::-1], *_items("baseline", 160)]))
    assert one.columns == two.columns


@pytest.mark.parametrize("field", ["doc_hash", "prompt_hash", "target_hash"])
def test_arms_that_answered_different_things_are_refused_by_key(tmp_path: Path, field: str) -> None:
    swift = _items("swiftkv", 10, 20)
    swift[7] = item("swiftkv", "arc_challenge", 7, 1.0, **{field: "other"})
    run = _run(tmp_path / "r", [*_items("baseline", 10, 20), *swift])
    with pytest.raises(
        IncomparableError, match=r"arc_challenge: 1 of 20 items have another .*first: arc_challenge/7"
    ) as caught:
        analyse(run)
    assert caught.value.key == {"doc_hash": "document_hash"}.get(field, field)


def test_items_of_one_side_only_are_named_and_not_compared(tmp_path: Path) -> None:
    part, findings = _accuracy(_run(tmp_path / "r", [*_items("baseline", 160), *_items("swiftkv", 100, 120)]))
    assert part.columns[0].comparisons["total"].delta.n == 120
    assert [f.message for f in findings if f.code == "unpaired-items"] == [
        "80 items were answered by one side of the total comparison only and are not compared."
    ]


def test_a_column_nobody_answered_is_not_run(tmp_path: Path) -> None:
    part, _ = _accuracy(_run(tmp_path / "r", _items("baseline", 160), [ARC, GSM]))
    assert {arm: a.status for arm, a in part.columns[1].arms.items()} == {"baseline": "not run", "swiftkv": "not run"}
    assert part.columns[1].comparisons == {}
    assert part.macro is None
    assert part.verdict is Verdict.INCONCLUSIVE


def test_model_and_engine_differences_stand_apart(tmp_path: Path) -> None:
    arms: tuple[Arm, ...] = ("baseline", "swiftkv-full", "swiftkv")
    items = [*_items("baseline", 160), *_items("swiftkv-full", 160), *_items("swiftkv", 100)]
    part, _ = _accuracy(_run(tmp_path / "r", items, arms=arms))
    found = {kind: (c.delta.delta, c.verdict) for kind, c in part.columns[0].comparisons.items()}
    assert found == {
        "total": (pytest.approx(-0.3), Verdict.FAIL),
        "model": (0.0, Verdict.PASS),
        "engine": (pytest.approx(-0.3), Verdict.FAIL),
    }
    assert part.verdict is Verdict.FAIL


def test_a_margin_within_the_noise_of_two_runs_forbids_a_claim(tmp_path: Path) -> None:
    again = [item("baseline", "arc_challenge", i, float((i + 20) % 200 < 160), repeat=1) for i in range(200)]
    items = [*_items("baseline", 160), *again, *_items("swiftkv", 160)]
    part, findings = _accuracy(_run(tmp_path / "r", items))
    assert part.columns[0].comparisons["noise"].verdict is None
    assert part.columns[0].comparisons["total"].verdict is Verdict.INCONCLUSIVE
    assert "margin-below-noise" in [f.code for f in findings]


def test_models_that_guess_get_no_verdict(tmp_path: Path) -> None:
    part, findings = _accuracy(_run(tmp_path / "r", [*_items("baseline", 50), *_items("swiftkv", 50)]))
    assert part.verdict is Verdict.INCONCLUSIVE
    assert "chance-level" in [f.code for f in findings]


def test_answers_cut_unfinished_and_unparsed_are_counted(tmp_path: Path) -> None:
    swift = _items("swiftkv", 160, truncated=True, unfinished=True, unparsed=True)
    part, findings = _accuracy(_run(tmp_path / "r", [*_items("baseline", 160), *swift]))
    a = part.columns[0].arms["swiftkv"]
    assert (a.truncated, a.unfinished, a.unparsed) == (200, 200, 200)
    assert {"truncated-prompts", "unfinished-answers", "unparsed-rise"} <= {f.code for f in findings}


def test_published_rows_stand_beside_the_same_model_and_suite(tmp_path: Path) -> None:
    part, _ = _accuracy(_run(tmp_path / "r", [*_items("baseline", 160), *_items("swiftkv", 150)]))
    published = part.columns[0].published
    assert published is not None
    assert (published.baseline, published.candidate) == pytest.approx((0.82, 0.8038))
    assert "model card" in published.source


def test_the_macro_average_is_over_columns_that_every_arm_answered(tmp_path: Path) -> None:
    items = [*_items("baseline", 160), *_items("swiftkv", 150)]
    items += [*_items("baseline", 100, column="gsm8k"), *_items("swiftkv", 98, column="gsm8k")]
    other = accuracy_column("mmlu", "MMLU", 200, 0.01, 0.25)
    part, _ = _accuracy(_run(tmp_path / "r", items, [ARC, GSM, other]))
    assert part.macro is not None
    assert part.macro.columns == ("arc_challenge", "gsm8k")
    assert part.macro.scores == pytest.approx({"baseline": 0.65, "swiftkv": 0.62})
    assert part.macro.comparisons["total"].delta.delta == pytest.approx(-0.03)
    assert part.macro.published is None


def test_holm_corrects_over_the_columns_and_their_average(tmp_path: Path) -> None:
    items = [*_items("baseline", 160), *_items("swiftkv", 150)]
    items += [*_items("baseline", 100, column="gsm8k"), *_items("swiftkv", 80, column="gsm8k")]
    part, _ = _accuracy(_run(tmp_path / "r", items, [ARC, GSM], published=None))
    assert part.macro is not None
    found = [of["total"].line for of in (part.macro.comparisons, *(c.comparisons for c in part.columns))]
    both = sorted((line.p_fail or 0, line.p_fail_corrected or 0) for line in found if line is not None)
    # Two columns and the average share three quarters of the rate; unparsed and unfinished answers (p = 1) the rest.
    first, second, third = (p for p, _ in both)
    # 3/3 each of a total weight 3 + 1: 4 p, then 3 p, then 2 p.
    expected = [4 * first, max(4 * first, 3 * second), max(3 * second, 2 * third)]
    assert [adjusted for _, adjusted in both] == pytest.approx(expected)


def test_flips_come_first_among_the_items_shown(tmp_path: Path) -> None:
    part, _ = _accuracy(_run(tmp_path / "r", [*_items("baseline", 160), *_items("swiftkv", 150)]))
    assert [view.flip for view in part.items[:11]] == ["lost"] * 10 + ["same"]
    view = part.items[0]
    assert (view.doc_id, view.prompt, view.target) == (150, "Question 150 of arc_challenge?", "B")
    assert view.answers["swiftkv"] == AnswerView(0.0, "The best answer is B.", None, False)


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    runs = [accuracy_run(tmp_path / "a", share=0.01), load_run(tmp_path / "l", requests=24, repeats=1)]
    found = analyse_all(runs)
    assert [len(found.runs), len(found.accuracy), len(found.perf)] == [2, 1, 1]
    assert [run.folder for run in found.runs] == [str(tmp_path / "a"), str(tmp_path / "l")]


def test_an_incomplete_run_says_how_to_go_on(tmp_path: Path) -> None:
    run = _run(tmp_path / "r", _items("baseline", 160))
    stopped = run.manifest.model_copy(update={"status": "incomplete", "status_reason": "interrupted"})
    _, findings = _accuracy(run.write_manifest(stopped))
    assert findings[0] == Finding(
        "run-incomplete", "warning", "The run is incomplete: interrupted.", "Give the same command again to resume it."
    )
