"""Modules of the second half: later layers that bring a query only, and the joint K/V projection for them all.

Leaves the ordinary layers, the MLP and the norms to vLLM's Llama, whose decoder layer serves every family: biases come
by its arguments, and where heads are normed its attention is extended.
"""

from typing import Any

import torch
from torch import nn
from vllm.distributed import get_tensor_model_parallel_world_size
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear,
    MergedColumnParallelLinear,
    RowParallelLinear,
)
from vllm.model_executor.layers.rotary_embedding import get_rope
from vllm.model_executor.models.llama import LlamaAttention

from swiftkv_bench.swiftkv.backend import QueryOnlyAttention
from swiftkv_bench.swiftkv.families import family_of
from swiftkv_bench.swiftkv.quantization import Form

__all__ = ["HeadNorms", "LaterKeyValues", "attention_of_owner", "ordinary_attention"]


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _rope(config: Any) -> Any:
    return get_rope(
        _head_dim(config),
        max_position=config.max_position_embeddings,
        rope_parameters=getattr(config, "rope_parameters", None),
        is_neox_style=True,
    )


def _norms_heads(config: Any) -> bool:
    family = family_of({"model_type": config.model_type})
    return family is not None and family.head_norms


class HeadNormAttention(LlamaAttention):
    """Ordinary attention whose heads' q and k are normed before they are rotated."""

    def __init__(self, *, config: Any, **arguments: Any) -> None:
        super().__init__(config=config, **arguments)
        self.q_norm = RMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, eps=config.rms_norm_eps)

    def forward(self, positions: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        """Attend; hidden states of shape (tokens, hidden) in and out."""
        joint, _ = self.qkv_proj(hidden_states)
        query, key, value = joint.split([self.q_size, self.kv_size, self.kv_size], dim=-1)
        query, key = _normed(self.q_norm, query, self.head_dim), _normed(self.k_norm, key, self.head_dim)
        query, key = self.rotary_emb(positions, query, key)
        output: torch.Tensor = self.o_proj(self.attn(query, key, value))[0]
        return output


def _normed(norm: Any, values: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Values of shape (tokens, heads * head_dim), each head normed."""
    by_head: torch.Tensor = norm(values.reshape(len(values), -1, head_dim))
    return by_head.reshape(len(values), -1)


def ordinary_attention(config: Any) -> type[nn.Module]:
    """The attention class of a layer before N in a model of this config."""
    found: type[nn.Module] = HeadNormAttention if _norms_heads(config) else LlamaAttention
    return found


class HeadNorms(nn.Module):
    """Root-mean-square norms of the heads of K, with scales of each owner's own.

    Attributes:
        weight: shape (owners, head_dim).
    """

    def __init__(self, owners: int, head_dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(owners, head_dim), requires_grad=False)
        self.weight.weight_loader = self._load  # type: ignore[attr-defined]  # how vLLM finds a parameter's loader
        self._eps = eps

    @staticmethod
    def _load(parameter: torch.Tensor, weight: torch.Tensor, owner: int) -> None:
        parameter.data[owner].copy_(weight)

    def forward(self, keys: torch.Tensor) -> torch.Tensor:
        """Keys of shape (tokens, owners * heads * head_dim), normed in float32 as vLLM's RMSNorm does."""
        owners, head_dim = self.weight.shape
        by_head = keys.reshape(len(keys), owners, -1, head_dim)
        wide = by_head.float()
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self._eps)
        normed = scaled.to(keys.dtype) * self.weight[:, None]
        return normed.reshape(len(keys), -1)


class SwiftKVAttention(nn.Module):
    """Attention of a later layer: own query and output projection, K/V from the cache of ``owner``."""

    def __init__(
        self,
        *,
        config: Any,
        prefix: str,
        owner: str,
        cache_config: Any = None,
        quant_config: Any = None,
        bias: bool = False,
        bias_o_proj: bool = False,
        **_of_ordinary_layers: Any,
    ) -> None:
        super().__init__()
        head_dim, heads = _head_dim(config), config.num_attention_heads
        ranks = get_tensor_model_parallel_world_size()
        self.q_proj_swiftkv = ColumnParallelLinear(
            config.hidden_size,
            heads * head_dim,
            bias=bias,
            quant_config=quant_config,
            prefix=f"{prefix}.q_proj_swiftkv",
        )
        self.o_proj = RowParallelLinear(
            heads * head_dim,
            config.hidden_size,
            bias=bias_o_proj,
            quant_config=quant_config,
            prefix=f"{prefix}.o_proj",
        )
        self.q_norm_swiftkv = RMSNorm(head_dim, eps=config.rms_norm_eps) if _norms_heads(config) else None
        self.rotary_emb = _rope(config)
        name = f"{prefix}.attn"
        self.attn = QueryOnlyAttention(
            heads // ranks,
            head_dim,
            head_dim**-0.5,
            num_kv_heads=max(1, config.num_key_value_heads // ranks),
            cache_config=cache_config,
            quant_config=quant_config,
            prefix=name,
            kv_sharing_target_layer_name=None if owner == name else owner,
        )

    def forward(self, positions: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        """Attend for the given rows; hidden states of shape (rows, hidden) in and out."""
        query, _ = self.q_proj_swiftkv(hidden_states)
        if self.q_norm_swiftkv is not None:
            query = _normed(self.q_norm_swiftkv, query, self.attn.head_size)
        query, _ = self.rotary_emb(positions, query, None)
        output: torch.Tensor = self.o_proj(self.attn(query))[0]
        return output


def attention_of_owner(owner: str) -> Any:
    """The attention class of a later layer that reads the K/V of attention layer ``owner``.

    vLLM's ``LlamaDecoderLayer`` takes a class and passes it the arguments of its own attention.
    """

    def build(**arguments: Any) -> SwiftKVAttention:
        return SwiftKVAttention(owner=owner, **arguments)

    return build


class LaterKeyValues(nn.Module):
    """K and V of every later layer from one input: one GEMM and one RoPE call for all of them.

    Attributes:
        owners: layers that own K/V, in order; G of them.
        kv_size: values of one owner's K (or V) on this rank.
        projections: one linear for all owners with outputs (K of each owner, then V of each owner), or, where
            that would change how the weights are rounded, one linear per owner with outputs (K, V), as vLLM's own
            layers are.
    """

    def __init__(self, config: Any, owners: list[int], form: Form, quant_config: Any, prefix: str) -> None:
        super().__init__()
        ranks = get_tensor_model_parallel_world_size()
        heads, head_dim = config.num_key_value_heads, _head_dim(config)
        # With fewer K/V heads than ranks each head is held by several ranks, as vLLM does for ordinary layers.
        self.head_copies = max(1, ranks // heads)
        self.head_dim = head_dim
        self.owners = owners
        self.kv_size = heads * self.head_copies * head_dim // ranks
        self.rotary_emb = _rope(config)
        norms_heads = _norms_heads(config)
        self.k_norm_swiftkv = HeadNorms(len(owners), head_dim, config.rms_norm_eps) if norms_heads else None
        attentions = [f"{prefix}.layers.{owner}.self_attn" for owner in owners]
        names = [f"{attention}.{kind}_proj_swiftkv" for attention in attentions for kind in "kv"]
        per_linear = [owners] if form.joins(names, self.kv_size) else [[owner] for owner in owners]
        self.projections = nn.ModuleList(
            MergedColumnParallelLinear(
                config.hidden_size,
                [heads * self.head_copies * head_dim] * (2 * len(group)),
                bias=getattr(config, "qkv_bias", getattr(config, "attention_bias", False)),
                quant_config=quant_config,
                prefix=f"{prefix}.layers.{group[0]}.self_attn.kv_proj_swiftkv",
            )
            for group in per_linear
        )

    def forward(self, positions: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Project and rotate.

        Args:
            positions: shape (tokens,).
            inputs: normed output of layer N, shape (tokens, hidden).

        Returns:
            (K, V), each of shape (tokens, G * kv_size); columns g * kv_size .. (g + 1) * kv_size are owner g's.
        """
        outputs = [projection(inputs)[0] for projection in self.projections]
        halves = [output.chunk(2, dim=-1) for output in outputs]
        if len(halves) == 1:
            keys, values = halves[0]
        else:
            keys = torch.cat([half[0] for half in halves], dim=-1)
            values = torch.cat([half[1] for half in halves], dim=-1)
        if self.k_norm_swiftkv is not None:
            keys = self.k_norm_swiftkv(keys)
        keys, _ = self.rotary_emb(positions, keys, None)
        return keys, values

    def expand_heads(self, parameter: Any, weight: torch.Tensor) -> torch.Tensor:
        """Repeat K/V heads of a checkpoint tensor when there are more ranks than heads."""
        if self.head_copies == 1 or getattr(parameter, "output_dim", None) is None:
            return weight
        heads = weight.reshape(-1, self.head_dim, *weight.shape[1:])
        return heads.repeat_interleave(self.head_copies, dim=0).reshape(-1, *weight.shape[1:])
