"""Suites of the user's own through the real commands: from a task file to the verdict, and scored again."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from swiftkv_bench.cli import app
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.errors import InconclusiveError, InputError, RegressionError
from swiftkv_bench.store import Run
from tests.accuracy.made import made, reader, with_columns
from tests.accuracy.toy_engine import ToyEngine

N = 40
ROWS = [{"question": f"Say w{i:03}:", "answer": f"w{i:03}"} for i in range(N)]
ERROR = """
process_results: !function own.error
metric_list: [{metric: err, aggregation: mean, higher_is_better: false}]
"""


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of one token a byte."""
    folder = tmp_path_factory.mktemp("letters")
    write_tokenizer(folder, tokenizer_json([]), 16384)
    return folder


def _engine(letters: Path, right: int, prefix: str = "") -> ToyEngine:
    """Answers the first `right` documents rightly, behind a prefix."""
    read = reader(letters)

    def reply(prompt: list[int]) -> str:
        word = read(prompt)[-5:-1]
        return prefix + (word if word[:1] == "w" and int(word[1:]) < right else "no")

    return ToyEngine(reply=reply)


def _run(suite: Path, out: Path, letters: Path, baseline: ToyEngine, swiftkv: ToyEngine) -> dict[str, Any]:
    with baseline, swiftkv:
        urls = ["--baseline-url", baseline.url, "--swiftkv-url", swiftkv.url, "--tokenizer", str(letters)]
        done = CliRunner().invoke(app, ["accuracy", "--suite", str(suite), "--out", str(out), "--json", "-q", *urls])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _verdict(run: Path) -> tuple[str, str]:
    done = CliRunner().invoke(app, ["compare", str(run)])
    kinds = {RegressionError: "FAIL", InconclusiveError: "INCONCLUSIVE", type(None): "PASS"}
    return kinds[type(done.exception)], done.output


def _err(folder: Path) -> Path:
    suite = made(folder, ERROR, ROWS, metric="err", range=[0, 1], margin=0.1)
    (folder / "own.py").write_text("def error(doc, results):\n    return {'err': float(results[0] != doc['answer'])}\n")
    return suite


def test_an_error_that_rises_from_nothing_to_everything_fails(letters: Path, tmp_path: Path) -> None:
    found = _run(_err(tmp_path), tmp_path / "run", letters, _engine(letters, N), _engine(letters, 0))
    verdict, text = _verdict(tmp_path / "run")
    assert verdict == "FAIL"
    assert "Quality holds" not in text
    [accuracy] = found["accuracy"]
    assert accuracy["verdict"] == "FAIL"
    [column] = accuracy["columns"]
    assert (column["comparisons"]["total"]["means"], column["comparisons"]["total"]["effect"]) == ([0, 1], 1)


def test_an_error_that_falls_from_everything_to_nothing_passes(letters: Path, tmp_path: Path) -> None:
    _run(_err(tmp_path), tmp_path / "run", letters, _engine(letters, 0), _engine(letters, N))
    assert _verdict(tmp_path / "run")[0] == "PASS"


def test_one_task_named_twice_says_no_more_than_once(letters: Path, tmp_path: Path) -> None:
    once = made(tmp_path / "once", "", ROWS, margin=0.1)
    many = with_columns(
        made(tmp_path / "many", "", ROWS, margin=0.1), *({"name": f"c{i}", "title": f"C{i}"} for i in range(5))
    )
    found = [
        _run(suite, suite.parent / "run", letters, _engine(letters, N), _engine(letters, N - 2))["accuracy"][0]
        for suite in (once, many)
    ]
    single, average = found[0]["columns"][0]["comparisons"]["total"], found[1]["macro"]["comparisons"]["total"]
    assert average["effect"] == pytest.approx(single["effect"]) == pytest.approx(-2 / N)
    # The same 40 documents six times are 40 documents: the t interval of their differences (a clustered error divides
    # by n where this one has n − 1). Six columns that knew nothing of each other would have 0.41 of it.
    differences = [-1.0] * 2 + [0.0] * (N - 2)
    mean = sum(differences) / N
    stderr = (sum((d - mean) ** 2 for d in differences) / (N - 1) / N) ** 0.5
    half = 2.0227 * stderr
    interval = average["interval"]
    assert interval["low"] <= mean - 0.98 * half
    assert -1 <= interval["low"] < interval["high"] <= 1


F1 = """
process_results: !function own.pair
metric_list: [{metric: f1, aggregation: f1, higher_is_better: true}]
"""


def test_a_figure_that_is_no_mean_is_shown_and_judged(letters: Path, tmp_path: Path) -> None:
    # Labels: odd documents are 1. All right: F1 1. Only the first half right, the rest said to be 0: F1 2/3.
    suite = made(tmp_path, F1, ROWS, metric="f1", margin=0.05)
    (tmp_path / "own.py").write_text(
        "def pair(doc, results):\n    gold = int(doc['answer'][1:]) % 2\n"
        "    return {'f1': (gold, gold if results[0] == doc['answer'] else 0)}\n"
    )
    found = _run(suite, tmp_path / "run", letters, _engine(letters, N), _engine(letters, N // 2))
    [column] = found["accuracy"][0]["columns"]
    assert column["comparisons"]["total"]["means"] == pytest.approx([1.0, 2 / 3])
    assert _verdict(tmp_path / "run")[0] == "FAIL"


STRICT = """
filter_list:
  - {name: strict, filter: [{function: regex, regex_pattern: "^(w[0-9]+)$"}, {function: take_first}]}
  - {name: loose, filter: [{function: regex, regex_pattern: "(w[0-9]+)"}, {function: take_first}]}
"""


def test_recorded_answers_are_scored_again_without_an_engine(
    letters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    suite = made(tmp_path, STRICT, ROWS, filter="strict")
    _run(suite, tmp_path / "run", letters, _engine(letters, N, "It is "), _engine(letters, 10, "It is "))
    before = (tmp_path / "run" / "items.jsonl").read_bytes()
    assert {item.score for item in Run(tmp_path / "run").items()} == {0.0}
    suite.write_text(suite.read_text().replace("filter: strict", "filter: loose"))
    out = tmp_path / "again"
    command = ["accuracy", "--rescore", str(tmp_path / "run"), "--suite", str(suite), "--out", str(out), "-q"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    again = list(Run(out).items())
    assert {arm: sum(i.score for i in again if i.arm == arm) for arm in ("baseline", "swiftkv")} == {
        "baseline": N, "swiftkv": 10,
    }  # fmt: skip
    assert {item.score_before for item in again} == {0.0}
    assert (tmp_path / "run" / "items.jsonl").read_bytes() == before
    assert Run(out).manifest.rescored_from == Run(tmp_path / "run").manifest.run_id
    assert (Run(out).manifest.status, _verdict(out)[0]) == ("complete", "FAIL")


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (("Say", "Speak"), [], "document 0 of task one would be asked otherwise now"),
        (("", ""), ["--limit", "3"], "--limit with --rescore: no engine is asked and the items are the run's"),
        (("", ""), ["--suite", "mini"], r"--suite mini: none of its columns .* was asked in "),
    ],
)
def test_only_what_is_made_of_answers_may_change(
    letters: Path, tmp_path: Path, change: tuple[str, str], more: list[str], message: str
) -> None:
    suite = made(tmp_path, "", ROWS[:2])
    _run(suite, tmp_path / "run", letters, _engine(letters, 2), _engine(letters, 2))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(rows.read_text().replace(*change))
    out = ["--out", str(tmp_path / "again"), "-q"]
    done = CliRunner().invoke(app, ["accuracy", "--rescore", str(tmp_path / "run"), *more, *out])
    with pytest.raises(InputError, match=message):
        raise done.exception or AssertionError(done.output)


def test_thinking_without_a_rule_is_a_finding(letters: Path, tmp_path: Path) -> None:
    suite = made(tmp_path, "", ROWS[:3])
    engines = [_engine(letters, 3, "<think>w</think> ") for _ in range(2)]
    found = _run(suite, tmp_path / "run", letters, *engines)
    [finding] = [f for f in found["findings"] if f["code"] == "thinking" and f["arm"] == "baseline"]
    assert "no think_end_token is stated (3 times)" in finding["message"]
    assert "--rescore" in finding["next_step"]
