"""Cells of the accuracy tables that a reader must not misread."""

from pathlib import Path

import pytest

from swiftkv_bench.analysis import AccuracyAnalysis, analyse
from swiftkv_bench.render.accuracy_tables import accuracy_table, answers_table, statistics_table
from swiftkv_bench.render.cells import TableView
from swiftkv_bench.render.summary import compared
from swiftkv_bench.schema.accuracy import AccuracyPlan, ColumnStatus, ItemRecord
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.store import create_run, write_atomic
from tests.synthetic import accuracy_column, item, manifest

ARMS: tuple[Arm, ...] = ("baseline", "swiftkv")
ARC = accuracy_column("arc", "ARC", 40, 0.025, 0.25)
HELLASWAG = accuracy_column("hellaswag", "HellaSwag", 40, 0.01, 0.25)


@pytest.fixture
def accuracy(tmp_path: Path) -> AccuracyAnalysis:
    """One column answered by both arms, one without data."""
    plan = AccuracyPlan(suite="paper", suite_hash="h", columns=(ARC, HELLASWAG), arms=ARMS, seed=0)
    run = create_run(tmp_path / "run", manifest("a", RunPlan(accuracy=plan), ARMS))
    items = [_item(arm, i) for arm in ARMS for i in range(40)]
    run.items_path.write_text("".join(one.model_dump_json() + "\n" for one in items))
    reason = "data not present: data set Rowan/hellaswag is not here; give a folder with --data-dir"
    states = [ColumnStatus(arm=arm, column="hellaswag", status="not run", reason=reason) for arm in ARMS]
    write_atomic(tmp_path / "run" / "columns.json", f"[{','.join(s.model_dump_json() for s in states)}]".encode())
    return analyse(run).accuracy[0]


def _item(arm: Arm, i: int) -> ItemRecord:
    """SwiftKV loses item 0, leaves 2 answers unparsed and 3 unfinished."""
    slower = arm == "swiftkv"
    return item(arm, "arc", i, float(i != 0 or not slower), unparsed=slower and i < 2, unfinished=slower and i < 3)


def _rows(view: TableView | None) -> list[list[str]]:
    assert view is not None
    return [[cell.text for cell in row] for row in view.rows]


def test_a_column_without_data_says_so(accuracy: AccuracyAnalysis) -> None:
    [arc, hellaswag] = _rows(accuracy_table(accuracy))
    assert arc[:7] == ["ARC", "40", "100.00", "97.50", "−2.50", "1", "0"]
    assert hellaswag == ["HellaSwag", *"–" * 8, "not run: data not present", "–"]


def test_a_column_that_was_cut_short_shows_the_items_that_both_answered(tmp_path: Path) -> None:
    plan = AccuracyPlan(suite="paper", suite_hash="h", columns=(ARC, HELLASWAG), arms=ARMS, seed=0)
    run = create_run(tmp_path / "run", manifest("a", RunPlan(accuracy=plan), ARMS))
    right = [item("baseline", "arc", i, float(i < 20)) for i in range(40)]
    right += [item("swiftkv", "arc", i, float(i < 18)) for i in range(20)]
    run.items_path.write_text("".join(one.model_dump_json() + "\n" for one in right))
    state = ColumnStatus(arm="swiftkv", column="arc", status="incomplete", reason="the engine died")
    write_atomic(run.path / "columns.json", f"[{state.model_dump_json()}]".encode())
    found = analyse(run)
    view = accuracy_table(found.accuracy[0])
    assert _rows(view)[0][:5] == ["ARC", "20 of 40", "100.00", "90.00", "−10.00"]
    assert _rows(view)[0][-2:] == ["INCONCLUSIVE", "–"]
    assert "whatever the others had scored" in view.note
    assert dict(compared(found))["Quality"].endswith("; 40 items answered by an arm at least")
    assert [f.message for f in found.findings if f.code == "missing-answers"] == [
        "20 of 40 items have no answer on one side; they are not missing at random, so that a verdict stands only "
        "where it would whatever they had scored."
    ]


def test_more_items_than_a_column_has_are_not_promised(tmp_path: Path) -> None:
    plan = AccuracyPlan(suite="paper", suite_hash="h", columns=(ARC,), arms=ARMS, seed=0)
    run = create_run(tmp_path / "run", manifest("a", RunPlan(accuracy=plan), ARMS))
    right = [item(arm, "arc", i, 1.0) for arm in ARMS for i in range(40)]  # 106 items without a flip would decide
    run.items_path.write_text("".join(one.model_dump_json() + "\n" for one in right))
    assert _rows(accuracy_table(analyse(run).accuracy[0]))[0][-2:] == ["INCONCLUSIVE", "> all 40"]


def test_answers_that_are_not_as_wanted_are_counted_for_each_arm(accuracy: AccuracyAnalysis) -> None:
    rows = _rows(answers_table(accuracy))
    assert [row[:3] + row[4:7] for row in rows] == [
        ["ARC", "Baseline", "40", "0", "0", "0"],
        ["ARC", "SwiftKV", "40", "0", "3", "2"],
        ["HellaSwag", "Baseline", "–", "–", "–", "–"],
        ["HellaSwag", "SwiftKV", "–", "–", "–", "–"],
    ]


def test_a_score_of_all_or_none_has_a_wilson_interval(accuracy: AccuracyAnalysis) -> None:
    cells = {row[1].text: row[3] for row in answers_table(accuracy).rows if row[0].text == "ARC"}
    # 40 of 40: n / (n + z^2) = 40 / 43.84.
    assert (cells["Baseline"].text, cells["Baseline"].interval) == ("100.00", "[91.2, 100.0]")


def test_what_a_difference_rests_on(accuracy: AccuracyAnalysis) -> None:
    [row] = _rows(statistics_table(accuracy))
    assert row[4:9] == ["SwiftKV − baseline", "40", "2.50", "2.50", "2.5"]
