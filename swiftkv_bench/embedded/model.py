"""Models of Llama's kind, with and without SwiftKV, in plain PyTorch: for training, and as a reference for engines.

All tokens run through all layers, which gives the numbers that a skipping engine must give for the tokens it
computes. No cache; rows are right-padded, so causality keeps padding out of every real position.
"""

from collections.abc import Collection, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from swiftkv_bench.embedded.architecture import ModelShape

#: Cosines and sines of the rotation angles, each of shape (tokens, head_dim).
Rotation = tuple[Tensor, Tensor]


def rotation(shape: ModelShape, length: int, device: torch.device) -> Rotation:
    """Angles of the positions from 0 (RoPE, arXiv 2104.09864, halves rotated against each other as in Llama)."""
    exponent = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
    frequencies = shape.rope_theta**-exponent
    if shape.rope_scaling is not None:
        frequencies = _llama3_scaled(frequencies, shape.rope_scaling)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().float().to(device), angles.sin().float().to(device)


def _llama3_scaled(frequencies: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    """Llama 3.1's stretch: slow frequencies divided by ``factor``, fast ones kept, a ramp between them."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * torch.pi)
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    scaled: Tensor = kept * frequencies + (1.0 - kept) * frequencies / scaling["factor"]
    return scaled


def rotated(heads: Tensor, angles: Rotation) -> Tensor:
    """``heads``, shape (batch, heads, tokens, head_dim), turned by their positions' angles."""
    cos, sin = angles
    first, second = heads.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return heads * cos.to(heads.dtype) + turned * sin.to(heads.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned scale."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self._eps = eps

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.rms_norm(hidden, (hidden.shape[-1],), self.weight.to(hidden.dtype), self._eps)


class Attention(nn.Module):
    """Causal grouped-query attention; a later layer also holds its SwiftKV projections."""

    def __init__(self, shape: ModelShape, later: bool) -> None:
        super().__init__()
        self._shape = shape
        hidden, query, kv = shape.hidden_size, shape.query_size, shape.key_value_size
        self.q_proj = nn.Linear(hidden, query, bias=shape.qkv_bias)
        self.k_proj = nn.Linear(hidden, kv, bias=shape.qkv_bias)
        self.v_proj = nn.Linear(hidden, kv, bias=shape.qkv_bias)
        self.o_proj = nn.Linear(query, hidden, bias=False)
        if shape.head_norms:
            self.q_norm = RMSNorm(shape.head_dim, shape.rms_norm_eps)
            self.k_norm = RMSNorm(shape.head_dim, shape.rms_norm_eps)
        if later:
            self.q_proj_swiftkv = nn.Linear(hidden, query, bias=shape.qkv_bias)
            self.k_proj_swiftkv = nn.Linear(hidden, kv, bias=shape.qkv_bias)
            self.v_proj_swiftkv = nn.Linear(hidden, kv, bias=shape.qkv_bias)
        if later and shape.head_norms:
            self.q_norm_swiftkv = RMSNorm(shape.head_dim, shape.rms_norm_eps)
            self.k_norm_swiftkv = RMSNorm(shape.head_dim, shape.rms_norm_eps)

    def forward(self, hidden: Tensor, angles: Rotation, source: Tensor | None) -> Tensor:
        """Attend; with ``source`` K and V are projected from it by the SwiftKV weights."""
        if source is None:
            query, key, value = self.q_proj(hidden), self.k_proj(hidden), self.v_proj(hidden)
        else:
            query = _projected(hidden, self.q_proj_swiftkv)
            key, value = _projected(source, self.k_proj_swiftkv), _projected(source, self.v_proj_swiftkv)
        queries, keys = self._heads(query), self._heads(key)
        if self._shape.head_norms and source is None:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        elif self._shape.head_norms:
            queries, keys = self.q_norm_swiftkv(queries), self.k_norm_swiftkv(keys)
        attended = functional.scaled_dot_product_attention(
            rotated(queries, angles),
            rotated(keys, angles),
            self._heads(value),
            is_causal=True,
            enable_gqa=True,
        )
        return cast(Tensor, self.o_proj(attended.transpose(1, 2).flatten(2)))

    def _heads(self, projected: Tensor) -> Tensor:
        return projected.view(*projected.shape[:-1], -1, self._shape.head_dim).transpose(1, 2)


def _projected(hidden: Tensor, projection: nn.Linear) -> Tensor:
    """The product in the hidden state's type: weights in training are kept finer than they are used."""
    bias = None if projection.bias is None else projection.bias.to(hidden.dtype)
    return functional.linear(hidden, projection.weight.to(hidden.dtype), bias)


class MLP(nn.Module):
    """Gated feed-forward block."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.down_proj(functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden)))


class DecoderLayer(nn.Module):
    """One layer: attention and feed-forward, each behind a norm and added to its input."""

    def __init__(self, shape: ModelShape, later: bool) -> None:
        super().__init__()
        self.self_attn = Attention(shape, later)
        self.mlp = MLP(shape)
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, hidden: Tensor, angles: Rotation, source: Tensor | None) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), angles, source)
        return hidden + cast(Tensor, self.mlp(self.post_attention_layernorm(hidden)))


class Decoder(nn.Module):
    """The part of a checkpoint below ``model.``."""

    def __init__(self, shape: ModelShape, num_key_value_layers: int | None) -> None:
        super().__init__()
        first_later = shape.num_hidden_layers if num_key_value_layers is None else num_key_value_layers
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(shape, later=layer >= first_later) for layer in range(shape.num_hidden_layers)
        )
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        if num_key_value_layers is not None:
            self.norm_swiftkv = RMSNorm(shape.hidden_size, shape.rms_norm_eps)


class Llama(nn.Module):
    """A model of Llama's kind whose later layers can also run as SwiftKV; parameters have the checkpoints' names."""

    def __init__(self, shape: ModelShape, num_key_value_layers: int | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.num_key_value_layers = num_key_value_layers
        self.model = Decoder(shape, num_key_value_layers)
        if not shape.tie_word_embeddings:
            self.lm_head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        self._angles: dict[tuple[int, torch.device], Rotation] = {}

    def early(self, ids: Tensor) -> Tensor:
        """Hidden state after the layers that compute their own K and V; (batch, tokens) to (.., hidden)."""
        angles = self._angles_for(ids.shape[1])
        hidden: Tensor = self.model.embed_tokens(ids)
        for layer in self.model.layers[: self.num_key_value_layers]:
            hidden = layer(hidden, angles, None)
        return hidden

    def states(self, ids: Tensor, after: Collection[int]) -> dict[int, Tensor]:
        """Hidden states of ordinary layers after so many of them, and after all; each (batch, tokens, hidden)."""
        angles = self._angles_for(ids.shape[1])
        hidden: Tensor = self.model.embed_tokens(ids)
        kept = {}
        for number, layer in enumerate(self.model.layers, 1):
            hidden = layer(hidden, angles, None)
            if number in after or number == len(self.model.layers):
                kept[number] = hidden
        return kept

    def late(self, hidden: Tensor, swiftkv: bool) -> Tensor:
        """Hidden state after the later layers, before the last norm."""
        angles = self._angles_for(hidden.shape[1])
        source = self.model.norm_swiftkv(hidden) if swiftkv else None
        if self.num_key_value_layers is not None:
            for layer in self.model.layers[self.num_key_value_layers :]:
                hidden = layer(hidden, angles, source)
        return hidden

    def hidden(self, ids: Tensor, swiftkv: bool | None = None) -> Tensor:
        """Hidden state before the last norm; SwiftKV by default where the model has it."""
        use_swiftkv = self.num_key_value_layers is not None if swiftkv is None else swiftkv
        return self.late(self.early(ids), use_swiftkv)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next token from hidden states before the last norm."""
        return functional.linear(self.model.norm(hidden), self.head)

    @property
    def head(self) -> Tensor:
        """The output embedding, shape (vocabulary, hidden)."""
        return (self.model.embed_tokens if self.shape.tie_word_embeddings else self.lm_head).weight

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of every position, shape (batch, tokens, vocabulary)."""
        return self.logits(self.hidden(ids))

    def compile_layers(self) -> None:
        """Compile the layers; they share their code, so one compilation serves all of them."""
        for layer in self.model.layers:
            layer.compile(dynamic=False)

    def _angles_for(self, length: int) -> Rotation:
        device = self.model.embed_tokens.weight.device
        if (length, device) not in self._angles:
            self._angles[length, device] = rotation(self.shape, length, device)
        return self._angles[length, device]
