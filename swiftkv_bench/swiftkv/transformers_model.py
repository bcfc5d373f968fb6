"""A SwiftKV model for ``transformers``: every layer for every token, in plain torch, without vLLM.

What ``swiftkv-bench verify`` lets lm-eval's ``hf`` class compute SwiftKV weights with. Written from the definition:
the first N layers are Llama layers; a later layer's query comes from its own input, its K and V from
``norm_swiftkv`` of layer N's output, by the projections of the first layer of its group. One sequence a call.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm, LlamaRotaryEmbedding
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP

from swiftkv_bench.errors import InputError
from swiftkv_bench.swiftkv.config import CONFIGS
from swiftkv_bench.swiftkv.families import FAMILIES, SUFFIX, Family, family_of
from swiftkv_bench.swiftkv.limits import key_value_owners

__all__ = ["SwiftKVTransformer", "load"]


def load(model: str, revision: str | None, device: str, dtype: str) -> "SwiftKVTransformer":
    """The weights of a SwiftKV checkpoint.

    Raises:
        InputError: they are quantised, or a parameter is not among them.
    """
    config = _config(model, revision)
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(f"{model}: quantised SwiftKV weights have no plain forward; verify the baseline arm")
    found, info = SwiftKVTransformer.from_pretrained(
        model, revision=revision or "main", config=config, dtype=dtype, output_loading_info=True
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(f"{model} lacks {len(missing)} parameters of a SwiftKV model, the first is {missing[0]}")
    network: SwiftKVTransformer = found.to(device).eval()
    return network


def _config(model: str, revision: str | None) -> Any:
    """The config, in its family's class.

    Raises:
        InputError: it is of none.
    """
    given, _ = PreTrainedConfig.get_config_dict(model, revision=revision or "main")
    family = family_of(given)
    if family is None:
        raise InputError(
            f"{model}: model_type is {given.get('model_type')!r}, no SwiftKV model of {', '.join(FAMILIES)}"
        )
    return CONFIGS[family.model_type].from_pretrained(model, revision=revision or "main")


def _family(config: Any) -> Family:
    return FAMILIES[config.model_type.removesuffix(SUFFIX)]


class _Attention(nn.Module):
    """Projections of one layer under the checkpoint's names; a later layer that owns no K and V has only its query."""

    def __init__(self, config: Any, owner: int | None, index: int) -> None:
        super().__init__()
        family, given = _family(config), config.to_dict()
        width, (bias, bias_o_proj) = family.head_size(given), family.biases(given)
        suffix = "" if owner is None else "_swiftkv"
        sizes = {"q": config.num_attention_heads * width}
        if owner is None or owner == index:
            sizes |= {"k": config.num_key_value_heads * width, "v": config.num_key_value_heads * width}
        for name, size in sizes.items():
            self.add_module(f"{name}_proj{suffix}", nn.Linear(config.hidden_size, size, bias=bias))
        self._normed = [name for name in sizes if name in "qk" and family.head_norms]
        for name in self._normed:
            self.add_module(f"{name}_norm{suffix}", LlamaRMSNorm(width, eps=config.rms_norm_eps))
        self.o_proj = nn.Linear(config.num_attention_heads * width, config.hidden_size, bias=bias_o_proj)
        self._width, self._suffix = width, suffix

    def heads(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        """Projection of `hidden`, shape (1, tokens, size), as (1, heads, tokens, width), normed where heads are."""
        projected = self.get_submodule(f"{name}_proj{self._suffix}")(hidden)
        heads: torch.Tensor = projected.view(*hidden.shape[:-1], -1, self._width).transpose(1, 2)
        if name in self._normed:
            heads = self.get_submodule(f"{name}_norm{self._suffix}")(heads)
        return heads


class _Layer(nn.Module):
    def __init__(self, config: Any, owner: int | None, index: int) -> None:
        super().__init__()
        self.self_attn = _Attention(config, owner, index)
        self.mlp = LlamaMLP(config) if hasattr(config, "mlp_bias") else Qwen2MLP(config)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class _Stack(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.owners = key_value_owners(
            config.num_hidden_layers, config.num_key_value_layers, config.key_value_group_size
        )
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config, self.owners.get(i), i) for i in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.owners:
            self.norm_swiftkv = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config)

    def forward(self, input_ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """Normed output of the last layer for new tokens, shape (1, tokens, hidden)."""
        hidden = shared = self.embed_tokens(input_ids)
        past = cache.get_seq_length()
        positions = torch.arange(past, past + input_ids.shape[1], device=input_ids.device)[None]
        turns = self.rotary_emb(hidden, position_ids=positions)
        key_values: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        layer: Any
        for index, layer in enumerate(self.layers):
            attention = layer.self_attn
            if self.owners and index == min(self.owners):
                shared = self.norm_swiftkv(hidden)
            normed = layer.input_layernorm(hidden)
            owner = self.owners.get(index, index)
            if owner == index:
                source = normed if index not in self.owners else shared
                key, value = _rotated(attention.heads("k", source), turns), attention.heads("v", source)
                key_values[index] = cache.update(key, value, index)
            query = _rotated(attention.heads("q", normed), turns)
            attended = _attend(query, *key_values[owner])
            hidden = hidden + attention.o_proj(attended.transpose(1, 2).flatten(2))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        last: torch.Tensor = self.norm(hidden)
        return last


class SwiftKVTransformer(PreTrainedModel, GenerationMixin):
    """The model as ``transformers`` and lm-eval's ``hf`` class use it; padding is not supported."""

    config_class = PreTrainedConfig
    base_model_prefix = "model"
    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.embed_tokens.weight"}
    # The base model's own projections, which training leaves in the state dict.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"self_attn\.([qkv]_proj|[qk]_norm)\."]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = _Stack(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Rows by token id."""
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        """The head; the same weights where the config ties them."""
        return self.lm_head

    def forward(
        self, input_ids: torch.Tensor, past_key_values: DynamicCache | None = None, **_more: Any
    ) -> CausalLMOutputWithPast:
        """Logits of every token, shape (1, tokens, vocabulary)."""
        if input_ids.shape[0] != 1:
            raise ValueError(f"one sequence a call, found {input_ids.shape[0]}")
        cache = DynamicCache() if past_key_values is None else past_key_values
        hidden = self.model(input_ids, cache)
        return CausalLMOutputWithPast(logits=self.lm_head(hidden), past_key_values=cache)


def _rotated(heads: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotary embedding of shape (1, heads, tokens, width): halves are the real and imaginary parts."""
    cosine, sine = (part[:, None] for part in turns)
    low, high = heads.chunk(2, dim=-1)
    return heads * cosine + torch.cat([-high, low], dim=-1) * sine


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Causal attention of new tokens, the last ones of the sequence, to all tokens so far."""
    new, total = query.shape[2], key.shape[2]
    allowed = torch.ones(new, total, dtype=torch.bool, device=query.device).tril(total - new)
    return scaled_dot_product_attention(query, key, value, attn_mask=allowed, enable_gqa=True)
