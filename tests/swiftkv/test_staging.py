"""A staged folder gives an interpreter the entry points, without the harness's dependencies."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from swiftkv_bench.errors import EngineError
from swiftkv_bench.swiftkv.staging import ENTRY_POINTS, stage

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def _run(code: str, path: Path) -> str:
    # -S -E: no site-packages, so that only the staged folder can answer.
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import sys; sys.path.insert(0, {str(path)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_entry_points_are_those_of_the_project() -> None:
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]
    assert declared == ENTRY_POINTS


def test_a_bare_interpreter_finds_the_entry_points(tmp_path: Path) -> None:
    code = (
        "from importlib.metadata import entry_points\n"
        f"for group in {tuple(ENTRY_POINTS)}:\n"
        "    print(*sorted(point.value for point in entry_points(group=group)))"
    )
    expected = [" ".join(sorted(points.values())) for points in ENTRY_POINTS.values()]
    assert _run(code, stage(tmp_path / "staged")).splitlines() == expected


def test_the_staged_plug_in_imports_without_any_package(tmp_path: Path) -> None:
    staged = stage(tmp_path / "staged")
    code = "import swiftkv_bench.swiftkv as plugin, swiftkv_bench.errors; print(plugin.__file__)"
    assert _run(code, staged) == str(staged / "swiftkv_bench" / "swiftkv" / "__init__.py")


def test_staging_twice_replaces_the_first(tmp_path: Path) -> None:
    staged = stage(tmp_path / "staged")
    (staged / "swiftkv_bench" / "swiftkv" / "old.py").write_text("")
    stage(staged)
    assert not (staged / "swiftkv_bench" / "swiftkv" / "old.py").exists()


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(EngineError, match=r"holds 'thesis\.tex'"):
        stage(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
