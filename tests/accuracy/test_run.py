"""A run end to end against a server with a known model: records, resuming, dying engines, missing data."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.utils import make_table

from swiftkv_bench.accuracy.looks import Scores
from swiftkv_bench.accuracy.records import read_statuses
from swiftkv_bench.accuracy.run import prepare_accuracy, run_accuracy
from swiftkv_bench.accuracy.suites import plan_accuracy, select_columns, selected_file, suite_file
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.embedded.vocabulary import task_words
from swiftkv_bench.engines.client import LostError
from swiftkv_bench.errors import InputError
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.accuracy import AccuracyPlan, ItemRecord
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.store import Run
from tests.accuracy.toy_engine import ALL_WAYS, ToyEngine

LIMIT = 12
BOTH: tuple[Arm, ...] = ("baseline", "swiftkv")
COLUMNS = ("mini:mini_arc", "mini:mini_winogrande", "mini:mini_truthfulqa")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, tokenizer_json(task_words()), 16384)
    return folder


def _plan(*columns: str, limit: int = LIMIT, **more: Any) -> AccuracyPlan:
    suite = select_columns(columns or COLUMNS)
    return plan_accuracy(suite, more.pop("arms", ("baseline",)), file=suite_file(suite.name), limit=limit, **more)


def _target(engine: ToyEngine, tokenizer: Path, key: str = "engine", max_model_len: int = 16384) -> Target:
    return Target(engine.url, "toy", str(tokenizer), key, max_model_len)


def _run(plan: AccuracyPlan, targets: dict[Arm, Target], folder: Path, **more: Any) -> list[ItemRecord]:
    run_accuracy(prepare_accuracy(plan, None, Silent()), targets, folder, Silent(), **more)
    return list(Run(folder).items())


def _content(records: list[ItemRecord]) -> dict[tuple[str, str, int], ItemRecord]:
    """Records by what they answer, without what depends on the order of work."""
    return {(r.arm, r.task, r.doc_id): r for r in records}


def test_every_item_of_the_sample_is_recorded_with_lm_evals_scores(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        records = _run(_plan(), {"baseline": _target(engine, tokenizer)}, tmp_path)
    assert {c: sum(r.column == c for r in records) for c in ("mini_arc", "mini_winogrande", "mini_truthfulqa")} == {
        "mini_arc": LIMIT, "mini_winogrande": LIMIT, "mini_truthfulqa": LIMIT,
    }  # fmt: skip
    for r in records:
        if r.column == "mini_arc":
            [text] = r.responses
            assert (r.method, r.filtered) == ("generation", (text[-2],))
            assert r.score == float(text[-2] == r.target)
        elif r.column == "mini_winogrande":
            assert r.method == "forced decode"
            assert len(r.responses) == 2
        else:
            probability = np.exp([ll for ll, _ in r.responses])
            assert r.score == pytest.approx(probability[:2].sum() / probability.sum())
    assert {s.column: (s.status, s.items, s.items_asked, s.methods) for s in read_statuses(tmp_path)} == {
        "mini_arc": ("complete", LIMIT, LIMIT, ("generation",)),
        "mini_winogrande": ("complete", LIMIT, LIMIT, ("forced decode",)),
        "mini_truthfulqa": ("complete", LIMIT, LIMIT, ("forced decode",)),
    }


def test_the_way_of_scoring_does_not_change_a_log_likelihood(tokenizer: Path, tmp_path: Path) -> None:
    found = []
    for i, ways in enumerate((ALL_WAYS, ALL_WAYS - {"swiftkv_forced_tokens"}, frozenset({"allowed_token_ids"}))):
        with ToyEngine(ways=ways) as engine:
            plan = _plan("mini:mini_winogrande", limit=4)
            records = _run(plan, {"baseline": _target(engine, tokenizer)}, tmp_path / str(i))
        found.append({r.doc_id: r.responses for r in records})
    methods = [s.methods for i in range(3) for s in read_statuses(tmp_path / str(i))]
    assert methods == [("forced decode",), ("prompt logprobs",), ("one-token requests",)]
    for doc_id, expected in found[0].items():
        for other in found[1:]:
            assert [ll for ll, _ in other[doc_id]] == pytest.approx([ll for ll, _ in expected], abs=1e-9)


def test_a_column_without_an_exact_way_is_not_run_and_says_why(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine(ways=frozenset({"prompt_logprobs"}), honest=False) as engine:
        records = _run(_plan(), {"baseline": _target(engine, tokenizer)}, tmp_path)
    assert {r.column for r in records} == {"mini_arc"}
    states = {s.column: s for s in read_statuses(tmp_path)}
    assert states["mini_arc"].status == "complete"
    assert states["mini_winogrande"].status == "not run"
    assert "no exact way" in str(states["mini_winogrande"].reason)


def test_an_arm_with_a_failed_probe_is_not_asked_and_its_columns_say_why(tokenizer: Path, tmp_path: Path) -> None:
    why = "the probe `right answers` failed"
    with ToyEngine() as engine, ToyEngine() as faulty:
        targets: dict[Arm, Target] = {"baseline": _target(engine, tokenizer), "swiftkv": _target(faulty, tokenizer)}
        plan = _plan("mini:mini_arc", arms=("baseline", "swiftkv"))
        records = _run(plan, targets, tmp_path, stopped={"swiftkv": why})
        assert faulty.requests == []
    assert {r.arm for r in records} == {"baseline"}
    assert [(s.arm, s.status, s.reason) for s in read_statuses(tmp_path)] == [
        ("swiftkv", "not run", why),
        ("baseline", "complete", None),
    ]


def test_both_arms_answer_the_same_items_and_never_share_an_answer(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine(reply=lambda _: "A") as baseline, ToyEngine(reply=lambda _: "B") as swiftkv:
        targets = {"baseline": _target(baseline, tokenizer, "one"), "swiftkv": _target(swiftkv, tokenizer, "two")}
        records = _run(_plan("mini:mini_arc", arms=("baseline", "swiftkv")), targets, tmp_path)  # type: ignore[arg-type]
    answers = {arm: {r.doc_id: r.responses for r in records if r.arm == arm} for arm in ("baseline", "swiftkv")}
    assert answers["baseline"].keys() == answers["swiftkv"].keys()
    assert {arm: set(a.values()) for arm, a in answers.items()} == {"baseline": {("A",)}, "swiftkv": {("B",)}}
    hashes = {
        arm: {(r.doc_id, r.prompt_hash, r.doc_hash, r.target_hash) for r in records if r.arm == arm} for arm in answers
    }
    assert hashes["baseline"] == hashes["swiftkv"]


def test_a_repeated_baseline_is_asked_twice(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        plan = _plan("mini:mini_arc", repeat_baseline=True)
        records = _run(plan, {"baseline": _target(engine, tokenizer)}, tmp_path)
        assert len(engine.requests) == 2 * LIMIT
    assert sorted(r.repeat for r in records) == [0] * LIMIT + [1] * LIMIT


def test_the_same_call_asks_nothing_again(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        first = _run(_plan("mini:mini_arc"), {"baseline": _target(engine, tokenizer)}, tmp_path)
        asked = len(engine.requests)
        again = _run(_plan("mini:mini_arc"), {"baseline": _target(engine, tokenizer)}, tmp_path)
        assert len(engine.requests) == asked
    assert again == first


def test_a_larger_sample_keeps_what_was_answered(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        target = _target(engine, tokenizer)
        small = _run(_plan("mini:mini_arc", limit=5), {"baseline": target}, tmp_path)
        large = _run(_plan("mini:mini_arc", limit=9), {"baseline": target}, tmp_path)
        assert len(engine.requests) == 9
    assert large[:5] == small


def test_items_lost_from_the_log_come_back_from_the_journal(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        target = _target(engine, tokenizer)
        first = _run(_plan("mini:mini_arc"), {"baseline": target}, tmp_path)
        lines = (tmp_path / "items.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / "items.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:30])
        again = _run(_plan("mini:mini_arc"), {"baseline": target}, tmp_path)
        assert len(engine.requests) == LIMIT
    assert _content(again) == _content(first)
    [state] = read_statuses(tmp_path)
    assert (state.requests, state.requests_from_journal) == (0, LIMIT - 4)


def test_an_engine_that_dies_ends_the_run_with_what_it_has(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine(dies_after=7) as engine, pytest.raises(LostError, match="is the server running there"):
        _run(_plan("mini:mini_arc"), {"baseline": _target(engine, tokenizer)}, tmp_path, concurrency=2)
    [state] = read_statuses(tmp_path)
    assert (state.status, state.items) == ("incomplete", 7)
    with ToyEngine() as engine:
        records = _run(_plan("mini:mini_arc"), {"baseline": _target(engine, tokenizer)}, tmp_path)
        assert len(engine.requests) == LIMIT - 7
    assert len(_content(records)) == len(records) == LIMIT
    [state] = read_statuses(tmp_path)
    assert (state.status, state.reason) == ("complete", None)


def test_an_engine_that_dies_stops_the_other_arm(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine(holds_after=3) as held, ToyEngine(dies_after=2) as dying:
        targets: dict[Arm, Target] = {
            "baseline": _target(held, tokenizer, "one"), "swiftkv": _target(dying, tokenizer, "two")
        }  # fmt: skip
        with pytest.raises(LostError):
            _run(_plan("mini:mini_arc", arms=BOTH), targets, tmp_path, concurrency=2)
        assert not held.release.is_set()
    assert {s.arm: s.status for s in read_statuses(tmp_path)} == {"baseline": "incomplete", "swiftkv": "incomplete"}


def killed_child(url: str, tokenizer: str, folder: str) -> None:
    """What the killed process runs."""
    target = Target(url, "toy", tokenizer, "engine", 16384)
    _run(_plan(), {"baseline": target}, Path(folder), concurrency=2)


def test_kill_9_loses_nothing_and_asks_nothing_twice(tokenizer: Path, tmp_path: Path) -> None:
    in_flight, probes, whole_run = 2, 20, LIMIT + 20 + 2 * LIMIT + 6 * LIMIT
    with ToyEngine(holds_after=LIMIT + probes + 9) as engine:
        call = "import sys; from tests.accuracy.test_run import killed_child; killed_child(*sys.argv[1:])"
        folder = tmp_path / "run"
        command = [sys.executable, "-c", call, engine.url, str(tokenizer), str(folder)]
        with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as child:
            assert engine.holding.wait(120)
            os.kill(child.pid, signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        engine.holds_after = None
        engine.release.set()
        resumed = _run(_plan(), {"baseline": _target(engine, tokenizer)}, folder)
        # Each start probes; a request that was on its way when the process died has no answer yet.
        assert whole_run + probes <= len(engine.requests) <= whole_run + probes + in_flight
    with ToyEngine() as engine:
        whole = _run(_plan(), {"baseline": _target(engine, tokenizer)}, tmp_path / "whole")
        assert len(engine.requests) == whole_run
    assert _content(resumed) == _content(whole)
    assert len(resumed) == len(whole)


def test_answers_of_another_engine_configuration_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        _run(_plan("mini:mini_arc", limit=2), {"baseline": _target(engine, tokenizer, "one")}, tmp_path)
        with pytest.raises(InputError, match="another model or engine configuration"):
            _run(_plan("mini:mini_arc", limit=2), {"baseline": _target(engine, tokenizer, "two")}, tmp_path)


def test_answers_to_another_version_of_a_task_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        _run(_plan("mini:mini_arc", limit=2), {"baseline": _target(engine, tokenizer)}, tmp_path)
        states = json.loads((tmp_path / "columns.json").read_text())
        states[0]["task_hashes"]["mini_arc"] = "of other data"
        (tmp_path / "columns.json").write_text(json.dumps(states))
        with pytest.raises(InputError, match="task mini_arc was begun with another configuration or other data"):
            _run(_plan("mini:mini_arc", limit=3), {"baseline": _target(engine, tokenizer)}, tmp_path)


def test_answers_to_other_prompts_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        _run(_plan("mini:mini_arc", limit=2), {"baseline": _target(engine, tokenizer)}, tmp_path)
        with pytest.raises(InputError, match="another prompt"):
            _run(_plan("mini:mini_arc", limit=2), {"baseline": _target(engine, tokenizer, max_model_len=30)}, tmp_path)


def test_prompts_that_do_not_fit_lose_their_left_end_and_are_marked(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        target = _target(engine, tokenizer, max_model_len=30)
        [record] = _run(_plan("mini:mini_arc", limit=1), {"baseline": target}, tmp_path)
        [body] = engine.requests
    assert record.truncated
    assert len(body["prompt"]) == record.prompt_tokens == 30 - 12


def _pair(engine: ToyEngine, tokenizer: Path) -> dict[Arm, Target]:
    return {"baseline": _target(engine, tokenizer, "one"), "swiftkv": _target(engine, tokenizer, "two")}


def test_a_column_ends_early_once_decided_on_the_same_items_of_all_arms(tokenizer: Path, tmp_path: Path) -> None:
    seen: list[dict[str, int]] = []

    def decide(column: str, scores: Scores) -> bool:
        seen.append({arm: len(of_arm) for (arm, _), of_arm in scores.items()})
        return len(seen) == 3

    plan = _plan("mini:mini_arc", limit=50, arms=BOTH, stop_when_decided=True)
    with ToyEngine() as engine:
        records = _run(plan, _pair(engine, tokenizer), tmp_path, decide=decide)
    assert seen == [{"baseline": n, "swiftkv": n} for n in (5, 10, 15)]
    assert len(records) == 30
    assert {r.doc_id for r in records if r.arm == "baseline"} == {r.doc_id for r in records if r.arm == "swiftkv"}
    assert {(s.arm, s.status, s.items) for s in read_statuses(tmp_path)} == {
        ("baseline", "ended early", 15), ("swiftkv", "ended early", 15),
    }  # fmt: skip


def test_a_resumed_run_takes_the_same_looks(tokenizer: Path, tmp_path: Path) -> None:
    plan = _plan("mini:mini_arc", limit=50, arms=BOTH, stop_when_decided=True)

    def decide(column: str, scores: Scores) -> bool:
        return len(scores["baseline", 0]) >= 15

    with ToyEngine(dies_after=23) as engine, pytest.raises(LostError):
        _run(plan, _pair(engine, tokenizer), tmp_path, decide=decide, concurrency=2)
    with ToyEngine() as engine:
        records = _run(plan, _pair(engine, tokenizer), tmp_path, decide=decide)
        assert len(engine.requests) == 30 - 23
        assert _run(plan, _pair(engine, tokenizer), tmp_path, decide=decide) == records
        assert len(engine.requests) == 30 - 23
    assert len(records) == 30


def test_an_arm_that_comes_later_is_asked_until_decided(tokenizer: Path, tmp_path: Path) -> None:
    plan = _plan("mini:mini_arc", limit=50, arms=BOTH, stop_when_decided=True)

    def decide(column: str, scores: Scores) -> bool:
        return len(scores.get(("swiftkv", 0), ())) >= 10

    with ToyEngine() as engine:
        for arm, target in _pair(engine, tokenizer).items():
            _run(plan, {arm: target}, tmp_path, decide=decide)
    assert {s.arm: (s.status, s.items) for s in read_statuses(tmp_path)} == {
        "baseline": ("complete", 50), "swiftkv": ("ended early", 10),
    }  # fmt: skip


def test_a_repeated_baseline_answers_what_was_asked_before_the_end(tokenizer: Path, tmp_path: Path) -> None:
    plan = _plan("mini:mini_arc", limit=50, stop_when_decided=True, repeat_baseline=True)
    with ToyEngine() as engine:
        records = _run(plan, {"baseline": _target(engine, tokenizer)}, tmp_path, decide=lambda *_: True)
    answered = [{r.doc_id for r in records if r.repeat == repeat} for repeat in (0, 1)]
    assert answered[0] == answered[1]
    assert len(answered[0]) == 5


def test_absent_data_name_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plan = _plan("hellaswag")
    with pytest.raises(InputError, match=r"Rowan/hellaswag .*--data-dir"):
        prepare_accuracy(plan, tmp_path, Silent())


def test_a_column_without_data_is_not_run_beside_others(tokenizer: Path, tmp_path: Path, real_data: Path) -> None:
    plan = _plan("winogrande", "hellaswag", limit=1)
    prepared = prepare_accuracy(plan, real_data, Silent())
    with ToyEngine() as engine:
        run_accuracy(prepared, {"baseline": _target(engine, tokenizer)}, tmp_path, Silent())
    states = {s.column: s.status for s in read_statuses(tmp_path)}
    assert states == {"winogrande": "complete", "hellaswag": "not run"}


def test_lm_evals_own_files_hold_the_same_figures(tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        records = _run(_plan("mini:mini_winogrande"), {"baseline": _target(engine, tokenizer)}, tmp_path)
    folder = tmp_path / "lm_eval" / "baseline" / "mini_winogrande"
    [results] = [json.loads(path.read_text()) for path in folder.glob("results_*.json")]
    [samples] = [path.read_text().splitlines() for path in folder.glob("samples_mini_winogrande_*.jsonl")]
    scores = [r.score for r in records]
    figures = results["results"]["mini_winogrande"]
    assert figures["acc,none"] == pytest.approx(np.mean(scores))
    assert figures["acc_stderr,none"] == pytest.approx(np.std(scores, ddof=1) / np.sqrt(LIMIT))
    assert results["n-samples"] == {"mini_winogrande": {"original": 500, "effective": LIMIT}}
    by_doc = {r.doc_id: r for r in records}
    for line in map(json.loads, samples):
        record = by_doc[line["doc_id"]]
        assert (line["acc"], line["doc_hash"]) == (record.score, record.doc_hash)
        assert line["arguments"]["gen_args_0"]["arg_0"] + line["arguments"]["gen_args_0"]["arg_1"] == record.prompt
        assert line["resps"] == [[[str(ll), str(greedy)]] for ll, greedy in record.responses]


@pytest.mark.parametrize("left", ["nothing", "the samples alone", "those of before as well"])
def test_lm_evals_own_files_are_whole_whenever_a_start_was_killed(left: str, tokenizer: Path, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        targets: dict[Arm, Target] = {"baseline": _target(engine, tokenizer)}
        _run(_plan("mini:mini_winogrande"), targets, tmp_path)
        folder = tmp_path / "lm_eval" / "baseline" / "mini_winogrande"
        [results] = folder.glob("results_*.json")
        [samples] = folder.glob("samples_*.jsonl")
        if left == "those of before as well":
            for path in (results, samples):
                stem, _, _ = path.stem.rpartition("_")
                shutil.copy(path, folder / f"{stem}_2026-01-01T00-00-00.000000{path.suffix}")
        else:
            results.unlink()
            if left == "nothing":
                samples.unlink()
        _run(_plan("mini:mini_winogrande"), targets, tmp_path)
    assert sorted(path.name.split("_")[0] for path in folder.iterdir()) == ["results", "samples"]


def test_lm_eval_reads_the_score_of_a_column_of_subsets(tokenizer: Path, tmp_path: Path) -> None:
    mini, own = suite_file("mini").parent, tmp_path / "own"
    own.mkdir()
    for name in ("data.py", "_generated.yaml", "mini_arc.yaml"):
        shutil.copy(mini / name, own / name)
    (own / "suite.yaml").write_text(
        "{name: own, description: d, protocol: p, columns: [{name: pair, title: Pair, task: pair, file: mini_arc.yaml, "
        "subsets: [one, two], metric: exact_match, filter: answer, num_fewshot: 0, chat_template: true, "
        "documents: 1000}]}"
    )
    plan = plan_accuracy(select_columns([str(own)]), ["baseline"], file=own / "suite.yaml", limit=LIMIT)
    with ToyEngine() as engine:
        records = _run(plan, {"baseline": _target(engine, tokenizer)}, tmp_path / "run")
    [path] = (tmp_path / "run" / "lm_eval" / "baseline" / "pair").glob("results_*.json")
    results = json.loads(path.read_text())
    scores = [r.score for r in records]
    found = results["groups"]["pair"]
    assert found["sample_len"] == LIMIT
    assert found["exact_match,answer"] == pytest.approx(np.mean(scores))
    table = make_table(results)
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:5]] == ["pair", "- pair_one", "- pair_two"]


def test_hellaswag_items_from_activitynet_run_under_their_own_name(
    tokenizer: Path, tmp_path: Path, real_data: Path
) -> None:
    """HellaSwag's own path: four endings after ten shots, 3,243 real items; never under the name of the whole set."""
    request = str(Path(__file__).parents[2] / "benchmarks" / "suites" / "speed") + ":hellaswag_activitynet_val"
    plan = plan_accuracy(select_columns([request]), ["baseline"], file=selected_file([request]), limit=3)
    prepared = prepare_accuracy(plan, real_data, Silent())
    assert [len(t.task_docs) for t in prepared.columns[0].tasks.values()] == [3243]
    with ToyEngine() as engine:
        run_accuracy(prepared, {"baseline": _target(engine, tokenizer, max_model_len=100_000)}, tmp_path, Silent())
    records = list(Run(tmp_path).items())
    assert [(r.column, r.task, len(r.responses), r.method) for r in records] == [
        ("hellaswag_activitynet_val", "hellaswag_activitynet_val", 4, "forced decode")
    ] * 3
    for r in records:
        lengths = [len(choice) for choice in r.choices]
        assert len(set(lengths)) > 1
        assert r.metrics.keys() >= {"acc", "acc_norm"}
        assert r.score == r.metrics["acc_norm"]
