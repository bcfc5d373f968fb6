"""Task files with data of their own: which file is read, what of it is remembered, and what a resumed run notices."""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swiftkv_bench.accuracy.data import Wanted, load_data
from swiftkv_bench.accuracy.notices import listening
from swiftkv_bench.errors import InputError
from tests.accuracy.made import answers, made, prepared, run, write_rows
from tests.accuracy.toy_engine import ToyEngine

ROWS = [{"question": f"Say {word}:", "answer": word} for word in ("red", "green", "blue")]
OTHERS = [{"question": f"Say {word}:", "answer": word} for word in ("one", "two", "three")]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        write_rows(path, rows)


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.json", "mine.csv", "mine.parquet"])
def test_the_file_that_a_task_names_is_read_and_no_other(
    letters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "suite" / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    _write(tmp_path / "suite" / "data" / name, ROWS)
    # As many rows of the same kind in the working directory, which `load_dataset("json")` alone would take.
    _write(tmp_path / "elsewhere" / name.replace("mine", "test"), OTHERS)
    monkeypatch.chdir(tmp_path / "elsewhere")
    loader = {"mine.csv": "csv", "mine.parquet": "parquet"}.get(name, "json")
    task = f"dataset_path: {loader}\ndataset_kwargs: {{data_files: {{test: data/{name}}}}}"
    suite = made(tmp_path / "suite", task, ROWS)
    with ToyEngine(reply=answers(letters, {"red:": "red", "green:": "green", "blue:": "wrong"})) as engine:
        items, _ = run(suite, tmp_path / "run", engine, letters)
    assert [(item.target, item.score) for item in items] == [("red", 1.0), ("green", 1.0), ("blue", 0.0)]


def test_the_manifest_has_file_and_content(tmp_path: Path) -> None:
    suite = made(tmp_path, "", ROWS)
    [source] = prepared(suite).sources.values()
    file = tmp_path / "rows.jsonl"
    assert (source.dataset, list(source.files), source.documents) == ("json", [str(file)], 3)
    file.write_text(file.read_text() + "\n")
    [same] = prepared(suite).sources.values()
    assert (same.content_hash, same.files == source.files) == (source.content_hash, False)
    write_rows(file, OTHERS)
    [other] = prepared(suite).sources.values()
    assert other.content_hash != source.content_hash


def test_a_folder_of_files_and_patterns(tmp_path: Path) -> None:
    write_rows(tmp_path / "parts" / "a.jsonl", ROWS[:2])
    write_rows(tmp_path / "parts" / "b.jsonl", ROWS[2:])
    for kwargs in ("{data_files: {test: parts/*.jsonl}}", "{data_dir: parts, data_files: {test: [a.jsonl, b.jsonl]}}"):
        suite = made(tmp_path, f"dataset_kwargs: {kwargs}", ROWS)
        [task] = prepared(suite).columns[0].tasks.values()
        assert list(task.task_docs) == ROWS


def test_a_folder_is_a_data_set_by_its_path(tmp_path: Path) -> None:
    write_rows(tmp_path / "set" / "test.jsonl", OTHERS)
    suite = made(tmp_path, "dataset_path: ./set\ndataset_kwargs: {}", OTHERS)
    [task] = prepared(suite).columns[0].tasks.values()
    assert list(task.task_docs) == OTHERS


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("dataset_kwargs: {}", "one.yaml: dataset_path: json without dataset_kwargs: data_files reads whatever"),
        ("dataset_kwargs: {data_files: gone.jsonl}", "dataset_kwargs: data_files: gone.jsonl: no such file in "),
        ("dataset_path: ./gone", "dataset_path: ./gone: no such folder in "),
        ("dataset_kwargs: {data_files: rows.jsonl, streaming: true}", "dataset_kwargs: streaming: true gives no "),
        ("dataset_kwargs: {data_files: {test: rows.jsonl}, nonsense: 3}", "cannot be read as a data set: .*nonsense"),
        ("nonsense: 3", "one.yaml: nonsense: 3: lm-eval's tasks have no such key"),
        ("test_split: absent", "one.yaml: .*absent"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_key(tmp_path: Path, task: str, message: str) -> None:
    with pytest.raises(InputError, match=f"mine.yaml: column one: .*{message}"):
        prepared(made(tmp_path, task, ROWS))


def test_two_files_of_one_name_with_other_content_are_not_guessed_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "here" / "rows.jsonl", OTHERS)
    monkeypatch.chdir(tmp_path / "here")
    suite = made(tmp_path / "suite", "", ROWS)
    with pytest.raises(InputError, match=r"rows.jsonl is in the working directory and beside the suite, with other"):
        prepared(suite)
    write_rows(tmp_path / "here" / "rows.jsonl", ROWS)
    assert prepared(suite).plan.columns[0].documents == 3


HELPED = """
process_results: !function scoring.marks
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
SCORING = (
    "import helping\n\ndef marks(doc, results):\n    return {'exact_match': helping.same(results[0], doc['answer'])}\n"
)
HELPING = "def same(one, other):\n    return float(one == other)\n"


def _helped(folder: Path) -> Path:
    suite = made(folder, HELPED, ROWS)
    (folder / "scoring.py").write_text(SCORING)
    (folder / "helping.py").write_text(HELPING)
    return suite


def test_a_module_that_the_scoring_module_imports_is_part_of_the_task(
    letters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "helping", raising=False)
    suite = _helped(tmp_path)
    before = prepared(suite)
    with ToyEngine(reply=answers(letters, {"red:": "red"})) as engine:
        items, _ = run(suite, tmp_path / "run", engine, letters)
        assert [item.score for item in items] == [1.0, 0.0, 0.0]
        (tmp_path / "helping.py").write_text(HELPING.replace("one == other", "one != other"))
        after = prepared(suite)
        assert after.task_hashes != before.task_hashes
        assert after.plan.suite_hash != before.plan.suite_hash
        with pytest.raises(InputError, match="task one was begun with another configuration or other data"):
            run(suite, tmp_path / "run", engine, letters)


@pytest.mark.parametrize("name", ["one.yaml", "rows.jsonl", "scoring.py"])
def test_every_file_that_decides_a_score_is_in_the_tasks_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    suite = _helped(tmp_path)
    before = prepared(suite).task_hashes
    shutil.copy(tmp_path / name, tmp_path / "kept")
    text = (tmp_path / name).read_text()
    changed = {"one.yaml": text + "num_fewshot: 0\ndescription: Say it.\n", "scoring.py": text + "# a remark\n"}
    (tmp_path / name).write_text(changed.get(name, text.replace("red", "rot")))
    assert prepared(suite).task_hashes != before
    shutil.copy(tmp_path / "kept", tmp_path / name)
    assert prepared(suite).task_hashes == before


def test_what_lm_eval_warns_of_is_kept_with_the_column(letters: Path, tmp_path: Path) -> None:
    suite = made(tmp_path, "generation_kwargs: {max_gen_toks: 5, max_tokens: 7}", ROWS)
    with ToyEngine(reply=answers(letters, {})) as engine:
        _, [state] = run(suite, tmp_path / "run", engine, letters)
        assert {body["max_tokens"] for body in engine.requests} == {5}
    texts = {notice.text for notice in state.notices if notice.code == "lm-eval"}
    assert any("Multiple max token args provided" in text for text in texts), state.notices
    assert any("No `until` specified" in text for text in texts), state.notices


def test_a_pinned_revision_is_told_when_a_local_copy_has_none(tmp_path: Path) -> None:
    write_rows(tmp_path / "copies" / "a" / "b" / "test.jsonl", ROWS)
    with listening() as heard:
        loaded = load_data(Wanted("a/b", None, {"revision": "abc123"}), tmp_path / "copies")
    assert list(loaded.splits["test"]) == ROWS
    assert [notice.code for notice in heard] == ["data-revision"]
