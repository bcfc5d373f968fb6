"""Data of the accuracy tests: local copies of the real sets where they are, and small ones made here."""

import os
from pathlib import Path

import pytest

from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer

DATA = Path(os.environ.get("SWIFTKV_BENCH_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "datasets")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with local copies of the suites' data sets."""
    if not DATA.is_dir():
        pytest.skip(f"no copies of the data sets at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def hellaswag_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with `Rowan/hellaswag`: 40 training and 12 validation documents of our own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.accuracy.hellaswag_sample import rows

    folder = tmp_path_factory.mktemp("data")
    copy = folder / "Rowan" / "hellaswag" / "data"
    copy.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows(40, 0)), copy / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows(12, 1000)), copy / "validation-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of one token a byte."""
    folder = tmp_path_factory.mktemp("letters")
    write_tokenizer(folder, tokenizer_json([]), 16384)
    return folder
