"""Shipped weights become checkpoints in the released format; damaged ones are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE, baseline_parameters, swiftkv_sources
from swiftkv_bench.embedded.checkpoint import ensure_pair
from swiftkv_bench.embedded.shipped import SHIPPED_FOLDER, ShippedWeights, write_manifest
from swiftkv_bench.embedded.tensor_file import read_tensors
from swiftkv_bench.errors import InputError

SHIPPED = ShippedWeights(SHIPPED_FOLDER)


def test_shipped_weights_are_below_8_mib_and_bfloat16() -> None:
    files = list(SHIPPED_FOLDER.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) < 8 << 20
    assert {tensor.dtype for path in files for tensor in read_tensors(path).values()} == {"BF16"}
    assert SHIPPED.splits == (2, 4, 6)


@pytest.mark.parametrize("layers", [2, 4, 6])
def test_twin_is_the_baseline_and_what_swiftkv_adds(layers: int, tmp_path: Path) -> None:
    pair = ensure_pair(tmp_path, layers)
    baseline = read_tensors(pair.baseline / "model.safetensors")
    twin = read_tensors(pair.swiftkv / "model.safetensors")
    assert {name: tensor.shape for name, tensor in baseline.items()} == baseline_parameters(EMBEDDED_SHAPE)
    assert twin.keys() - baseline.keys() == swiftkv_sources(EMBEDDED_SHAPE, layers).keys()
    assert all(twin[name] == tensor for name, tensor in baseline.items())
    config = json.loads((pair.swiftkv / "config.json").read_text())
    assert config["architectures"] == ["LlamaSwiftKVForCausalLM"]
    assert (config["num_key_value_layers"], config["num_hidden_layers"]) == (layers, 8)
    assert json.loads((pair.baseline / "config.json").read_text())["model_type"] == "llama"


def test_undistilled_twin_is_a_copy_of_the_baseline_and_the_distilled_one_is_not(tmp_path: Path) -> None:
    undistilled = read_tensors(ensure_pair(tmp_path, distilled=False).swiftkv / "model.safetensors")
    distilled = read_tensors(ensure_pair(tmp_path).swiftkv / "model.safetensors")
    for name, source in swiftkv_sources(EMBEDDED_SHAPE, 4).items():
        assert undistilled[name] == undistilled[source]
        assert distilled[name] != undistilled[name]


def test_second_call_reuses_the_folder(tmp_path: Path) -> None:
    first = ensure_pair(tmp_path)
    stamp = (first.swiftkv / "model.safetensors").stat().st_mtime_ns
    assert ensure_pair(tmp_path) == first
    assert (first.swiftkv / "model.safetensors").stat().st_mtime_ns == stamp


def test_weights_are_trained(tmp_path: Path) -> None:
    # Random ones have no outliers: 6 standard deviations happen once in 5e8 draws.
    raw = SHIPPED.baseline()["model.layers.3.mlp.down_proj.weight"]
    values = (np.frombuffer(raw.data, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    assert np.abs(values).max() > 6 * values.std()


@pytest.mark.parametrize("name", ["baseline.safetensors", "swiftkv-n4.safetensors", "tokenizer.json"])
def test_changed_file_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(SHIPPED_FOLDER, folder)
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} has sha256 .*, not the shipped one"):
        ensure_pair(tmp_path / "cache", shipped=folder)
    assert not list((tmp_path / "cache").rglob("swiftkv*/model.safetensors"))


def test_missing_file_and_unknown_split_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(SHIPPED_FOLDER, folder)
    with pytest.raises(InputError, match="3 key/value layers: use one of 2, 4, 6"):
        ensure_pair(tmp_path / "cache", 3, shipped=folder)
    (folder / "swiftkv-n6.safetensors").unlink()
    with pytest.raises(InputError, match=r"swiftkv-n6\.safetensors cannot be read"):
        ensure_pair(tmp_path / "cache", 6, shipped=folder)


def test_identity_changes_with_any_file(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(SHIPPED_FOLDER, folder)
    write_manifest(folder)
    assert ShippedWeights(folder).identity == SHIPPED.identity
    with (folder / "tokenizer.json").open("a") as file:
        file.write("\n")
    write_manifest(folder)
    assert ShippedWeights(folder).identity != SHIPPED.identity
