"""`swiftkv-bench accuracy` as a process: killed and resumed, suites of one's own, absent data."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from swiftkv_bench.accuracy.items import Continuation, Generation, Item, build_items, sample
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.records import read_statuses
from swiftkv_bench.accuracy.suites import plan_accuracy, select_columns, suite_file
from swiftkv_bench.accuracy.tasks import load_column
from swiftkv_bench.cli import app
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.embedded.vocabulary import task_words
from swiftkv_bench.engines.client import LostError
from swiftkv_bench.errors import InputError, ProbeError
from swiftkv_bench.schema.accuracy import AccuracyPlan, ItemRecord
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.store import Run, create_run
from tests.accuracy.toy_engine import ToyEngine
from tests.synthetic import accuracy_column, load_run, manifest

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 12
PROBE_REQUESTS = 17
"""Completions asked of the toy engine as baseline before its first item."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, tokenizer_json(task_words()), 16384)
    return folder


def _start(arguments: Sequence[str], folder: Path, **env: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "swiftkv_bench", "accuracy", *arguments], cwd=folder, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"} | env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _finish(arguments: Sequence[str], folder: Path) -> tuple[int, str, str]:
    with _start(arguments, folder) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def _engines(baseline: ToyEngine, swiftkv: ToyEngine, tokenizer: Path) -> list[str]:
    return ["--baseline-url", baseline.url, "--swiftkv-url", swiftkv.url, "--tokenizer", str(tokenizer)]


def _asked(engine: ToyEngine) -> Counter[str]:
    """Requests for the items' texts so far: those of the probes have no stop strings."""
    return Counter(json.dumps(body) for body in engine.requests if _is_text(body))


def _is_text(body: dict[str, Any]) -> bool:
    return "stop" in body


def _content(run: Path) -> dict[tuple[str, str, int], ItemRecord]:
    return {(r.arm, r.task, r.doc_id): r for r in Run(run).items()}


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _wait_until_journal_holds(run: Path, engines: dict[str, ToyEngine]) -> None:
    """Until SwiftKV has nothing left to answer of the column and every text that an engine sent is on disk."""
    deadline = time.monotonic() + 60
    while _asked(engines["swiftkv"]).total() < LIMIT or any(
        _lines(run / "journal" / f"{arm}.jsonl") < _asked(e).total() for arm, e in engines.items()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_twice_and_resumed_by_the_same_command(tokenizer: Path, tmp_path: Path) -> None:
    suites = ["--suite", "mini:mini_arc", "--suite", "mini:mini_winogrande", "--limit", str(LIMIT)]
    run = tmp_path / "run"
    with ToyEngine(holds_after=3, counts=_is_text) as baseline, ToyEngine() as swiftkv:
        engines = {"baseline": baseline, "swiftkv": swiftkv}
        command = [*suites, *_engines(baseline, swiftkv, tokenizer), "--out", str(run)]
        totals = []
        for _ in range(2):
            with _start(command, tmp_path) as process:
                try:
                    assert baseline.holding.wait(120)
                    _wait_until_journal_holds(run, engines)
                    totals.append(_asked(baseline).total())
                finally:
                    os.kill(process.pid, signal.SIGKILL)
            baseline.holds_after = 8
            baseline.holding.clear()
            baseline.release.set()
            baseline.release.clear()
        baseline.holds_after = None
        baseline.release.set()
        assert totals == [3, 8]
        code, out, _ = _finish(command, tmp_path)
        # Every text that reached the client before it died was on disk, so nothing was asked twice.
        assert [max(_asked(engine).values()) for engine in engines.values()] == [1, 1]
        assert code == 0
        assert "report: " in out
    with ToyEngine() as baseline, ToyEngine() as swiftkv:
        whole = tmp_path / "whole"
        command = [*suites, *_engines(baseline, swiftkv, tokenizer), "--out", str(whole)]
        assert _finish(command, tmp_path)[0] == 0
    assert _content(run) == _content(whole)
    assert len(list(Run(run).items())) == len(_content(whole)) == 4 * LIMIT
    assert {(s.arm, s.column): s.status for s in read_statuses(run)} == {
        (arm, column): "complete" for arm in engines for column in ("mini_arc", "mini_winogrande")
    }
    keys = [json.loads(line)[0] for line in (run / "journal" / "baseline.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys))


def test_only_a_server_of_the_same_model_goes_on_with_a_run(tokenizer: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["accuracy", "--suite", "mini:mini_arc", "--suite", "mini:mini_gsm8k", "--limit", "3", "--in-turn"]
    command += ["--out", str(run)]
    with ToyEngine() as swiftkv:

        def resumed(engine: ToyEngine) -> Result:
            return CliRunner().invoke(app, [*command, *_engines(engine, swiftkv, tokenizer)])

        with ToyEngine(dies_after=PROBE_REQUESTS + 3) as engine:
            assert isinstance(resumed(engine).exception, LostError)
            assert _asked(engine).total() == 3
        with ToyEngine(shallow=True) as other:
            refusal = _refusal(*command, *_engines(other, swiftkv, tokenizer))
            assert _asked(other).total() == 0
        assert refusal.startswith(f"{run}: the baseline engine at {other.url} does not serve the model that this arm ")
        assert Run(run).manifest.status_reason == refusal
        with ToyEngine() as engine:
            done = resumed(engine)
            assert (done.exit_code, _asked(engine).total()) == (0, 3), done.output
        with ToyEngine(shallow=True) as other:
            _refusal(*command, *_engines(other, swiftkv, tokenizer))
        assert (Run(run).manifest.status, Run(run).manifest.status_reason) == ("complete", None)


def test_an_answer_that_is_no_number_ends_its_column_on_its_arm_alone(tokenizer: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["accuracy", "--limit", "3", "--out", str(run)]
    command += ["--suite", "mini:mini_winogrande", "--suite", "mini:mini_truthfulqa"]
    item = _items("mini_winogrande", tokenizer, limit=3)[1]
    assert isinstance(item.questions[1], Continuation)
    spoilt = list(item.questions[1].context)
    with ToyEngine() as baseline:
        with ToyEngine(spoils=lambda body: body["prompt"] == spoilt) as swiftkv:
            ended = CliRunner().invoke(app, [*command, *_engines(baseline, swiftkv, tokenizer)])
        why = f"document {item.doc_id} of task mini_winogrande: the engine failed at this request and is up"
        assert isinstance(ended.exception, ProbeError), ended.output
        assert str(ended.exception).startswith(f"mini_winogrande of swiftkv not measured: {why}")
        assert (Run(run).manifest.status, Run(run).manifest.status_reason) == ("incomplete", str(ended.exception))
        assert {(s.arm, s.column): s.status for s in read_statuses(run)} == {
            ("baseline", "mini_winogrande"): "complete", ("swiftkv", "mini_winogrande"): "incomplete",
            ("baseline", "mini_truthfulqa"): "complete", ("swiftkv", "mini_truthfulqa"): "complete",
        }  # fmt: skip
        with ToyEngine() as swiftkv:
            resumed = CliRunner().invoke(app, [*command, *_engines(baseline, swiftkv, tokenizer)])
    assert (resumed.exit_code, {s.status for s in read_statuses(run)}) == (0, {"complete"}), resumed.output
    assert len(list(Run(run).items())) == 12


def _refusal(*arguments: str) -> str:
    """The sentence a command ends with before any engine is asked."""
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, InputError), result.output
    assert result.exception.exit_code == 2
    text = str(result.exception)
    assert "\n" not in text
    return text


URLS = ("--baseline-url", "http://127.0.0.1:1", "--swiftkv-url", "http://127.0.0.1:1")


def test_no_data_and_no_network_name_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    text = _refusal("accuracy", "--suite", "paper:winogrande", *URLS, "--tokenizer", "t")
    assert "winogrande is not here and there is no network" in text
    assert text.endswith("give a folder that holds a copy of the repository as allenai/winogrande/ with --data-dir")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: [", r"mine.yaml is not valid YAML: .*line 1"),
        ("just words", r"mine.yaml holds 'just words' and is no accuracy suite"),
        (
            "name: mine\ndescription: d\nprotocol: p\ncolumns:\n  - {name: a}",
            r"mine.yaml:columns.0.title is missing; an accuracy suite needs it",
        ),
        ("name: other\ndescription: d\nprotocol: p\ncolumns: []", "name: 'other' must be 'mine'"),
    ],
)
def test_a_wrong_suite_file_is_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    file = str(tmp_path / "mine.yaml")
    assert re.search(message, _refusal("accuracy", "--suite", file, *URLS, "--tokenizer", "t"))


def test_verify_says_what_it_cannot_use(tmp_path: Path) -> None:
    assert _refusal("verify", str(tmp_path / "gone")).startswith("there is no run folder")
    load = str(load_run(tmp_path / "load", repeats=1, requests=24).path)
    assert "has no accuracy columns" in _refusal("verify", load)
    columns = (accuracy_column("mini_arc", "Mini ARC", 500, 0.025, 0.25),)
    plan = AccuracyPlan(suite="mini", suite_hash="h", columns=columns, arms=("baseline", "swiftkv"), seed=0)
    run = str(create_run(tmp_path / "run", manifest("a", RunPlan(accuracy=plan))).path)
    assert "--sample '0%' is no share" in _refusal("verify", run, "--sample", "0%")
    assert "--arm full: the run has the arms baseline, swiftkv" in _refusal("verify", run, "--arm", "full")
    assert "say which with --arm" in _refusal("verify", run, "--model", "m")


def _items(column: str, tokenizer: Path, limit: int | None = None) -> list[Item]:
    """The items of a column of `mini` that a command with this limit asks."""
    suite = select_columns([f"mini:{column}"])
    plan = plan_accuracy(suite, ["baseline"], file=suite_file("mini"))
    tasks = load_column(plan, suite.columns[0], None)
    chosen = sample(tasks, limit, 0)
    return build_items(tasks, chosen, Prompter(str(tokenizer)), max_model_len=16384, max_gen_tokens=60)


def _targets(tokenizer: Path) -> dict[tuple[int, ...], str]:
    """Token ids of every prompt of Mini ARC -> its right answer."""
    items = _items("mini_arc", tokenizer)
    return {item.questions[0].prompt: item.target for item in items if isinstance(item.questions[0], Generation)}


def test_a_column_that_is_lost_for_certain_ends_early(tokenizer: Path, tmp_path: Path) -> None:
    targets = _targets(tokenizer)
    wrong = {"A": "B", "B": "C", "C": "D", "D": "A"}

    def right(prompt: list[int]) -> str:
        return targets.get(tuple(prompt), "")

    with ToyEngine(reply=right) as baseline, ToyEngine(reply=lambda p: wrong.get(right(p), "")) as swiftkv:
        command = ["--suite", "mini:mini_arc", "--limit", "100", "--stop-when-decided", "--json"]
        code, out, err = _finish([*command, *_engines(baseline, swiftkv, tokenizer), "--out", "run"], tmp_path)
    assert code == 0, err
    [accuracy] = json.loads(out)["accuracy"]
    states = {s.arm: (s.status, s.items) for s in read_statuses(tmp_path / "run")}
    # n items, all lost, are sqrt(n) standard errors below no change: 4.47 at 20, where the second look asks for 4.51
    # with the share that answers have of the error rate (4.38 without); 5.48 at 30, where the third asks for 3.62.
    assert states == {"baseline": ("ended early", 30), "swiftkv": ("ended early", 30)}
    assert accuracy["verdict"] == "FAIL"
