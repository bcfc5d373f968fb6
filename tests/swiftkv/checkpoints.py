"""Small random checkpoints with the released weight names, for engines under test."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

__all__ = ["CheckpointSpec", "make_checkpoint"]

_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_NOT_QUANTISED = ("norm", "embed_tokens", "lm_head")
_FP8_MAX = 448.0  # largest finite value of float8_e4m3fn


@dataclass(frozen=True)
class CheckpointSpec:
    """Dimensions and traits of a checkpoint.

    Attributes:
        key_value_layers: N; None writes a plain ``llama`` model.
        group_size: ``key_value_group_size``.
        base_leftovers: whether later layers also hold the base model's q, k and v, as after training.
        fp8: compressed-tensors float8: ``channel`` and ``tensor`` say what one weight scale covers, with
            activations scaled per token at run time; ``static`` is per tensor with stored activation scales.
            vLLM's CPU kernels do ``channel`` alone.
        fp8_ignored: modules that stay unquantised, beside lm_head.
        cache_scales: K and V scales of a float8 cache, stored for each layer that owns K/V; needs ``fp8``.
    """

    layers: int = 6
    key_value_layers: int | None = 3
    hidden: int = 128
    heads: int = 4
    kv_heads: int = 2
    intermediate: int = 256
    vocab: int = 512
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    tied: bool = False
    llama3_rope: bool = True
    group_size: int = 1
    base_leftovers: bool = True
    fp8: Literal["channel", "tensor", "static"] | None = None
    fp8_ignored: tuple[str, ...] = ()
    cache_scales: tuple[float, float] | None = None
    max_positions: int = 16384
    seed: int = 0

    @property
    def head_dim(self) -> int:
        """Values of one attention head."""
        return self.hidden // self.heads


def make_checkpoint(directory: Path, spec: CheckpointSpec) -> Path:
    """Write config, weights and a byte-level tokenizer for ``spec`` into ``directory``; returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(_config(spec), indent=1))
    _write_tokenizer(directory)
    weights = _weights(spec)
    if spec.fp8 is not None:
        weights = _quantise(weights, spec) | _cache_scales(spec)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def _config(spec: CheckpointSpec) -> dict[str, Any]:
    swiftkv = spec.key_value_layers is not None
    config: dict[str, Any] = {
        "architectures": ["LlamaSwiftKVForCausalLM" if swiftkv else "LlamaForCausalLM"],
        "model_type": "llama_swiftkv" if swiftkv else "llama",
        "vocab_size": spec.vocab,
        "hidden_size": spec.hidden,
        "intermediate_size": spec.intermediate,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": spec.max_positions,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": _LLAMA3_ROPE if spec.llama3_rope else None,
        "tie_word_embeddings": spec.tied,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "torch_dtype": spec.dtype,
    }
    if swiftkv:
        config |= {
            "num_key_value_layers": spec.key_value_layers,
            "key_value_group_size": spec.group_size,
            "swiftkv": True,
        }
    if spec.fp8 is not None:
        config["quantization_config"] = _quantization_config(spec)
    return config


def _quantization_config(spec: CheckpointSpec) -> dict[str, Any]:
    common = {"num_bits": 8, "type": "float", "symmetric": True}
    dynamic = spec.fp8 != "static"
    cache = {**common, "dynamic": False, "strategy": "tensor"}
    return {
        "kv_cache_scheme": None if spec.cache_scales is None else cache,
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head", *spec.fp8_ignored],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {**common, "dynamic": False, "strategy": "channel" if spec.fp8 == "channel" else "tensor"},
                "input_activations": {
                    **common,
                    "dynamic": dynamic,
                    "strategy": "token" if dynamic else "tensor",
                },
            }
        },
    }


def _weights(spec: CheckpointSpec) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(spec.seed)
    dtype: torch.dtype = getattr(torch, spec.dtype)
    weights: dict[str, torch.Tensor] = {}

    def linear(name: str, outputs: int, inputs: int, gain: float = 1.0) -> None:
        # Gains above 1 on the query and key side make attention pick few tokens, so that a wrong row shows.
        values = torch.randn(outputs, inputs, generator=generator) * gain / inputs**0.5
        weights[f"{name}.weight"] = values.to(dtype)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = (1 + 0.2 * torch.randn(spec.hidden, generator=generator)).to(dtype)

    def projections(attention: str, suffix: str, kinds: str) -> None:
        for kind in kinds:
            heads = spec.heads if kind == "q" else spec.kv_heads
            gain = 1.0 if kind == "v" else 1.5
            linear(f"{attention}.{kind}_proj{suffix}", heads * spec.head_dim, spec.hidden, gain)

    embedding = torch.randn(spec.vocab, spec.hidden, generator=generator)
    # As lm_head a unit embedding would make logits of standard deviation sqrt(hidden).
    weights["model.embed_tokens.weight"] = (embedding * (2.5 / spec.hidden**0.5 if spec.tied else 1.0)).to(dtype)
    first = spec.layers if spec.key_value_layers is None else spec.key_value_layers
    for index in range(spec.layers):
        layer = f"model.layers.{index}"
        if index < first or spec.base_leftovers:
            projections(f"{layer}.self_attn", "", "qkv")
        if index >= first:
            owns = (index - first) % spec.group_size == 0
            projections(f"{layer}.self_attn", "_swiftkv", "qkv" if owns else "q")
        linear(f"{layer}.self_attn.o_proj", spec.hidden, spec.heads * spec.head_dim)
        linear(f"{layer}.mlp.gate_proj", spec.intermediate, spec.hidden)
        linear(f"{layer}.mlp.up_proj", spec.intermediate, spec.hidden)
        linear(f"{layer}.mlp.down_proj", spec.hidden, spec.intermediate)
        norm(f"{layer}.input_layernorm")
        norm(f"{layer}.post_attention_layernorm")
    norm("model.norm")
    if spec.key_value_layers is not None:
        norm("model.norm_swiftkv")
    if not spec.tied:
        linear("lm_head", spec.vocab, spec.hidden, 2.5)
    return weights


def _quantise(weights: dict[str, torch.Tensor], spec: CheckpointSpec) -> dict[str, torch.Tensor]:
    """Replace linear weights by float8 values and scales as llm-compressor writes them."""
    quantised: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if any(part in name for part in (*_NOT_QUANTISED, *spec.fp8_ignored)):
            quantised[name] = weight
            continue
        values = weight.float()
        peak = values.abs().amax(dim=1, keepdim=True) if spec.fp8 == "channel" else values.abs().amax().reshape(1)
        scale = peak / _FP8_MAX
        quantised[name] = (values / scale).clamp(-_FP8_MAX, _FP8_MAX).to(torch.float8_e4m3fn)
        quantised[f"{name}_scale"] = scale.to(weight.dtype)
        if spec.fp8 == "static":
            # Inputs of these random layers stay within about +-20.
            quantised[name.replace(".weight", ".input_scale")] = torch.tensor([20.0 / _FP8_MAX]).to(weight.dtype)
    return quantised


def _cache_scales(spec: CheckpointSpec) -> dict[str, torch.Tensor]:
    if spec.cache_scales is None:
        return {}
    first = spec.layers if spec.key_value_layers is None else spec.key_value_layers
    owners = [index for index in range(spec.layers) if index < first or (index - first) % spec.group_size == 0]
    return {
        f"model.layers.{index}.self_attn.{kind}_scale": torch.tensor([scale])
        for index in owners
        for kind, scale in zip("kv", spec.cache_scales, strict=True)
    }


def _write_tokenizer(directory: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab |= {"<s>": 256, "</s>": 257}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    wrapped.save_pretrained(directory)
