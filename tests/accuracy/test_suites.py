"""Suites: every shipped file loads, columns are chosen by name, hashes follow content, errors say what to do."""

import shutil
from pathlib import Path

import pytest

from swiftkv_bench.accuracy.suites import (
    available_suites,
    load_suite,
    plan_accuracy,
    select_columns,
    selected_file,
    suite_file,
    suite_hash,
    suites_dir,
)
from swiftkv_bench.accuracy.tasks import task_config
from swiftkv_bench.errors import InputError

CARD_ORDER = ["arc_challenge", "winogrande", "hellaswag", "truthfulqa", "mmlu", "mmlu_cot", "gsm8k"]


def test_the_shipped_suites() -> None:
    assert available_suites() == ("llama3", "mini", "paper")


@pytest.mark.parametrize("name", ["llama3", "paper"])
def test_columns_stand_in_the_order_of_the_model_card(name: str) -> None:
    assert [c.name for c in load_suite(name).columns] == CARD_ORDER


@pytest.mark.parametrize("name", ["llama3", "paper"])
def test_mmlu_has_57_subjects_and_14042_documents(name: str) -> None:
    columns = {c.name: c for c in load_suite(name).columns}
    for column in ("mmlu", "mmlu_cot"):
        assert (len(set(columns[column].subsets)), columns[column].documents) == (57, 14042)


@pytest.mark.parametrize("name", ["llama3", "mini", "paper"])
def test_every_task_file_of_a_suite_is_readable(name: str) -> None:
    for column in load_suite(name).columns:
        for subset in column.subsets or ("",):
            config = task_config(column.file.replace("{subset}", subset), suite_file(name).parent)
            assert config["output_type"] in {"generate_until", "multiple_choice"}


def test_only_paper_may_stand_beside_published_rows() -> None:
    assert {name: load_suite(name).published for name in available_suites()} == {
        "llama3": None, "mini": None, "paper": "published_accuracy.csv",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("requests", "suite", "columns"),
    [
        ([], "paper", CARD_ORDER),
        (["llama3"], "llama3", CARD_ORDER),
        (["winogrande", "arc_challenge"], "paper", ["arc_challenge", "winogrande"]),
        (["paper:mmlu", "gsm8k"], "paper", ["mmlu", "gsm8k"]),
        (["paper", "gsm8k"], "paper", CARD_ORDER),
        (["llama3:gsm8k"], "llama3", ["gsm8k"]),
    ],
)
def test_columns_are_chosen_by_name(requests: list[str], suite: str, columns: list[str]) -> None:
    chosen = select_columns(requests)
    assert (chosen.name, [c.name for c in chosen.columns]) == (suite, columns)


def test_a_bare_column_is_looked_up_in_the_default_suite_first() -> None:
    assert select_columns(["mini_arc"], default="mini").name == "mini"
    assert select_columns(["winogrande"], default="mini").name == "paper"


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        (["nonsense"], r"--suite nonsense: neither a suite \(llama3, mini, paper\) nor a column of suite paper"),
        (["paper:nonsense"], "suite paper has the columns arc_challenge, winogrande"),
        (["nonsense:mmlu"], "--suite nonsense: no such suite"),
        (["absent.yaml"], "--suite absent.yaml: no such suite; shipped are llama3, mini, paper, or give a YAML file"),
        (["mmlu", "llama3:gsm8k"], "rows of different suites never meet in one table"),
    ],
)
def test_a_wrong_request_says_what_there_is(requests: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        select_columns(requests)


def _copy(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    shutil.copytree(suites_dir() / "paper", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "suite.yaml").write_text((folder / "suite.yaml").read_text().replace("name: paper", "name: mine", 1))
    return folder


def test_a_suite_of_ones_own_is_given_as_a_folder(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    suite = select_columns([str(folder)])
    plan = plan_accuracy(suite, ["baseline"], file=suite_file(str(folder)))
    assert (suite.name, plan.suite, plan.source) == ("mine", "mine", str(folder / "suite.yaml"))


OWN = """
name: mine
description: One column.
protocol: a test
columns:
  - {name: arc, title: ARC, task: arc, file: tasks/arc.yaml, metric: exact_match, filter: multi_choice,
     num_fewshot: 0, chat_template: true, documents: 1172}
"""


def _own_file(tmp_path: Path) -> Path:
    """A suite of one file beside other things, with a task that includes another and takes a function."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "arc.yaml").write_text("include: base.yaml\nprocess_docs: !function own.same\n")
    shutil.copy(suites_dir() / "paper" / "arc_challenge.yaml", tmp_path / "tasks" / "base.yaml")
    (tmp_path / "tasks" / "own.py").write_text("def same(docs):\n    return docs\n")
    (tmp_path / "mine.yaml").write_text(OWN)
    return tmp_path / "mine.yaml"


def test_a_suite_of_ones_own_is_given_as_a_file(tmp_path: Path) -> None:
    file = _own_file(tmp_path)
    for request in (str(file), f"{file}:arc"):
        suite, chosen = select_columns([request]), selected_file([request])
        assert (suite.name, [c.name for c in suite.columns], chosen) == ("mine", ["arc"], file)
    assert plan_accuracy(suite, ["baseline"], file=chosen).source == str(file)


@pytest.mark.parametrize("name", ["arc.yaml", "base.yaml", "own.py"])
def test_the_hash_of_a_suite_file_follows_what_it_names_and_nothing_else(tmp_path: Path, name: str) -> None:
    file = _own_file(tmp_path)
    suite = load_suite(str(file))
    before = suite_hash(suite, file)
    (tmp_path / "unrelated.yaml").write_text("a: 1\n")
    assert suite_hash(suite, file) == before
    (tmp_path / "tasks" / name).write_text((tmp_path / "tasks" / name).read_text() + "\n# a remark\n")
    assert suite_hash(suite, file) != before


def test_a_folder_of_a_columns_name_does_not_hide_the_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mmlu").mkdir()
    monkeypatch.chdir(tmp_path)
    assert [c.name for c in select_columns(["mmlu"]).columns] == ["mmlu"]


def test_a_shipped_suite_has_no_source() -> None:
    assert plan_accuracy(load_suite("paper"), ["baseline"], file=suite_file("paper")).source is None


def test_the_hash_follows_every_file_of_a_suite(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    suite = load_suite(str(folder))
    before = suite_hash(suite, folder / "suite.yaml")
    assert suite_hash(suite, folder / "suite.yaml") == before
    (folder / "gsm8k.yaml").write_text((folder / "gsm8k.yaml").read_text() + "\n# a remark\n")
    assert suite_hash(suite, folder / "suite.yaml") != before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: paper", "name: other", r"name: 'other' must be 'paper'"),
        ("documents: 1172", "documents: 0", r"columns\.0\.documents: .*greater than 0.*found 0"),
        ("metric: acc_norm", "metrics: acc_norm", r"columns\.2\."),
        ("name: winogrande", "name: arc_challenge", "two columns have the same name"),
        ("columns:", "columns: [", "is not valid YAML"),
    ],
)
def test_a_wrong_suite_file_is_an_error_with_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = tmp_path / "paper"
    shutil.copytree(suites_dir() / "paper", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "suite.yaml").write_text((folder / "suite.yaml").read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        load_suite(str(folder))


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="--limit 0"):
        plan_accuracy(load_suite("paper"), ["baseline"], file=suite_file("paper"), limit=0)


def test_a_repeated_baseline_needs_a_baseline() -> None:
    with pytest.raises(InputError, match="--repeat-baseline"):
        plan_accuracy(load_suite("paper"), ["swiftkv"], file=suite_file("paper"), repeat_baseline=True)


def test_own_task_files_merge_mappings_and_lm_evals_replace_them() -> None:
    own = task_config("gsm8k.yaml", suite_file("paper").parent)
    upstream = task_config("lm_eval:llama3/instruct/gsm8k/gsm8k.yaml", suite_file("paper").parent)
    assert own["fewshot_config"]["samples"] == upstream["fewshot_config"]["samples"]
    assert own["fewshot_config"]["doc_to_target"] == " {{target}}"
    assert upstream["generation_kwargs"]["until"] == []
    with pytest.raises(InputError, match="no such file"):
        task_config("absent.yaml", suite_file("paper").parent)
