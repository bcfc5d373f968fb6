"""The answers of real vLLM engines, produced once a session in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .comparison import References

ROOT = Path(__file__).parents[2]
TRITON = ROOT / ".venv" / "triton"
"""Where ``make setup`` puts Triton, which must not be in the path of other engines."""


@pytest.fixture(scope="session")
def engine_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the checkpoints, ``runs.json`` and ``features.json`` of ``engine_runs``."""
    folder = tmp_path_factory.mktemp("engines")
    done = subprocess.run(
        [sys.executable, "-m", "tests.swiftkv.engine_runs", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"engine_runs ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return folder


@pytest.fixture(scope="session")
def engine_runs(engine_folder: Path) -> dict[str, dict[str, Any]]:
    """Run name -> ``RunResult`` as plain data."""
    results: dict[str, dict[str, Any]] = json.loads((engine_folder / "runs.json").read_text())
    return results


@pytest.fixture(scope="session")
def features(engine_folder: Path) -> dict[str, Any]:
    """What ``feature_runs.run_features`` gave."""
    results: dict[str, Any] = json.loads((engine_folder / "features.json").read_text())
    return results


@pytest.fixture(scope="session")
def references(engine_folder: Path) -> References:
    """Reference forwards of the engines' checkpoints."""
    return References(engine_folder)


@pytest.fixture(scope="session")
def v2_environment() -> dict[str, str]:
    """Environment in which vLLM chooses its V2 model runner on a CPU, with nothing set for it to do so."""
    if not (TRITON / "triton").is_dir():
        pytest.skip(f"the V2 model runner needs Triton, which is not in {TRITON}; `make setup` puts it there")
    path = (ROOT, TRITON, ROOT / "tests" / "triton_on_cpu", os.environ.get("PYTHONPATH", ""))
    return {
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "TRITON_INTERPRET": "1",
        "TRITON_DEFAULT_BACKEND": "cpu",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def v2_folder(tmp_path_factory: pytest.TempPathFactory, v2_environment: dict[str, str]) -> Path:
    """Folder with the checkpoints and ``v2.json`` of ``v2_runs``."""
    folder = tmp_path_factory.mktemp("v2")
    done = subprocess.run(
        [sys.executable, "-m", "tests.swiftkv.v2_runs", str(folder)],
        cwd=ROOT,
        env=os.environ | v2_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"v2_runs ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return folder


@pytest.fixture(scope="session")
def v2_runs(v2_folder: Path) -> dict[str, Any]:
    """What ``v2_runs`` wrote."""
    results: dict[str, Any] = json.loads((v2_folder / "v2.json").read_text())
    return results


@pytest.fixture(scope="session")
def v2_references(v2_folder: Path) -> References:
    """Reference forwards of the engines' checkpoints."""
    return References(v2_folder)
