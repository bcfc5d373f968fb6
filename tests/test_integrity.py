"""Checksums of a run folder find what was cut, edited, removed or added."""

from collections.abc import Callable
from pathlib import Path

import pytest

from swiftkv_bench import integrity
from swiftkv_bench.errors import InputError
from tests.synthetic import accuracy_run, load_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load_run(tmp_path_factory.mktemp("runs") / "load", repeats=1, requests=4).path


def test_a_sealed_run_holds(folder: Path) -> None:
    integrity.seal(folder)
    assert integrity.verify(folder) is True


def test_a_run_without_checksums_says_so(folder: Path) -> None:
    integrity.unseal(folder)
    assert integrity.verify(folder) is False


def _cut(folder: Path) -> str:
    path = folder / "items.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    return "items.jsonl was truncated or edited"


def _edited(folder: Path) -> str:
    path = folder / "items.jsonl"
    path.write_text(path.read_text().replace('"score":0.0', '"score":1.0', 1))
    return "items.jsonl was truncated or edited"


def _removed(folder: Path) -> str:
    (folder / "items.jsonl").unlink()
    return "items.jsonl is missing"


def _added(folder: Path) -> str:
    (folder / "trials").mkdir()
    (folder / "trials" / "extra.json").write_text("{}")
    return "extra.json was added"


def _no_checksums(folder: Path) -> str:
    (folder / integrity.NAME).write_text('{"files":')
    return "is not a list of checksums"


@pytest.mark.parametrize("damage", [_cut, _edited, _removed, _added, _no_checksums])
def test_damage_is_named(damage: Callable[[Path], str], tmp_path: Path) -> None:
    run = accuracy_run(tmp_path / "run", share=0.01).path
    integrity.seal(run)
    said = damage(run)
    with pytest.raises(InputError, match=said):
        integrity.verify(run)


def test_a_run_that_goes_on_has_no_checksums_whatever_a_killed_start_left(tmp_path: Path) -> None:
    run = accuracy_run(tmp_path / "run", share=0.01)
    ended = run.manifest
    integrity.seal(run.path)
    run.write_manifest(ended.model_copy(update={"status": "running"}))
    assert integrity.verify(run.path) is False
    assert integrity.verify(run.path, going_on=True) is False
    integrity.seal(run.path, ended)  # and then the manifest follows, or nothing does
    assert integrity.verify(run.path) is False
    run.write_manifest(ended)
    assert integrity.verify(run.path) is True
