"""Run folders: what is written comes back, and what was damaged is refused."""

import dataclasses
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.errors import InputError, StorageError
from swiftkv_bench.schema.base import SCHEMA_VERSION
from swiftkv_bench.schema.engine import EngineSpec
from swiftkv_bench.schema.manifest import Machine, Manifest, RunPlan
from swiftkv_bench.schema.perf import Arrivals, Length, PerfPlan, Point, RequestTable, Trial, TrialRecord
from swiftkv_bench.store import Run, append_whole, create_run, open_run, write_atomic

POINT = Point(
    input_len=Length(mean=8), output_len=Length(mean=2), arrivals=Arrivals(process="poisson", rate=2.0), requests=2
)
TRIAL = Trial(trial_id="t0", point=POINT, arm="baseline", repeat=0, seed=7)


def _manifest() -> Manifest:
    spec = EngineSpec(arm="baseline", kind="fake", model="m", tokenizer="m", max_model_len=64)
    return Manifest(
        run_id="r",
        status="running",
        created_utc="2026-01-01T00:00:00+00:00",
        profile="fake",
        engines=(spec,),
        plan=RunPlan(perf=PerfPlan(seed=1, trials=(TRIAL,))),
        plan_hash="h",
        machine=Machine(platform="test", logical_cpus=1),
        packages={},
        harness_version="0",
    )


def _table() -> RequestTable:
    return RequestTable(
        scheduled_s=np.array([0.0, 0.5]),
        sent_s=np.array([0.001, np.nan]),
        end_s=np.array([1.25, np.nan]),
        status=np.array([0, 2]),
        http_status=np.array([200, -1]),
        prompt_tokens_asked=np.array([8, 8]),
        output_tokens_asked=np.array([2, 2]),
        prompt_tokens=np.array([8, -1]),
        output_tokens=np.array([2, -1]),
        cached_tokens=np.array([0, -1]),
        chunk_start=np.array([0, 2, 2]),
        chunk_s=np.array([0.75, 1.250001]),
        chunk_tokens=np.array([1, 1]),
        errors={1: "connection refused"},
    )


def _record() -> TrialRecord:
    return TrialRecord(
        trial=TRIAL, status="complete", started_utc="2026-01-01T00:00:00+00:00", window_s=1.0, total_s=1.3
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(tmp_path / "run", _manifest())


def test_a_trial_comes_back_as_it_was_written(run: Run) -> None:
    run.write_trial(_record(), _table())
    [(record, table)] = open_run(run.path).trials()
    assert record == _record()
    for field in dataclasses.fields(RequestTable):
        if field.name != "errors":
            np.testing.assert_array_equal(getattr(table, field.name), getattr(_table(), field.name), field.name)
    assert table.errors == {1: "connection refused"}


def test_a_trial_counts_once_its_record_is_there(run: Run) -> None:
    assert not run.has_trial("t0")
    run.write_trial(_record(), _table())
    assert run.has_trial("t0")
    (run.path / "trials" / "t0.json").unlink()
    assert not run.has_trial("t0")
    assert list(run.trials()) == []


def test_an_edited_table_is_refused_by_its_checksum(run: Run) -> None:
    run.write_trial(_record(), _table())
    path = run.path / "trials" / "t0.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"t0\.npz was truncated or edited \(checksum differs\)"):
        list(run.trials())


def test_a_truncated_record_is_refused(run: Run) -> None:
    run.write_trial(_record(), _table())
    path = run.path / "trials" / "t0.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"t0\.json was truncated or edited"):
        list(run.trials())


def test_a_trial_from_before_engines_were_watched_reads_as_one_without_telemetry(run: Run) -> None:
    run.write_trial(_record(), _table())
    path = run.path / "trials" / "t0.json"
    old = json.loads(path.read_text())
    old["telemetry"] = {}
    path.write_text(json.dumps(old))
    [(record, _)] = run.trials()
    assert record.telemetry is None


def test_a_newer_format_is_refused(run: Run) -> None:
    path = run.path / "manifest.json"
    content = json.loads(path.read_text())
    content["schema_version"] = SCHEMA_VERSION + 1
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"format version {SCHEMA_VERSION + 1}.*upgrade swiftkv-bench"):
        open_run(run.path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "has no manifest.json"), ("{", "cannot read"), ("{}", "is not a manifest"), ("[]", "is not a manifest")],
)
def test_a_folder_without_a_manifest_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=message):
        open_run(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run folder"):
        open_run(tmp_path / "nowhere")


def test_a_folder_in_use_is_not_overwritten(run: Run) -> None:
    with pytest.raises(InputError, match=r"is no run folder and holds 'manifest\.json'"):
        create_run(run.path, _manifest())


def test_an_unfinished_last_item_line_is_left_out(run: Run) -> None:
    run.items_path.write_text('{"arm": "baseline"')
    assert list(run.items()) == []
    run.items_path.write_text('{"arm": "baseline"}\n')
    with pytest.raises(InputError, match=r"items\.jsonl:1 is not an item record"):
        list(run.items())


@contextmanager
def _files_up_to(size: int) -> Iterator[None]:
    """As on a disk with that much room: a longer write is cut short, the next one fails."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_line_for_which_there_is_no_room_leaves_no_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    append_whole(handle, path, b"first\n")
    with _files_up_to(10), pytest.raises(StorageError, match=f"cannot write {path}: File too large; raise the limit"):
        append_whole(handle, path, b"second\n")
    append_whole(handle, path, b"third\n")
    os.close(handle)
    assert path.read_bytes() == b"first\nthird\n"


def test_a_file_that_has_no_room_keeps_its_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with _files_up_to(10), pytest.raises(StorageError) as refused:
        write_atomic(path, b"n" * 100)
    assert str(refused.value).endswith(
        "File too large; raise the limit on the size of a file (ulimit -f); nothing that was recorded is lost, and the "
        "same command goes on"
    )
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"old"}


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file/run: Not a directory; choose another folder with --out"):
        create_run(tmp_path / "file" / "run", _manifest())
