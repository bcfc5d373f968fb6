"""The plain forward that `verify` uses, against the reference of these tests."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from swiftkv_bench.errors import InputError
from swiftkv_bench.swiftkv.transformers_model import load
from tests.swiftkv.checkpoints import CheckpointSpec, make_checkpoint
from tests.swiftkv.reference import Reference

IDS = list(range(7, 60))


@pytest.mark.parametrize(
    "spec",
    [
        CheckpointSpec(),
        CheckpointSpec(layers=7, group_size=2, tied=True, base_leftovers=False),
        CheckpointSpec("mistral", layers=4, key_value_layers=2, llama3_rope=False, head_size=48),
        CheckpointSpec("qwen2", layers=4, key_value_layers=2, llama3_rope=False),
        CheckpointSpec("qwen3", key_value_layers=2, group_size=2, tied=True, llama3_rope=False, head_size=48),
    ],
    ids=["one group a layer", "groups of two, tied", "mistral", "qwen2", "qwen3 in groups of two"],
)
def test_logprobs_equal_the_reference(spec: CheckpointSpec, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, spec)
    network = load(str(folder), None, "cpu", "float32")
    with torch.no_grad():
        found = network(torch.tensor([IDS])).logits[0].log_softmax(-1)
    assert torch.allclose(found, Reference(folder).logprobs(IDS), atol=1e-4)


def test_generation_with_a_cache_equals_computing_everything_again(tmp_path: Path) -> None:
    network = load(str(make_checkpoint(tmp_path, CheckpointSpec())), None, "cpu", "float32")
    written = network.generate(torch.tensor([IDS]), max_new_tokens=8, do_sample=False, eos_token_id=None)[0].tolist()
    expected = list(IDS)
    with torch.no_grad():
        for _ in range(8):
            expected.append(int(network(torch.tensor([expected])).logits[0, -1].argmax()))
    assert written == expected


def test_a_missing_parameter_is_named(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, CheckpointSpec())
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm_swiftkv.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 parameters .* model\.norm_swiftkv\.weight"):
        load(str(folder), None, "cpu", "float32")


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, CheckpointSpec(fp8="channel"))
    with pytest.raises(InputError, match="verify the baseline arm"):
        load(str(folder), None, "cpu", "float32")
