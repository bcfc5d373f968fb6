"""Small random checkpoints with the released weight names, for engines under test."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file

__all__ = ["FORMS", "FP8_MAX", "CheckpointSpec", "Form", "make_checkpoint", "spread_scale", "write_tokenizer"]

Form = Literal["channel", "tensor", "static", "block", "fp8", "fp8_static", "fp8_block", "fbgemm", "modelopt"]
"""Float8 weights as they are published. The first four are compressed-tensors: one scale per output channel, per
tensor, per tensor with stored scales of the inputs too, per block of 128 by 128; then ``quant_method: fp8`` per tensor,
with stored scales of the inputs, and per block; Meta's fbgemm; NVIDIA's ModelOpt."""
FORMS: tuple[Form, ...] = get_args(Form)

_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_NOT_QUANTISED = ("norm", "embed_tokens", "lm_head")
FP8_MAX = 448.0  # largest finite value of float8_e4m3fn
_BLOCK = 128
_STATIC = ("static", "fp8_static", "modelopt")
_SCALE_OF: dict[Form, Literal["channel", "tensor", "block"]] = {
    "channel": "channel", "fbgemm": "channel", "block": "block", "fp8_block": "block",
}  # fmt: skip


@dataclass(frozen=True)
class CheckpointSpec:
    """Dimensions and traits of a checkpoint.

    Attributes:
        family: whose ``model_type`` it has: Qwen2 has biases of q, k and v, Qwen3 norms of each head's q and k.
        head_size: values of one attention head; None divides ``hidden`` by ``heads``.
        key_value_layers: N; None writes a plain ``llama`` model.
        group_size: ``key_value_group_size``.
        base_leftovers: whether later layers also hold the base model's q, k and v, as after training.
        fp8: form of float8 weights; inputs are rounded per token at run time but for ``static``, ``fp8_static`` and
            ``modelopt``.
        fp8_ignored: modules that stay unquantised, beside lm_head.
        cache_scales: K and V scales of a float8 cache, stored for each layer that owns K/V; needs ``fp8``.
    """

    family: Literal["llama", "qwen2", "qwen3", "mistral"] = "llama"
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
    fp8: Form | None = None
    fp8_ignored: tuple[str, ...] = ()
    cache_scales: tuple[float, float] | None = None
    max_positions: int = 16384
    head_size: int | None = None
    seed: int = 0

    @property
    def head_dim(self) -> int:
        """Values of one attention head."""
        return self.head_size or self.hidden // self.heads


def make_checkpoint(directory: Path, spec: CheckpointSpec) -> Path:
    """Write config, weights and a byte-level tokenizer for ``spec`` into ``directory``; returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(_config(spec), indent=1))
    write_tokenizer(directory)
    weights = _weights(spec)
    if spec.fp8 is not None:
        weights = _quantise(weights, spec) | _cache_scales(spec)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def _config(spec: CheckpointSpec) -> dict[str, Any]:
    swiftkv = spec.key_value_layers is not None
    config: dict[str, Any] = {
        "architectures": [f"{spec.family.capitalize()}{'SwiftKV' if swiftkv else ''}ForCausalLM"],
        "model_type": f"{spec.family}_swiftkv" if swiftkv else spec.family,
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
    if spec.family == "qwen2":
        del config["head_dim"]  # its models have none
        config |= {"use_sliding_window": False, "sliding_window": 131072, "max_window_layers": 70}
    if spec.family == "mistral":
        config["sliding_window"] = None
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
    ignored = ["lm_head", *spec.fp8_ignored]
    match spec.fp8:
        case "fp8" | "fp8_static":
            scheme = "dynamic" if spec.fp8 == "fp8" else "static"
            return {"quant_method": "fp8", "activation_scheme": scheme, "ignored_layers": ignored}
        case "fp8_block":
            more = {"weight_block_size": [_BLOCK, _BLOCK], "modules_to_not_convert": ignored}
            return {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", **more}
        case "fbgemm":
            return {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ignored}
        case "modelopt":
            return {
                "quant_method": "modelopt",
                "quant_algo": "FP8",
                "ignore": ignored,
                "producer": {"name": "modelopt"},
            }
    return _compressed_tensors_config(spec, ignored)


def _compressed_tensors_config(spec: CheckpointSpec, ignored: list[str]) -> dict[str, Any]:
    common = {"num_bits": 8, "type": "float", "symmetric": True}
    cache = {**common, "dynamic": False, "strategy": "tensor"}
    strategy = _SCALE_OF.get(spec.fp8, "tensor") if spec.fp8 else "tensor"
    weights: dict[str, Any] = {**common, "dynamic": False, "strategy": strategy}
    inputs: dict[str, Any] = {**common, "dynamic": True, "strategy": "token"}
    if spec.fp8 == "static":
        inputs |= {"dynamic": False, "strategy": "tensor"}
    if strategy == "block":
        weights["block_structure"] = [_BLOCK, _BLOCK]
        inputs |= {"strategy": "group", "group_size": _BLOCK}
    return {
        "kv_cache_scheme": None if spec.cache_scales is None else cache,
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "ignore": ignored,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": inputs}},
    }


def _weights(spec: CheckpointSpec) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(spec.seed)
    dtype: torch.dtype = getattr(torch, spec.dtype)
    weights: dict[str, torch.Tensor] = {}

    def linear(name: str, outputs: int, inputs: int, gain: float = 1.0) -> None:
        # Gains above 1 on the query and key side make attention pick few tokens, so that a wrong row shows.
        values = torch.randn(outputs, inputs, generator=generator) * gain / inputs**0.5
        weights[f"{name}.weight"] = values.to(dtype)

    def norm(name: str, size: int = spec.hidden) -> None:
        weights[f"{name}.weight"] = (1 + 0.2 * torch.randn(size, generator=generator)).to(dtype)

    def projections(attention: str, suffix: str, kinds: str) -> None:
        for kind in kinds:
            heads = spec.heads if kind == "q" else spec.kv_heads
            gain = 1.0 if kind == "v" else 1.5
            linear(f"{attention}.{kind}_proj{suffix}", heads * spec.head_dim, spec.hidden, gain)
            if spec.family == "qwen2":
                bias = torch.randn(heads * spec.head_dim, generator=generator)
                weights[f"{attention}.{kind}_proj{suffix}.bias"] = bias.to(dtype)
            if spec.family == "qwen3" and kind in "qk":
                norm(f"{attention}.{kind}_norm{suffix}", spec.head_dim)

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
    """Replace linear weights by float8 values and their scales, under the names that ``spec.fp8`` has for them."""
    assert spec.fp8 is not None
    scale_of, quantised = _SCALE_OF.get(spec.fp8, "tensor"), {}
    for name, weight in weights.items():
        if name.endswith(".bias") or any(part in name for part in (*_NOT_QUANTISED, *spec.fp8_ignored)):
            quantised[name] = weight
            continue
        values = weight.float()
        scale = _peaks(values, scale_of) / FP8_MAX
        spread = spread_scale(scale, values.shape)
        quantised[name] = (values / spread).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)
        if spec.fp8 in ("modelopt", "fp8", "fp8_static"):
            scale = scale.reshape(())
        kept = weight.dtype if spec.fp8 in ("channel", "tensor", "static") else torch.float32
        quantised[f"{name}_scale_inv" if spec.fp8 == "fp8_block" else f"{name}_scale"] = scale.to(kept)
        if spec.fp8 in _STATIC:
            # Inputs of these random layers stay within about +-20.
            stored = torch.tensor(20.0 / FP8_MAX)
            inputs = stored.reshape(1).to(weight.dtype) if spec.fp8 == "static" else stored
            quantised[name.replace(".weight", ".input_scale")] = inputs
    return quantised


def _peaks(values: torch.Tensor, scale_of: str) -> torch.Tensor:
    """Largest magnitude of what one scale covers: shape (1,), (rows, 1), or one value a block."""
    if scale_of == "tensor":
        return values.abs().amax().reshape(1)
    if scale_of == "channel":
        return values.abs().amax(dim=1, keepdim=True)
    rows, columns = (-(-size // _BLOCK) for size in values.shape)
    padded = torch.zeros(rows * _BLOCK, columns * _BLOCK)
    padded[: values.shape[0], : values.shape[1]] = values.abs()
    return padded.view(rows, _BLOCK, columns, _BLOCK).amax(dim=(1, 3))


def spread_scale(scale: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A scale of each weight of a matrix of ``shape``, from one a tensor, a channel or a block; broadcasts to it."""
    if scale.numel() == 1 or scale.shape == (shape[0], 1):
        return scale
    whole = scale.repeat_interleave(_BLOCK, 0).repeat_interleave(_BLOCK, 1)
    return whole[: shape[0], : shape[1]]


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


def write_tokenizer(directory: Path) -> None:
    """Write a tokenizer of single bytes and two special tokens into ``directory``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab |= {"<s>": 256, "</s>": 257}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    wrapped.save_pretrained(directory)
