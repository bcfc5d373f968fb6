"""Local copies of data sets: found by README or by the hub's names; incomplete ones are errors."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swiftkv_bench.accuracy.data import MissingDataError, load_local, local_copy, split_files
from swiftkv_bench.accuracy.suites import load_suite, plan_accuracy, suite_file
from swiftkv_bench.accuracy.tasks import load_column
from swiftkv_bench.errors import InputError


def _write(path: Path, values: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"n": values}), path)


def test_files_are_found_as_the_readme_says(tmp_path: Path) -> None:
    _write(tmp_path / "elsewhere" / "a.parquet", [1, 2])
    _write(tmp_path / "copy" / "odd" / "b.parquet", [3])
    (tmp_path / "copy" / "README.md").write_text(
        "---\nconfigs:\n- config_name: one\n  data_files:\n  - {split: test, path: ../elsewhere/*}\n"
        "  - {split: dev, path: odd/b.parquet}\n---\nText\n"
    )
    found = load_local(tmp_path / "copy", "one")
    assert {split: rows["n"][:] for split, rows in found.items()} == {"test": [1, 2], "dev": [3]}


@pytest.mark.parametrize(
    "name", ["one/test-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "test.parquet"]
)
def test_files_are_found_by_the_hubs_names(tmp_path: Path, name: str) -> None:
    _write(tmp_path / name, [5])
    assert split_files(tmp_path, "one") == {"test": [str(tmp_path / name)]}


def test_shards_of_a_split_are_joined_in_order(tmp_path: Path) -> None:
    _write(tmp_path / "data" / "train-00001-of-00002.parquet", [2])
    _write(tmp_path / "data" / "train-00000-of-00002.parquet", [1])
    assert load_local(tmp_path, None)["train"]["n"][:] == [1, 2]


def test_a_copy_without_the_configuration_is_missing_data(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no parquet file of configuration one"):
        load_local(tmp_path, "one")


def test_a_data_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--data-dir .*absent: no such folder"):
        local_copy("a/b", tmp_path / "absent")


def test_half_a_data_set_is_an_error(hellaswag_data: Path) -> None:
    suite = load_suite("paper")
    plan = plan_accuracy(suite, ["baseline"], file=suite_file("paper"))
    with pytest.raises(InputError, match="hellaswag of suite paper has 10042 documents, but its data hold 12"):
        load_column(plan, suite.columns[2], hellaswag_data)


@pytest.mark.parametrize(("field", "value"), [("metric", "bleu"), ("filter", "loose")])
def test_a_metric_or_filter_that_the_task_has_not_is_an_error(hellaswag_data: Path, field: str, value: str) -> None:
    suite = load_suite("paper")
    plan = plan_accuracy(suite, ["baseline"], file=suite_file("paper"))
    column = suite.columns[2].model_copy(update={field: value, "documents": 12})
    with pytest.raises(InputError, match=f"column hellaswag: {field}: '{value}' is none of"):
        load_column(plan, column, hellaswag_data)


def test_the_hash_of_a_task_follows_its_documents(hellaswag_data: Path, tmp_path: Path) -> None:
    suite = load_suite("paper")
    plan = plan_accuracy(suite, ["baseline"], file=suite_file("paper"))
    column = suite.columns[2].model_copy(update={"documents": 12})
    first = load_column(plan, column, hellaswag_data).hashes
    assert load_column(plan, column, hellaswag_data).hashes == first
    copy = tmp_path / "Rowan" / "hellaswag" / "data"
    copy.mkdir(parents=True)
    for path in (hellaswag_data / "Rowan" / "hellaswag" / "data").iterdir():
        rows = pq.read_table(path).to_pylist()
        rows[0]["ctx_b"] = "somebody"
        pq.write_table(pa.Table.from_pylist(rows), copy / path.name)
    assert load_column(plan, column, tmp_path).hashes != first
