"""The player's library: built once, and done without where it cannot be."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from swiftkv_bench.engines.fake.lateness import BOUNDS_S, Lateness, together
from swiftkv_bench.engines.fake.player import FLAGS, SOURCE, load

needs_compiler = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="needs Linux and a C compiler",
)


@needs_compiler
def test_the_library_is_built_once(tmp_path: Path) -> None:
    assert load(tmp_path) is not None
    (built,) = tmp_path.iterdir()
    before = built.stat().st_mtime_ns
    assert load(tmp_path) is not None
    assert built.stat().st_mtime_ns == before


@needs_compiler
def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")))
    command = [compiler, *FLAGS, "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(tmp_path / "player.so")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_is_none_without_a_compiler_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert load(tmp_path) is None
    (tmp_path / "file").write_text("")
    assert load(tmp_path / "file") is None


def test_a_broken_library_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "true")
    assert load(tmp_path) is None


def test_lateness_is_counted_in_classes_and_added_up() -> None:
    late = Lateness()
    for seconds in [0.00005] * 98 + [0.003, 2.5]:
        late.add(seconds)
    assert (late.n, late.worst_s) == (100, 2.5)
    assert late.total_s == pytest.approx(98 * 0.00005 + 2.503)
    assert (late.below(0.5), late.below(0.99), late.below(1.0)) == (BOUNDS_S[0], 0.005, 2.5)
    both = together([late, late])
    assert (both.n, both.worst_s, both.below(0.99)) == (200, 2.5, 0.005)
    assert both.total_s == pytest.approx(2 * late.total_s)
