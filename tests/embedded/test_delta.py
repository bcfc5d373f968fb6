"""A twin as a small difference from its base: rounding, joining, and everything that does not belong together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from swiftkv_bench.cli import app
from swiftkv_bench.embedded.checkpoint import ensure_pair
from swiftkv_bench.embedded.delta import apply_delta, quantised, read_info, restored, write_delta
from swiftkv_bench.embedded.llama_folder import LlamaFolder
from swiftkv_bench.embedded.weights_io import load_weights
from swiftkv_bench.errors import InputError

NAME = "model-swiftkv.safetensors"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The embedded baseline, and its twin in the layout that `distill` writes."""
    folder = tmp_path_factory.mktemp("pair")
    shipped = ensure_pair(folder)
    source = LlamaFolder(shipped.baseline)
    whole = load_weights(shipped.swiftkv / "model.safetensors")
    source.write_twin(folder / "twin", 4, {name: value for name, value in whole.items() if "swiftkv" in name})
    return shipped.baseline, folder / "twin"


@pytest.mark.parametrize(("bits", "codes"), [(2, 1), (3, 3), (4, 7), (8, 127)])
def test_whole_multiples_of_a_scale_come_back_exactly(bits: int, codes: int) -> None:
    random = np.random.default_rng(0)
    whole = random.integers(-codes, codes + 1, (6, 64)).astype(np.float32)
    whole[:, 0] = codes  # a group's largest value sets its scale
    scale = np.float32(2.0**-6)
    packed, scales = quantised(whole * scale, bits, 64)
    assert packed.size == 6 * 64 // (1 if bits > 4 else 2)
    np.testing.assert_array_equal(restored(packed, scales, bits, 64).reshape(6, 64), whole * scale)


def test_error_of_a_weight_is_at_most_half_a_step_at_eight_bits_and_zero_stays_zero() -> None:
    values = np.random.default_rng(1).normal(size=(4, 128)).astype(np.float32)
    values[2] = 0.0
    packed, scales = quantised(values, 8, 64)
    found = restored(packed, scales, 8, 64).reshape(4, 128)
    assert not found[2].any()
    peak = np.abs(values.reshape(-1, 64)).max(axis=1).reshape(4, 2, 1)
    assert (np.abs(found - values).reshape(4, 2, 64) <= peak / 127 * 0.51).all()


def test_delta_joined_to_its_base_is_the_twin_but_for_the_rounding(pair: tuple[Path, Path], tmp_path: Path) -> None:
    base, twin = pair
    wrote = write_delta(base, twin, tmp_path / "n4.safetensors", 8, 64, {"tokens": 5})
    joined = apply_delta(base, tmp_path / "n4.safetensors", tmp_path / "joined")
    assert joined == wrote == read_info(tmp_path / "n4.safetensors")
    assert (joined.num_hidden_layers, joined.num_key_value_layers, joined.training) == (8, 4, {"tokens": 5})
    own, found = load_weights(twin / NAME), load_weights(tmp_path / "joined" / NAME)
    assert own.keys() == found.keys()
    assert (own["model.norm_swiftkv.weight"] == found["model.norm_swiftkv.weight"]).all()
    for name, value in own.items():
        assert (found[name] - value).abs().max() <= 0.01 * value.abs().max()
    assert json.loads((tmp_path / "joined" / "config.json").read_text())["num_key_value_layers"] == 4
    four = write_delta(base, twin, tmp_path / "small.safetensors", 4, 64, {})
    assert four.added_sha256 != wrote.added_sha256
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("small", "n4")]
    assert sizes[0] < 0.6 * sizes[1]


def test_commands_write_and_join_a_delta(pair: tuple[Path, Path], tmp_path: Path) -> None:
    base, twin = map(str, pair)
    file, out = str(tmp_path / "d.safetensors"), str(tmp_path / "out")
    wrote = CliRunner().invoke(app, ["model", "delta", base, twin, "--out", file])
    assert wrote.exit_code == 0, wrote.output
    assert "4 of 8 layers" in wrote.output
    joined = CliRunner().invoke(app, ["model", "apply", base, file, "--out", out])
    assert joined.exit_code == 0, joined.output
    assert f"sha256 {read_info(Path(file)).added_sha256}" in joined.output


def test_what_does_not_belong_together_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    base, twin = pair
    delta = tmp_path / "d.safetensors"
    write_delta(base, twin, delta, 4, 64, {})
    other = tmp_path / "other"
    shutil.copytree(base, other)
    with (other / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x11")
    with pytest.raises(InputError, match=r"was made for other weights .* distil your own twin"):
        apply_delta(other, delta, tmp_path / "out")
    shutil.copytree(base, tmp_path / "plain")
    (tmp_path / "plain" / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((tmp_path / "plain" / "tokenizer_config.json").read_text())
    (tmp_path / "plain" / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": None}))
    with pytest.raises(InputError, match="has no chat template"):
        apply_delta(tmp_path / "plain", delta, tmp_path / "out")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 6}))
    with pytest.raises(InputError, match=r"is for a model of 8 layers, .* has 6"):
        apply_delta(other, delta, tmp_path / "out")
    whole = delta.read_bytes()
    for length, message in (
        (4, "no complete safetensors"),
        (200, "no complete safetensors"),
        (-9, "ends before tensor"),
    ):
        delta.write_bytes(whole[:length])
        with pytest.raises(InputError, match=message):
            apply_delta(base, delta, tmp_path / "out")
    delta.write_bytes(whole[:-40] + bytes(40))
    with pytest.raises(InputError, match=r"is damaged|not the recorded ones"):
        apply_delta(base, delta, tmp_path / "out")
    with pytest.raises(InputError, match=r"is no delta of a SwiftKV twin"):
        apply_delta(base, base / "model.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for bits, group, message in ((1, 64, "--bits 1"), (4, 50, "--group 50")):
        with pytest.raises(InputError, match=message):
            write_delta(base, twin, delta, bits, group, {})
