"""`compare`, `accept`, `accepted` and `history` as a user types them: exit codes and what stands on which stream."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.judge.planted import Scores, answered, flipped, right

ROOT = Path(__file__).parents[2]
RIGHT = right(200, 159)
SAME: Scores = {("gsm8k", "baseline", 0): RIGHT, ("gsm8k", "swiftkv", 0): RIGHT}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compare")
    answered(root / "good", SAME)
    answered(root / "again", SAME)
    answered(root / "bad", {**SAME, ("gsm8k", "swiftkv", 0): flipped(RIGHT, lost=20)})
    answered(root / "small", {key: scores[:40] for key, scores in SAME.items()})
    return root


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "swiftkv_bench", *arguments]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
    return subprocess.run(
        command, cwd=folder, env=kept | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("sides", "code", "said"),
    [
        (("good", "again"), 0, ""),
        (("good", "bad"), 1, "FAIL: worse than good: GSM8K"),
        (("small",), 4, "INCONCLUSIVE"),
        (("good", "nowhere"), 2, "there is no run folder and no accepted run nowhere"),
        (("good", "again", "bad"), 2, "compare takes one run or two, found 3"),
    ],
)
def test_the_exit_code_says_the_verdict(folder: Path, sides: tuple[str, ...], code: int, said: str) -> None:
    done = _run(folder, "compare", *sides, "--json")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    if code != 2:
        assert json.loads(done.stdout)["schema_id"] == "swiftkv-bench/comparison/2"


def test_a_run_is_accepted_listed_compared_with_by_name_and_drawn(folder: Path) -> None:
    accepted = _run(folder, "accept", "good", "--name", "main", "--note", "first")
    assert accepted.returncode == 0, accepted.stderr
    listed = json.loads(_run(folder, "accepted", "--json").stdout)
    assert [(one["name"], one["run_id"], one["note"]) for one in listed] == [("main", "good", "first")]
    assert _run(folder, "compare", "main", "again", "--json").returncode == 0
    assert _run(folder, "compare", "main", "bad", "--json").returncode == 1
    drawn = _run(folder, "history", "main")
    assert drawn.returncode == 0, drawn.stderr
    assert "steps are looked for from 5 runs on" in drawn.stdout
    assert (folder / "results" / "history" / "main" / "history.svg").exists()


def test_the_old_names_of_accept_and_its_folder_still_work(folder: Path) -> None:
    done = _run(folder, "baseline", "accept", "good", "--name", "old", "--baselines", "kept")
    assert done.returncode == 0, done.stderr
    listed = json.loads(_run(folder, "baseline", "list", "--baselines", "kept", "--json").stdout)
    assert [one["name"] for one in listed] == ["old"]
    assert _run(folder, "compare", "old", "again", "--baselines", "kept").returncode == 0
    shown = _run(folder, "--help").stdout
    assert "\n  accepted " in shown
    assert "\n  baseline " not in shown
