"""A repeated command goes on where it stopped; anything else gets a folder of its own."""

from pathlib import Path

import pytest

from swiftkv_bench.errors import InputError
from swiftkv_bench.resume import find_or_create, locked
from swiftkv_bench.schema.engine import EngineSpec
from swiftkv_bench.schema.manifest import Machine, Manifest, RunPlan
from swiftkv_bench.store import Run


def _manifest(name: str = "r", plan_hash: str = "h") -> Manifest:
    return Manifest(
        run_id=name,
        status="running",
        created_utc="2026-01-01T00:00:00+00:00",
        profile="fake",
        engines=(EngineSpec(arm="baseline", kind="fake", model="m", tokenizer="m", max_model_len=64),),
        plan=RunPlan(),
        plan_hash=plan_hash,
        machine=Machine(platform="test", logical_cpus=1),
        packages={},
        harness_version="0",
    )


def test_the_same_unfinished_run_is_resumed(tmp_path: Path) -> None:
    first = find_or_create(_manifest("a"), None, tmp_path, fresh=False)
    again = find_or_create(_manifest("b"), None, tmp_path, fresh=False)
    assert (first.resumed, again.resumed) == (False, True)
    assert again.run.path == first.run.path


def test_a_finished_run_another_plan_and_fresh_get_new_folders(tmp_path: Path) -> None:
    first = find_or_create(_manifest("a"), None, tmp_path, fresh=False)
    assert find_or_create(_manifest("b", "other"), None, tmp_path, fresh=False).run.path != first.run.path
    assert find_or_create(_manifest("a"), None, tmp_path, fresh=True).run.path == tmp_path / "a-2"
    (tmp_path / "a-2" / "manifest.json").unlink()
    first.run.write_manifest(first.run.manifest.model_copy(update={"status": "complete"}))
    assert not find_or_create(_manifest("c"), None, tmp_path, fresh=False).resumed


def test_a_named_folder_holds_one_run_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not find_or_create(_manifest(), out, tmp_path, fresh=False).resumed
    assert find_or_create(_manifest(), out, tmp_path, fresh=False).resumed
    with pytest.raises(InputError, match="holds a run of another plan"):
        find_or_create(_manifest(plan_hash="other"), out, tmp_path, fresh=False)
    with pytest.raises(InputError, match="--fresh asks for a new one"):
        find_or_create(_manifest(), out, tmp_path, fresh=True)


def test_unreadable_folders_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    assert not find_or_create(_manifest(), None, tmp_path, fresh=False).resumed


def test_two_processes_cannot_run_one_folder(tmp_path: Path) -> None:
    run = find_or_create(_manifest(), None, tmp_path, fresh=False).run
    with locked(run), pytest.raises(InputError, match="is being run by another process"), locked(Run(run.path)):
        pass
