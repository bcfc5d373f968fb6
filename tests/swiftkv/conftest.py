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
