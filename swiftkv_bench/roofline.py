"""Analytic cost of a Llama or SwiftKV model: prefill and decode FLOPs and bytes, and their bounds.

Owns the arithmetic that turns a ``config.json`` into the theoretical SwiftKV speed-up; pure, no torch.
Leaves measured times to ``metrics`` and the machine's peak figures to the caller.

Counting rules, used by every function:

* a multiply-add is 2 FLOPs; matrix products only. Norms, RoPE, softmax, activations and the embedding
  lookup are left out: together about ``20 h`` FLOPs a token and layer, under 0.1 % of a layer at h = 4096;
* attention is the exact causal sum: the query at position p (from 0) meets p + 1 keys, so it is the same
  with and without chunked prefill;
* lm_head is counted only for rows whose logits are needed: one for a prompt, one for a generated token;
* in a SwiftKV model (L layers, the first N ordinary, groups of G later layers sharing one K/V) every token
  pays N full layers and the K/V projections of ceil((L - N) / G) groups; only rows that run the second half
  pay query, output, MLP and attention of the L - N later layers.

With h hidden size, a query heads, g key/value heads, d head size, I intermediate size::

    kv   = 4 h g d                  K and V projection of one token
    rest = 4 h a d + 6 h I          query and output projection, gate, up and down projection
    attn(p) = 4 a d (p + 1)         scores and weighted sum of the query at position p
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swiftkv_bench.errors import InputError

__all__ = [
    "Machine",
    "ModelShape",
    "decode_bytes",
    "decode_flops",
    "kv_cache_bytes_per_token",
    "memory_bandwidth",
    "mix_bound",
    "mix_time_s",
    "prefill_bound",
    "prefill_bytes",
    "prefill_flops",
    "share_bound",
    "weight_bytes",
]

_DTYPE_BYTES = {"float32": 4.0, "float": 4.0, "float16": 2.0, "half": 2.0, "bfloat16": 2.0}


@dataclass(frozen=True)
class ModelShape:
    """The dimensions of a Llama-like model that cost depends on.

    Attributes:
        key_value_layers: N; equals ``layers`` for a model without SwiftKV.
        key_value_groups: number of later K/V projections, ceil((L - N) / G); 0 without SwiftKV.
        dtype_bytes: bytes of one activation, embedding or lm_head value.
        linear_bytes: bytes of one weight of a layer's linear; differs from ``dtype_bytes`` when quantised.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    key_value_layers: int
    key_value_groups: int
    dtype_bytes: float
    linear_bytes: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ModelShape":
        """Read a ``config.json`` as published with Llama and SwiftKV checkpoints.

        A missing ``num_key_value_layers`` means no SwiftKV, a missing ``torch_dtype``/``dtype`` bfloat16.

        Raises:
            InputError: a key is missing, or N is outside 1 .. L.
        """
        try:
            hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
            heads, vocab = int(config["num_attention_heads"]), int(config["vocab_size"])
            intermediate = int(config["intermediate_size"])
        except KeyError as error:
            raise InputError(f"config.json has no {error.args[0]!r}; a Llama config is needed") from error
        key_value_layers = int(config.get("num_key_value_layers") or layers)
        if not 1 <= key_value_layers <= layers:
            raise InputError(f"config.json: num_key_value_layers is {key_value_layers}, must be within 1 .. {layers}")
        group_size = int(config.get("key_value_group_size") or 1)
        dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16").removeprefix("torch.")
        if dtype not in _DTYPE_BYTES:
            raise InputError(f"config.json: dtype {dtype!r} is unknown; known are {sorted(_DTYPE_BYTES)}")
        return cls(
            hidden=hidden,
            intermediate=intermediate,
            layers=layers,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            vocab=vocab,
            key_value_layers=key_value_layers,
            key_value_groups=math.ceil((layers - key_value_layers) / group_size),
            dtype_bytes=_DTYPE_BYTES[dtype],
            linear_bytes=_linear_bytes(config.get("quantization_config"), _DTYPE_BYTES[dtype]),
        )

    @property
    def later_layers(self) -> int:
        """L - N: the layers that only rows of the second half run."""
        return self.layers - self.key_value_layers

    @property
    def kv_weights(self) -> int:
        """Weights of one layer's K and V projection."""
        return 2 * self.hidden * self.kv_heads * self.head_dim

    @property
    def rest_weights(self) -> int:
        """Weights of one layer's query, output, gate, up and down projection."""
        return 2 * self.hidden * self.heads * self.head_dim + 3 * self.hidden * self.intermediate


@dataclass(frozen=True)
class Machine:
    """Peak rates of one engine's hardware: FLOP/s of the matrix units, bytes/s of the memory.

    They cap both arms alike; take published peaks for a bound, measured rates for an estimate.
    """

    flops_per_s: float
    bytes_per_s: float


BANDWIDTH: Mapping[str, float] = {
    "H200": 4.8e12,
    "H100 NVL": 3.9e12,
    "H100 PCIe": 2.0e12,
    "H100": 3.35e12,
    "A100-SXM4-80GB": 2.039e12,
    "A100 80GB PCIe": 1.935e12,
    "A100": 1.555e12,
    "L40S": 0.864e12,
    "L4": 0.3e12,
}
"""Part of a GPU's product name -> peak memory bandwidth, bytes/s, as NVIDIA's data sheets of these cards say; the
first part that occurs counts."""


MATRIX_RATE: Mapping[str, float] = {
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}
"""Part of a GPU's product name -> peak FLOP/s of dense bfloat16 products, as NVIDIA's data sheets say (without
sparsity); the first part that occurs counts."""


def memory_bandwidth(card: str) -> float | None:
    """Peak memory bandwidth of a GPU by its product name, bytes/s; None for a card that is not in `BANDWIDTH`."""
    return _by_card(BANDWIDTH, card)


def matrix_rate(card: str) -> float | None:
    """Peak bfloat16 FLOP/s of a GPU by its product name; None for a card that is not in `MATRIX_RATE`."""
    return _by_card(MATRIX_RATE, card)


def _by_card(table: Mapping[str, float], card: str) -> float | None:
    words = card.replace("NVIDIA ", "")
    return next((found for name, found in table.items() if re.search(rf"\b{re.escape(name)}\b", words)), None)


def _linear_bytes(quantization: Mapping[str, Any] | None, dtype_bytes: float) -> float:
    """Bytes of one linear weight by ``quantization_config``; ``dtype_bytes`` when there is none.

    Raises:
        InputError: the scheme does not name its number of bits.
    """
    if not quantization:
        return dtype_bytes
    inner = quantization.get("quantization")  # older ModelOpt files hold the algorithm one level deeper
    algorithm = str((inner if isinstance(inner, Mapping) else quantization).get("quant_algo"))
    if quantization.get("quant_method") in ("fp8", "fbgemm_fp8") or algorithm.startswith("FP8"):
        return 1.0
    groups: Mapping[str, Any] = quantization.get("config_groups") or {}
    bits = {(group.get("weights") or {}).get("num_bits") for group in groups.values()}
    if len(bits) == 1 and (one := bits.pop()) is not None:
        return float(one) / 8.0
    raise InputError("config.json: quantization_config names no single weights.num_bits; give one config group")


def _causal_keys(input_tokens: int, cached_tokens: int) -> int:
    """Sum of p + 1 over positions cached .. cached + n - 1: n c + n (n + 1) / 2."""
    return input_tokens * cached_tokens + input_tokens * (input_tokens + 1) // 2


def _new_tokens(input_tokens: int, cached: int) -> int:
    if not 0 <= cached < input_tokens:
        raise InputError(f"cached must be within 0 .. input_tokens - 1, got {cached} of {input_tokens} tokens")
    return input_tokens - cached


def prefill_flops(
    config: Mapping[str, Any],
    input_tokens: int,
    cached: int = 0,
    *,
    all_rows: bool = False,
    logit_rows: int = 1,
) -> int:
    """FLOPs to prefill a prompt of ``input_tokens`` tokens, the first ``cached`` from the prefix cache.

    With n = input_tokens - cached, K the causal sum, r second-half rows (1, or n with ``all_rows``)::

        N (n (kv + rest) + 4 a d K) + groups n kv + (L - N) (r rest + 4 a d K_r) + logit_rows 2 h V

    where K_r = input_tokens for the one last row, K for all rows.

    Args:
        all_rows: every row runs the later layers: SwiftKV in mode ``full``, or prompt logprobs.
        logit_rows: rows that pass lm_head; 0 for a chunk that is not the last.

    Raises:
        InputError: ``cached`` is not within 0 .. input_tokens - 1, or the config is unusable.
    """
    shape = ModelShape.from_config(config)
    new = _new_tokens(input_tokens, cached)
    keys = _causal_keys(new, cached)
    per_key = 4 * shape.heads * shape.head_dim
    rows, row_keys = (new, keys) if all_rows else (1, input_tokens)
    first = shape.key_value_layers * (2 * new * (shape.kv_weights + shape.rest_weights) + per_key * keys)
    key_value = shape.key_value_groups * 2 * new * shape.kv_weights
    later = shape.later_layers * (2 * rows * shape.rest_weights + per_key * row_keys)
    return first + key_value + later + logit_rows * 2 * shape.hidden * shape.vocab


def decode_flops(config: Mapping[str, Any], context_tokens: int) -> int:
    """FLOPs of one generated token that attends to ``context_tokens`` keys, itself among them.

    Formula: L rest + (N + groups) kv + L 4 a d context + 2 h V. SwiftKV saves nothing here but the
    K/V projections that groups share.
    """
    shape = ModelShape.from_config(config)
    owners = shape.key_value_layers + shape.key_value_groups
    weights = owners * shape.kv_weights + shape.layers * shape.rest_weights
    attention = shape.layers * 4 * shape.heads * shape.head_dim * context_tokens
    return 2 * weights + attention + 2 * shape.hidden * shape.vocab


def kv_cache_bytes_per_token(config: Mapping[str, Any], *, kv_bytes: float | None = None) -> float:
    """Bytes of cache one token occupies: (N + groups) 2 g d ``kv_bytes`` (default: the dtype's)."""
    shape = ModelShape.from_config(config)
    value_bytes = shape.dtype_bytes if kv_bytes is None else kv_bytes
    owners = shape.key_value_layers + shape.key_value_groups
    return owners * 2 * shape.kv_heads * shape.head_dim * value_bytes


def weight_bytes(config: Mapping[str, Any]) -> float:
    """Bytes of all weights that a decode step reads: the layers' linears and lm_head; norms left out."""
    shape = ModelShape.from_config(config)
    owners = shape.key_value_layers + shape.key_value_groups
    linears = owners * shape.kv_weights + shape.layers * shape.rest_weights
    return linears * shape.linear_bytes + shape.hidden * shape.vocab * shape.dtype_bytes


def decode_bytes(
    config: Mapping[str, Any], context_tokens: int, *, batch: int = 1, kv_bytes: float | None = None
) -> float:
    """Bytes that one decode step of ``batch`` requests moves: weights once, and each request's K/V.

    Each of the L layers reads its K/V from memory (layers that share a cache read it again, since a cache
    exceeds on-chip memory), and each owner writes one token's K/V::

        weight_bytes + batch (context - 1) L 2 g d kv_bytes + batch kv_cache_bytes_per_token
    """
    shape = ModelShape.from_config(config)
    value_bytes = shape.dtype_bytes if kv_bytes is None else kv_bytes
    read = (context_tokens - 1) * shape.layers * 2 * shape.kv_heads * shape.head_dim * value_bytes
    return weight_bytes(config) + batch * (read + kv_cache_bytes_per_token(config, kv_bytes=kv_bytes))


def prefill_bytes(
    config: Mapping[str, Any],
    input_tokens: int,
    cached: int = 0,
    *,
    chunk_tokens: int | None = None,
    kv_bytes: float | None = None,
) -> float:
    """Least bytes to prefill one prompt alone, in chunks of ``chunk_tokens`` (None: in one step).

    Every chunk reads the weights of the first N layers and of the later K/V projections and, in the first N
    layers, the K/V of what precedes it; all K/V are written once. The later layers' other weights, their K/V
    and lm_head are read in the last chunk alone. Activations are left out: they are reused on chip.

    Raises:
        InputError: ``cached`` is not within 0 .. input_tokens - 1, or ``chunk_tokens`` is not positive.
    """
    shape = ModelShape.from_config(config)
    new = _new_tokens(input_tokens, cached)
    chunk = new if chunk_tokens is None else chunk_tokens
    if chunk < 1:
        raise InputError(f"chunk_tokens must be positive, got {chunk_tokens}")
    value_bytes = shape.dtype_bytes if kv_bytes is None else kv_bytes
    layer_kv = 2 * shape.kv_heads * shape.head_dim * value_bytes
    starts = range(cached, input_tokens, chunk)
    owners = shape.key_value_layers + shape.key_value_groups
    every_chunk = owners * shape.kv_weights + shape.key_value_layers * shape.rest_weights
    last_chunk = shape.later_layers * shape.rest_weights
    weights = (len(starts) * every_chunk + last_chunk) * shape.linear_bytes
    head = shape.hidden * shape.vocab * shape.dtype_bytes
    read = shape.key_value_layers * layer_kv * sum(starts) + shape.later_layers * layer_kv * (input_tokens - 1)
    return weights + head + read + new * kv_cache_bytes_per_token(config, kv_bytes=kv_bytes)


def prefill_bound(baseline: Mapping[str, Any], swiftkv: Mapping[str, Any], input_tokens: int, cached: int = 0) -> float:
    """Largest prefill speed-up that FLOPs allow: prefill_flops(baseline) / prefill_flops(swiftkv)."""
    return prefill_flops(baseline, input_tokens, cached) / prefill_flops(swiftkv, input_tokens, cached)


def share_bound(prefill_ratio: float, prefill_share: float) -> float:
    """Amdahl's law: speed-up when the part ``prefill_share`` of baseline time gains ``prefill_ratio``.

    Formula: 1 / (share / ratio + 1 - share).

    Raises:
        InputError: the share is outside 0 .. 1 or the ratio is not positive.
    """
    if not 0.0 <= prefill_share <= 1.0 or prefill_ratio <= 0.0:
        raise InputError(
            f"prefill_share must be in 0 .. 1 and the ratio positive, got {prefill_share}, {prefill_ratio}"
        )
    return 1.0 / (prefill_share / prefill_ratio + 1.0 - prefill_share)


def mix_time_s(
    config: Mapping[str, Any], input_tokens: int, output_tokens: int, machine: Machine, *, batch: int = 1
) -> float:
    """Least seconds per request at ``batch`` concurrent requests: roofline prefill plus roofline decode.

    Prefill is max(FLOPs / peak, bytes / bandwidth) of the prompt; decode step i of 1 .. output - 1 (the first
    token comes from the prefill) attends to input + i keys and is max(batch FLOPs / peak, bytes / bandwidth)
    shared by ``batch`` requests. No overlap of prefill with decode is assumed.
    """
    prefill = max(
        prefill_flops(config, input_tokens) / machine.flops_per_s,
        prefill_bytes(config, input_tokens) / machine.bytes_per_s,
    )
    decode = 0.0
    for context in range(input_tokens + 1, input_tokens + output_tokens):
        compute_s = batch * decode_flops(config, context) / machine.flops_per_s
        memory_s = decode_bytes(config, context, batch=batch) / machine.bytes_per_s
        decode += max(compute_s, memory_s) / batch
    return prefill + decode


def mix_bound(
    baseline: Mapping[str, Any],
    swiftkv: Mapping[str, Any],
    input_tokens: int,
    output_tokens: int,
    machine: Machine,
    *,
    batch: int = 1,
) -> float:
    """Speed-up of whole requests (input and output) that the roofline allows at equal ``batch``.

    Ratio of ``mix_time_s``. With 1 output token it is the prefill's; with many it nears 1.
    """
    return mix_time_s(baseline, input_tokens, output_tokens, machine, batch=batch) / mix_time_s(
        swiftkv, input_tokens, output_tokens, machine, batch=batch
    )
