"""Accepted runs: small, checked, never overwritten, and worth as much as the run folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swiftkv_bench import integrity
from swiftkv_bench.accepted.runs import Entry, accept, accepted_runs, find, read_accepted
from swiftkv_bench.errors import IncomparableError, InputError
from swiftkv_bench.judge.compare import Asked, compare_runs
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.schema.base import content_hash
from swiftkv_bench.store import Run
from tests.judge.planted import Scores, answered, compared, flipped, loaded, read, right
from tests.synthetic import accuracy_run

NOW = "2026-11-25T00:00:00+00:00"
RIGHT = right(200, 150)
SCORES: Scores = {
    ("gsm8k", "baseline", 0): RIGHT,
    ("gsm8k", "baseline", 1): flipped(RIGHT, lost=1),
    ("gsm8k", "swiftkv", 0): flipped(RIGHT, gained=2),
}
TTFT: Any = {"baseline": [0.1, 0.11, 0.105], "swiftkv": [0.05, 0.06, 0.055]}


def _accept(run: Run, root: Path, name: str = "main") -> Entry:
    return accept(run.path, name, root, Policy(), now_utc=NOW)


def test_an_accepted_run_says_what_its_folder_said(tmp_path: Path) -> None:
    for run in (answered(tmp_path / "acc", SCORES, unparsed=3), loaded(tmp_path / "load", TTFT)):
        entry = _accept(run, tmp_path / "accepted")
        before, after = read(run), read_accepted(entry.folder, "main")
        assert before.answers.keys() == after.answers.keys()
        for key, answers in before.answers.items():
            again = after.answers[key]
            assert answers.keys == again.keys
            for name in ("score", "prints", "unparsed", "unfinished", "truncated"):
                assert (getattr(answers, name) == getattr(again, name)).all()
            assert answers.generated == again.generated
        assert len(before.trials) == len(after.trials)
        for one, other in zip(before.trials, after.trials, strict=True):
            assert replace(one, requests={}, detail=None) == replace(other, requests={})
            lists = [{name: x.tolist() for name, x in trial.requests.items()} for trial in (one, other)]
            assert lists[0] == lists[1]


def test_a_comparison_with_the_accepted_run_has_the_same_figures(tmp_path: Path) -> None:
    before = answered(tmp_path / "a", SCORES)
    after = answered(tmp_path / "b", {**SCORES, ("gsm8k", "swiftkv", 0): flipped(RIGHT, lost=20)})
    _accept(before, tmp_path / "accepted")
    asked = Asked(Policy(), None, (), (), NOW)
    by_name = compare_runs(find("main", tmp_path / "accepted", Policy()), read(after), asked)
    by_folder = compared(before, after)
    assert by_name.verdicts == by_folder.verdicts
    assert _figures(by_name) == _figures(by_folder)
    assert {one.reference for one in by_name.lines} == {"accepted run"}


def test_requests_of_an_accepted_run_pair_as_those_of_its_folder(tmp_path: Path) -> None:
    before = loaded(tmp_path / "a", TTFT)
    after = loaded(tmp_path / "b", {**TTFT, "swiftkv": [0.055, 0.066, 0.0606]})
    _accept(before, tmp_path / "accepted")
    asked = Asked(Policy(), None, (), (), NOW)
    by_name = compare_runs(find("main", tmp_path / "accepted", Policy()), read(after), asked)
    assert _figures(by_name) == _figures(compared(before, after))
    assert {"ttft_paired_s", "tpot_paired_s"} <= {one.metric for one in by_name.lines}


def _figures(found: RunComparison) -> list[object]:
    return [(one.metric, one.effect, one.bounds, one.p_fail) for one in found.lines]


def test_a_full_accuracy_run_stays_below_two_megabytes(tmp_path: Path) -> None:
    run = accuracy_run(tmp_path / "full")
    _distinct_prompts(run)
    entry = _accept(run, tmp_path / "accepted")
    assert sum(path.stat().st_size for path in entry.folder.iterdir()) < 2_000_000


def _distinct_prompts(run: Run) -> None:
    """As in a real run, no two items share a hash."""
    lines = []
    for text in run.items_path.read_text().splitlines():
        one = json.loads(text)
        for name in ("doc_hash", "prompt_hash", "target_hash"):
            one[name] = content_hash([one["column"], one["doc_id"], name])
        lines.append(json.dumps(one))
    run.items_path.write_text("\n".join(lines) + "\n")


def test_nothing_is_overwritten_and_a_name_is_its_newest_run(tmp_path: Path) -> None:
    root = tmp_path / "accepted"
    first, second = answered(tmp_path / "a", SCORES), answered(tmp_path / "b", SCORES)
    _accept(first, root)
    with pytest.raises(InputError, match="accepted as main already"):
        _accept(first, root)
    accept(second.path, "main", root, Policy(), now_utc="2026-11-26T00:00:00+00:00", note="faster")
    assert [e.accepted.manifest.run_id for e in accepted_runs(root)] == ["a", "b"]
    assert find("main", root, Policy()).side.run_id == "b"
    assert find("main@a", root, Policy()).side.run_id == "a"


def test_an_unfinished_run_is_not_accepted(tmp_path: Path) -> None:
    run = answered(tmp_path / "a", SCORES, status="incomplete", status_reason="interrupted")
    with pytest.raises(InputError, match=r"is incomplete \(interrupted\)"):
        _accept(run, tmp_path / "accepted")
    assert not (tmp_path / "accepted").exists()


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a@b", " main", "a*b", "new\nline", "-x", "x" * 101])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name accepted runs"):
        _accept(answered(tmp_path / "a", SCORES), tmp_path / "accepted", name)


def test_a_baseline_that_is_not_there_is_an_error_that_lists_the_others(tmp_path: Path) -> None:
    _accept(answered(tmp_path / "a", SCORES), tmp_path / "accepted")
    with pytest.raises(InputError, match=r"no accepted run release; accepted under .*: main"):
        find("release", tmp_path / "accepted", Policy())
    with pytest.raises(InputError, match="none"):
        find("main", tmp_path / "elsewhere", Policy())


@pytest.mark.parametrize("text", ["/no/such/run", "m*", "**x", "[", "../accepted/main"])
def test_a_path_or_pattern_that_is_no_run_is_not_there(tmp_path: Path, text: str) -> None:
    _accept(answered(tmp_path / "a", SCORES), tmp_path / "accepted")
    with pytest.raises(InputError) as raised:
        find(text, tmp_path / "accepted", Policy())
    assert str(raised.value).startswith(f"there is no run folder and no accepted run {text}; accepted under")
    assert accepted_runs(tmp_path / "accepted", text) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file.*; choose another --accepted folder"):
        _accept(answered(tmp_path / "a", SCORES), tmp_path / "file")


@pytest.mark.parametrize("damage", ["cut", "edited", "removed"])
def test_a_damaged_table_is_an_error(tmp_path: Path, damage: str) -> None:
    folder = _accept(answered(tmp_path / "a", SCORES), tmp_path / "accepted").folder
    path = folder / "items.parquet"
    data = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(data[:-9] if damage == "cut" else data.replace(b"gsm8k", b"gsm9k"))
    with pytest.raises(InputError, match=r"items\.parquet"):
        read_accepted(folder, "main")


def _changed(folder: Path, old: str, new: str) -> None:
    path = folder / "accepted.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_an_edited_summary_is_an_error(tmp_path: Path) -> None:
    folder = _accept(answered(tmp_path / "a", SCORES), tmp_path / "accepted").folder
    _changed(folder, '"suite_hash": "h"', '"suite_hash": "g"')
    with pytest.raises(InputError, match="was truncated or edited"):
        read_accepted(folder, "main")


def test_a_newer_format_is_an_error_that_says_so(tmp_path: Path) -> None:
    folder = _accept(answered(tmp_path / "a", SCORES), tmp_path / "accepted").folder
    _changed(folder, "swiftkv-bench/accepted/1", "swiftkv-bench/accepted/2")
    with pytest.raises(InputError, match="accepted/2, this program reads swiftkv-bench/accepted/1; upgrade"):
        read_accepted(folder, "main")


def test_figures_of_other_definitions_are_refused(tmp_path: Path) -> None:
    folder = _accept(loaded(tmp_path / "a", TTFT), tmp_path / "accepted").folder
    raw = json.loads((folder / "accepted.json").read_text())
    raw["accepted"]["definitions"] = "0" * 16
    raw["checksum"] = content_hash(raw["accepted"])
    (folder / "accepted.json").write_text(json.dumps(raw))
    with pytest.raises(IncomparableError) as caught:
        read_accepted(folder, "main")
    assert caught.value.key == "definitions"


def test_a_damaged_run_folder_is_an_error_on_either_side(tmp_path: Path) -> None:
    good = answered(tmp_path / "a", SCORES)
    for name in ("items.jsonl", "manifest.json"):
        bad = Path(shutil.copytree(good.path, tmp_path / f"bad-{name}"))
        (bad / name).write_bytes((bad / name).read_bytes()[:-30])
        for sides in ((Run(bad), good), (good, Run(bad))):
            with pytest.raises(InputError, match=name):
                compared(*sides)
        with pytest.raises(InputError, match=name):
            _accept(Run(bad), tmp_path / "accepted")


def test_a_complete_run_without_a_planned_trial_is_an_error_though_it_has_no_checksums(tmp_path: Path) -> None:
    run = loaded(tmp_path / "a", TTFT)
    (run.path / "checksums.json").unlink()
    gone = next((run.path / "trials").glob("*.json"))
    gone.unlink()
    with pytest.raises(InputError, match=f"lacks 1 of 6 trials of a complete run, {gone.stem} first"):
        _accept(run, tmp_path / "accepted")


def test_a_run_of_a_newer_schema_is_an_error(tmp_path: Path) -> None:
    run = answered(tmp_path / "a", SCORES)
    path = run.path / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    integrity.seal(run.path)
    with pytest.raises(InputError, match="format version 99"):
        read(Run(run.path))
