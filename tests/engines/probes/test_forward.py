"""The forward pass in numpy against an independent one in torch, on checkpoints with the released names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from swiftkv_bench.engines.probes.forward import Forward, Wrong
from swiftkv_bench.engines.probes.weights import Weights
from swiftkv_bench.errors import InputError
from tests.swiftkv.checkpoints import CheckpointSpec, make_checkpoint
from tests.swiftkv.reference import Reference

TOKENS = [[3, 250, 17, 99, 4, 4, 181, 30, 7, 66], [12], list(range(40, 75))]
SPECS = {
    "llama": CheckpointSpec(key_value_layers=None),
    "swiftkv": CheckpointSpec(),
    "groups, tied, plain RoPE": CheckpointSpec(
        layers=7, key_value_layers=3, group_size=2, tied=True, llama3_rope=False
    ),
    "mistral": CheckpointSpec("mistral", llama3_rope=False, head_size=48),
    "qwen2": CheckpointSpec("qwen2", llama3_rope=False, tied=True),
    "qwen3 in groups": CheckpointSpec("qwen3", layers=7, group_size=2, llama3_rope=False, head_size=48),
    "bfloat16": CheckpointSpec(dtype="bfloat16"),
    "float16": CheckpointSpec(dtype="float16"),
    "fp8 by channel": CheckpointSpec(fp8="channel", dtype="bfloat16"),
    "fp8 by tensor": CheckpointSpec(fp8="tensor", dtype="bfloat16"),
}


def _forward(folder: Path) -> Forward:
    return Forward(json.loads((folder / "config.json").read_text()), Weights(folder))


@pytest.mark.parametrize("name", SPECS)
def test_logprobs_are_those_of_torch(name: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, SPECS[name])
    reference = Reference(folder)
    for tokens, found in zip(TOKENS, _forward(folder).logprobs(TOKENS), strict=True):
        assert np.abs(found - reference.logprobs(tokens).numpy()).max() < 1e-3


@pytest.mark.parametrize("wrong", Wrong)
def test_every_fault_moves_logprobs_by_more_than_rounding(wrong: Wrong, tmp_path: Path) -> None:
    forward = _forward(make_checkpoint(tmp_path, CheckpointSpec()))
    right, faulty = forward.logprobs(TOKENS), forward.logprobs(TOKENS, wrong)
    assert np.abs(right[0][-1] - faulty[0][-1]).mean() > 0.2


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, CheckpointSpec())
    config = json.loads((folder / "config.json").read_text())
    with pytest.raises(InputError, match="'mixtral' is none of llama, mistral, qwen2, qwen3 and their twins"):
        Forward(config | {"model_type": "mixtral"}, Weights(folder))
    with pytest.raises(InputError, match="RoPE scaling 'yarn' is unknown"):
        Forward(config | {"rope_scaling": {"rope_type": "yarn"}}, Weights(folder))
    with pytest.raises(InputError, match="its layers look back to 4096 tokens only"):
        Forward(config | {"model_type": "mistral"}, Weights(folder))


def test_float8_codes_have_the_values_of_torch(tmp_path: Path) -> None:
    from swiftkv_bench.engines.probes.weights import _FLOAT8

    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    assert np.array_equal(_FLOAT8, codes, equal_nan=True)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no"):
        Weights(tmp_path)


def test_a_weight_that_is_not_there_is_named(tmp_path: Path) -> None:
    weights = Weights(make_checkpoint(tmp_path, CheckpointSpec(layers=2, key_value_layers=1)))
    with pytest.raises(InputError, match=r"no weight model\.layers\.9\.mlp\.up_proj\.weight"):
        weights.matrix("model.layers.9.mlp.up_proj.weight")
