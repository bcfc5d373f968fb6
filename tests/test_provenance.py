"""What must be the same for a run to go on: engine, plug-in, weights, driver."""

import json
import stat
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from swiftkv_bench import __version__, provenance
from swiftkv_bench.provenance import builds
from swiftkv_bench.schema.engine import EngineSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """What is asked of the machine is kept for the life of a process."""

    def forget() -> None:
        provenance.machine.cache_clear()
        provenance.accelerators.cache_clear()

    forget()
    yield
    forget()


def _spec(**changes: object) -> EngineSpec:
    values = {"arm": "baseline", "kind": "vllm", "model": "org/m", "tokenizer": "org/m", "max_model_len": 64}
    return EngineSpec.model_validate(values | changes)


def _program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_versions_and_files_of_the_engines_packages_are_part() -> None:
    found = builds([_spec()])
    here = {d.metadata["Name"]: d for d in metadata.distributions()}
    for name in ("torch", "transformers", "tokenizers"):
        version, _, files = found[name].partition(", files ")
        assert version == here[name].version
        assert len(files) == 12
    assert found["plug-in"].startswith(f"{__version__}, source ")


def test_another_build_of_one_version_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "vllm-9.9.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 9.9\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = []
    for digest in ("aa", "bb"):
        (package / "RECORD").write_text(f"vllm/_C.abi3.so,sha256={digest},1\n")
        provenance._engine_packages.cache_clear()
        found.append(builds([_spec()])["vllm"])
    provenance._engine_packages.cache_clear()
    assert [text.split(",")[0] for text in found] == ["9.9", "9.9"]
    assert found[0] != found[1]


def test_packages_of_an_interpreter_of_its_own_are_asked_of_it(tmp_path: Path) -> None:
    python = _program(tmp_path / "python", f"echo '{json.dumps({'vllm': '0.11.0'})}'")
    found = builds([_spec(python=python)])
    assert found[f"vllm of {python}"] == "0.11.0"
    assert "vllm" not in found


def test_an_interpreter_that_says_nothing_leaves_them_out(tmp_path: Path) -> None:
    python = _program(tmp_path / "python", "exit 1")
    assert {name for name in builds([_spec(python=python)]) if " of " in name} == set()


def test_the_source_of_the_plug_in_is_part(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("a = 1")
    before = provenance._source_hash(tmp_path)
    (tmp_path / "model.py").write_text("a = 2")
    provenance._source_hash.cache_clear()
    assert provenance._source_hash(tmp_path) != before
    (tmp_path / "model.py").write_text("a = 1")
    provenance._source_hash.cache_clear()
    assert provenance._source_hash(tmp_path) == before


def test_the_commit_of_hub_weights_is_part_once_they_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert "weights of org/m" not in builds([_spec()])
    for revision in ("main", "v2"):
        ref = tmp_path / "models--org--m" / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(f"{COMMIT}-{revision}")
    assert builds([_spec()])["weights of org/m"] == f"{COMMIT}-main"
    assert builds([_spec(revision="v2")])["weights of org/m"] == f"{COMMIT}-v2"
    assert "weights of org/m" not in builds([_spec(model_config_hash="of local files")])  # part of the plan's hash


def test_cards_and_driver_are_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "nvidia-smi", "echo '0, GPU-1, NVIDIA H100, 81559, 580.1'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = builds([_spec(kind="fake")])
    assert (found["GPUs"], found["driver"]) == ("NVIDIA H100", "580.1")
    assert found.keys() == {"GPUs", "driver", "processor"}


def test_the_release_of_an_engine_is_its_version_alone(tmp_path: Path) -> None:
    # In between: the local part that builds for one device have, and what tells builds of one version apart.
    said = '{"vllm": "0.33.1+cu130, files 0123456789ab"}'
    assert provenance.engine_release(_program(tmp_path / "python", f"echo '{said}'")) == "0.33.1"
    assert provenance.engine_release(_program(tmp_path / "bare", "echo '{}'")) is None
