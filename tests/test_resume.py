"""A repeated command goes on where it stopped; anything else gets a folder of its own."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from swiftkv_bench import integrity
from swiftkv_bench.errors import InputError
from swiftkv_bench.resume import Place, claimed
from swiftkv_bench.schema.engine import EngineSpec
from swiftkv_bench.schema.manifest import Machine, Manifest, RunPlan
from swiftkv_bench.store import LOCK, Run

BUILDS = {"vllm": "0.11.0", "plug-in": "0.1.0, source 0123456789ab"}


def _manifest(name: str = "r", plan_hash: str = "h", **builds: str) -> Manifest:
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
        builds=BUILDS | builds,
        harness_version="0",
    )


def _claim(manifest: Manifest, root: Path, out: Path | None = None, *, fresh: bool = False) -> Place:
    with claimed(manifest, out, root, fresh=fresh) as place:
        return place


def _complete(run: Run) -> None:
    run.write_manifest(run.manifest.model_copy(update={"status": "complete"}))
    integrity.seal(run.path)


def test_the_same_unfinished_run_is_resumed(tmp_path: Path) -> None:
    first, again = _claim(_manifest("a"), tmp_path), _claim(_manifest("b"), tmp_path)
    assert (first.resumed, again.resumed, again.note) == (False, True, None)
    assert again.run.path == first.run.path


def test_a_finished_run_another_plan_and_fresh_get_new_folders(tmp_path: Path) -> None:
    first = _claim(_manifest("a"), tmp_path)
    assert _claim(_manifest("b", "other"), tmp_path).run.path != first.run.path
    assert _claim(_manifest("a"), tmp_path, fresh=True).run.path == tmp_path / "a-2"
    (tmp_path / "a-2" / "manifest.json").unlink()
    _complete(first.run)
    assert not _claim(_manifest("c"), tmp_path).resumed


def test_a_named_folder_holds_one_run_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not _claim(_manifest(), tmp_path, out).resumed
    assert _claim(_manifest(), tmp_path, out).resumed
    with pytest.raises(InputError, match="holds a run of another plan"):
        _claim(_manifest(plan_hash="other"), tmp_path, out)
    with pytest.raises(InputError, match="--fresh asks for a new one"):
        _claim(_manifest(), tmp_path, out, fresh=True)


def test_a_complete_run_is_not_taken_for_a_new_measurement(tmp_path: Path) -> None:
    run = _claim(_manifest(), tmp_path, tmp_path / "out").run
    _complete(run)
    with pytest.raises(InputError) as refused:
        _claim(_manifest(), tmp_path, run.path)
    assert str(refused.value) == (
        f"--out {run.path} holds this run complete, begun 2026-01-01T00:00:00+00:00, and nothing was measured now; "
        f"`swiftkv-bench report {run.path}` shows it, and a new folder (or --fresh without --out) measures anew"
    )


def test_a_complete_run_whose_record_was_taken_away_measures_it_again(tmp_path: Path) -> None:
    run = _claim(_manifest(), tmp_path, tmp_path / "out").run
    run.items_path.write_text("")
    _complete(run)
    run.items_path.unlink()
    assert _claim(_manifest(), tmp_path, run.path).resumed


def test_an_unfinished_run_goes_on_only_with_the_builds_it_was_begun_with(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _claim(_manifest(), tmp_path, out)
    with pytest.raises(InputError, match=r"begun with another build: vllm was 0\.11\.0 and is 0\.11\.1; go back"):
        _claim(_manifest(vllm="0.11.1"), tmp_path, out)
    assert _claim(_manifest(driver="580.1"), tmp_path, out).resumed  # not known when it was begun
    place = _claim(_manifest("new", vllm="0.11.1"), tmp_path)
    assert (place.run.path, place.resumed) == (tmp_path / "new", False)
    assert place.note == f"{out} is the same run unfinished, and does not go on: vllm was 0.11.0 and is 0.11.1"


def test_unreadable_folders_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    assert not _claim(_manifest(), tmp_path).resumed


def test_a_folder_with_nothing_but_what_a_killed_start_left_is_empty(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in (LOCK, ".manifest.json.x1y2z3.part"):
        (out / name).write_text("half")
    assert not _claim(_manifest(), tmp_path, out).resumed
    assert sorted(path.name for path in out.iterdir()) == [LOCK, "manifest.json"]


def test_temporary_files_of_killed_writes_are_gone_after_the_next_start(tmp_path: Path) -> None:
    run = _claim(_manifest(), tmp_path, tmp_path / "out").run
    left = [run.path / name for name in (".columns.json.ab.part", "trials/.t0.npz.cd.part", "lm_eval/a/b/.x.ef.part")]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    _claim(_manifest(), tmp_path, run.path)
    assert [path for path in left if path.exists()] == []


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is no run folder and holds 'thesis\.txt'; choose a new folder"):
        _claim(_manifest(), tmp_path / "root", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_processes_cannot_run_one_folder(tmp_path: Path) -> None:
    run = _claim(_manifest(), tmp_path).run
    with claimed(_manifest(), run.path, tmp_path, fresh=False):
        for out in (run.path, None):
            with pytest.raises(InputError, match="is being run by another process"):
                _claim(_manifest(), tmp_path, out)


@pytest.mark.parametrize("named", [True, False])
def test_of_runs_begun_at_once_none_takes_the_folder_of_another(named: bool, tmp_path: Path) -> None:
    at_once, over = threading.Barrier(8), threading.Barrier(8)
    got: list[tuple[str, Path | None]] = []

    def begin(plan: str) -> None:
        at_once.wait()
        try:
            with claimed(_manifest("r", plan), tmp_path / "out" if named else None, tmp_path, fresh=False) as place:
                got.append((plan, place.run.path))
                over.wait()
        except InputError:
            got.append((plan, None))
            over.wait()

    _run_all([partial(begin, f"plan {i}") for i in range(8)])
    paths = [path for _, path in got if path is not None]
    assert len(paths) == len(set(paths)) == (1 if named else 8)
    for plan, path in got:
        assert path is None or Run(path).manifest.plan_hash == plan


def _run_all(functions: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
