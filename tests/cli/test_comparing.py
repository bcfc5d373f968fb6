"""`compare` at the command line: files, GitHub's outputs, streams kept apart, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swiftkv_bench.store import Run
from tests.judge.planted import Scores, answered, flipped, right

SAME: Scores = {("gsm8k", arm, 0): right(200, 159) for arm in ("baseline", "swiftkv")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A run, and one that lost answers."""
    folder = tmp_path_factory.mktemp("runs")
    worse = {**SAME, ("gsm8k", "swiftkv", 0): flipped(right(200, 159), lost=40)}
    return answered(folder / "before", SAME), answered(folder / "after", worse)


def _compare(cwd: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
    command = [sys.executable, "-m", "swiftkv_bench", "compare", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=inherited | environment)


def test_a_regression_ends_with_1_and_leaves_a_whole_report(runs: tuple[Run, Run], tmp_path: Path) -> None:
    done = _compare(tmp_path, str(runs[0].path), str(runs[1].path), "--out", "report")
    assert done.returncode == 1
    assert done.stdout.startswith("FAIL: ")
    assert "report: report/comparison.html" in done.stderr
    assert "::error" not in done.stdout + done.stderr
    names = {"comparison.html", "comparison.md", "comparison.json", "junit.xml", "figures"}
    assert {p.name for p in (tmp_path / "report").iterdir()} == names


def test_on_github_annotations_go_to_stderr_and_the_summary_is_appended_to(
    runs: tuple[Run, Run], tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    given = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    done = _compare(tmp_path, str(runs[0].path), str(runs[1].path), "--json", **given)
    assert json.loads(done.stdout)["verdicts"]["overall"] == "FAIL"
    assert [line[:8] for line in done.stderr.splitlines() if line.startswith("::")] == ["::error "] * 2
    assert summary.read_text().startswith("<!-- swiftkv-bench compare -->\n\n### ❌ FAIL: 2 claims")


def test_a_refusal_is_an_annotation_on_github_and_never_a_pass(tmp_path: Path) -> None:
    done = _compare(tmp_path, "nowhere", "neither", GITHUB_ACTIONS="true")
    assert (done.returncode, done.stdout) == (2, "")
    told = [line for line in done.stderr.splitlines() if line.startswith("::error ")]
    assert len(told) == 1
    assert told[0].startswith("::error title=swiftkv-bench%3A nothing was compared::")


def test_a_folder_that_cannot_be_written_is_named(runs: tuple[Run, Run], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = _compare(tmp_path, str(runs[0].path), str(runs[0].path), "--out", "file")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "swiftkv-bench: cannot write file/figures: Not a directory; choose another folder with --out"
    )


def test_a_run_against_itself_ends_with_0(runs: tuple[Run, Run], tmp_path: Path) -> None:
    done = _compare(tmp_path, str(runs[0].path), str(runs[0].path))
    assert (done.returncode, done.stdout[:6]) == (0, "PASS: ")
    assert list(tmp_path.iterdir()) == []
