"""The plain-torch Llama against transformers' own, and SwiftKV by its definition."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from swiftkv_bench.embedded.architecture import ModelShape, baseline_parameters, model_config
from swiftkv_bench.embedded.distill import DistillationLoss, distillation_losses, freeze_base, rewired
from swiftkv_bench.embedded.model import Llama

LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


def _shape(tied: bool = True, scaling: dict[str, object] | None = None) -> ModelShape:
    return ModelShape(
        num_hidden_layers=4, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        intermediate_size=48, vocab_size=64, max_position_embeddings=512, rope_scaling=scaling,
        tie_word_embeddings=tied,
    )  # fmt: skip


def _random(shape: ModelShape) -> Llama:
    torch.manual_seed(0)
    model = Llama(shape)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
    return model


@pytest.mark.parametrize(("tied", "scaling"), [(True, None), (False, None), (False, LLAMA3)])
def test_forward_is_that_of_transformers(tied: bool, scaling: dict[str, object] | None) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = _shape(tied, scaling)
    model = _random(shape)
    assert {name: tuple(p.shape) for name, p in model.state_dict().items()} == baseline_parameters(shape)
    config = {key: value for key, value in model_config(shape).items() if key not in ("torch_dtype", "architectures")}
    reference = LlamaForCausalLM(LlamaConfig(**config)).eval()
    reference.load_state_dict(model.state_dict(), strict=not tied)
    ids = torch.randint(0, 64, (2, 200))
    with torch.no_grad():
        assert_close(model(ids), reference(ids).logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3", "Mistral"])
def test_forward_of_another_family_is_that_of_transformers(family: str) -> None:
    import transformers

    # Heads of 8 are hidden size by heads, as all of Qwen2's are; transformers' Qwen3 and Mistral take any.
    shape = replace(
        _shape(tied=family == "Qwen3"),
        head_dim=8 if family == "Qwen2" else 16, qkv_bias=family == "Qwen2", head_norms=family == "Qwen3",
    )  # fmt: skip
    model = _random(shape)
    assert {name: tuple(p.shape) for name, p in model.state_dict().items()} == baseline_parameters(shape)
    left_out = ("torch_dtype", "architectures", "model_type", "attention_bias", "mlp_bias")
    config = {key: value for key, value in model_config(shape).items() if key not in left_out}
    made = getattr(transformers, f"{family}Config")(**config, sliding_window=None)
    reference = getattr(transformers, f"{family}ForCausalLM")(made).eval()
    reference.load_state_dict(model.state_dict(), strict=family != "Qwen3")
    ids = torch.randint(0, 64, (2, 200))
    with torch.no_grad():
        assert_close(model(ids), reference(ids).logits, atol=2e-4, rtol=1e-4)


def test_all_layers_ordinary_means_nothing_to_rewire() -> None:
    model = _random(_shape())
    ids = torch.randint(0, 64, (2, 20))
    twin = rewired(model, 3)
    with torch.no_grad():
        # The one later layer reads the same input through the same norm and weights: only deeper ones differ.
        assert_close(twin(ids), model(ids))
        assert not torch.allclose(rewired(model, 2)(ids), model(ids), atol=1e-3)


def test_later_keys_and_values_depend_on_the_shared_hidden_state_alone() -> None:
    twin = rewired(_random(_shape()), 2)
    ids = torch.randint(0, 64, (1, 20))
    with torch.no_grad():
        shared = twin.early(ids)
        changed = shared.clone()
        # A later layer's own residual stream at earlier positions must not reach the last position.
        source = twin.model.norm_swiftkv(shared)
        hidden = [shared, changed + torch.cat([torch.randn(1, 19, 32), torch.zeros(1, 1, 32)], dim=1)]
        angles = twin._angles_for(20)
        for index in range(2, 4):
            hidden = [twin.model.layers[index](state, angles, source) for state in hidden]
        assert_close(hidden[0][:, -1], hidden[1][:, -1])


def test_distillation_of_an_exact_twin_is_free_and_leaves_the_base_alone() -> None:
    model = _random(_shape())
    ids = torch.randint(0, 64, (2, 20))
    exact = rewired(model, 3)
    assert_close(distillation_losses(exact, ids, DistillationLoss()), torch.zeros(2, 19), atol=1e-5, rtol=0)
    twin = rewired(model, 2)
    trainable = freeze_base(twin)
    distillation_losses(twin, ids, DistillationLoss()).mean().backward()  # type: ignore[no-untyped-call]
    assert len(trainable) == 1 + 3 * 2
    assert all(parameter.grad is not None for parameter in trainable)
    assert all(p.grad is None for name, p in twin.named_parameters() if "swiftkv" not in name)
