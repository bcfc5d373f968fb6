"""What SwiftKV refuses, decided from plain values: imports neither vLLM nor torch, starts nothing.

What any model of vLLM needs is in ``engine_limits``.
"""

from collections.abc import Mapping
from typing import Any

from swiftkv_bench.errors import EngineError
from swiftkv_bench.swiftkv.engine_limits import Rows, engine_rows
from swiftkv_bench.swiftkv.facts import Facts

__all__ = ["key_value_owners", "refusals", "window_rows"]

CACHE_DTYPES = ("auto", "float16", "bfloat16", "fp8", "fp8_e4m3")
BACKENDS = ("FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "CPU_ATTN")
"""Attention backends that write the cache apart from ``forward`` and were looked at."""
WRITES_IN_FORWARD = ("HPC_ATTN",)
"""Those known by name to write it inside; an engine that starts asks its backend's class."""
SPECULATIVE_METHODS = ("ngram", "draft_model")
"""Methods that propose tokens without the target's hidden states."""
_WAY_OUT = 'use --additional-config \'{"swiftkv_mode": "full"}\''


def refusals(facts: Facts) -> list[str]:
    """Why an engine would not start, would give wrong answers or was never checked, a sentence each.

    A sentence names key, value and way out. What ``engine_limits`` holds, vLLM checks for itself before it makes a
    model; it is here to be known before vLLM is started.
    """
    rows = engine_rows(facts)
    if facts.swiftkv:
        rows += _layout(facts) + _cache(facts) + _model(facts)
    if facts.swiftkv and facts.mode == "skip":
        rows += _skip(facts)
    found = [sentence for refused, sentence in rows if refused]
    return found + _layers(facts.config) if facts.swiftkv else found


def key_value_owners(layers: int, key_value_layers: int | None, group_size: int | None) -> dict[int, int]:
    """Map each later layer to the layer whose K/V it reads: the first of its group.

    Returns:
        later layer index -> owner's index, in order; empty when all layers are ordinary.

    Raises:
        EngineError: N is outside 1 .. L, or the group size does not divide L - N.
    """
    first = layers if key_value_layers is None else key_value_layers
    size = 1 if group_size is None else group_size
    if not 1 <= first <= layers:
        raise EngineError(f"config.json: num_key_value_layers is {first}, must be within 1 .. {layers}")
    if size < 1 or (layers - first) % size != 0:
        raise EngineError(
            f"config.json: key_value_group_size is {size}, must divide the {layers - first} layers after layer {first}"
        )
    return {layer: layer - (layer - first) % size for layer in range(first, layers)}


def _layout(facts: Facts) -> Rows:
    """How the model is spread over devices, memories and batches."""
    return [
        (
            facts.pipeline_parallel_size > 1,
            f"--pipeline-parallel-size is {facts.pipeline_parallel_size}: K/V of later layers are made on one"
            " rank; use --tensor-parallel-size instead",
        ),
        (
            facts.decode_context_parallel_size > 1,
            f"--decode-context-parallel-size is {facts.decode_context_parallel_size}; leave it at 1",
        ),
        (
            facts.prefill_context_parallel_size > 1,
            f"--prefill-context-parallel-size is {facts.prefill_context_parallel_size}; leave it at 1",
        ),
        (
            facts.splits_hidden_states,
            "sequence parallelism is on (pass_config.enable_sp or fuse_gemm_comms), which would split the hidden"
            " states between the two halves; turn both off",
        ),
        (facts.watermark, "--watermark-config is set, whose sampler was never run with SwiftKV; drop it"),
        (
            facts.dual_batch_overlap,
            "dual-batch overlap is on, which splits a batch between the two halves; drop --enable-dbo",
        ),
        (
            facts.offloads,
            "--cpu-offload-gb or --offload-group-size is set, which the layers of both halves would ignore; drop it and"
            " spread the weights by --tensor-parallel-size",
        ),
        (
            facts.breakable_graphs,
            "VLLM_USE_BREAKABLE_CUDAGRAPH=1 would freeze one choice of rows into a graph; unset it",
        ),
    ]


def _cache(facts: Facts) -> Rows:
    """What is kept in the KV cache, and who else reads or writes it."""
    return [
        (facts.kv_sharing_fast_prefill, "--kv-sharing-fast-prefill is on, which SwiftKV replaces; drop it"),
        (
            facts.calculate_kv_scales,
            "--calculate-kv-scales is on, but later layers see no K/V in their forward; drop it",
        ),
        (
            facts.kv_cache_dtype_skip_layers,
            "--kv-cache-dtype-skip-layers gives layers caches of different types, which those that share K/V cannot"
            " read; drop it",
        ),
        (
            facts.kv_connector,
            "a KV connector is configured, which saves K/V layer by layer in forward; drop --kv-transfer-config",
        ),
        (
            facts.kv_cache_dtype not in CACHE_DTYPES,
            f"--kv-cache-dtype is {facts.kv_cache_dtype!r}, never checked where K/V are written apart from attention;"
            f" choose {', '.join(CACHE_DTYPES)}",
        ),
        (
            facts.attention_backend in WRITES_IN_FORWARD,
            f"--attention-backend is {facts.attention_backend}, which writes the KV cache inside forward; choose"
            f" {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}",
        ),
    ]


def _model(facts: Facts) -> Rows:
    """What vLLM's models can be and a SwiftKV model cannot."""
    method, config = facts.speculative_method, facts.config
    heads = config.get("num_key_value_heads") or config.get("num_attention_heads")
    return [
        (
            facts.lora,
            "--enable-lora is on, but later layers have no k_proj, v_proj or q_proj that an adapter could change; merge"
            " the adapter into the weights",
        ),
        (
            method is not None and method not in SPECULATIVE_METHODS,
            f"speculative method {method!r} reads hidden states of the target's layers or was never run with SwiftKV;"
            f" choose {' or '.join(SPECULATIVE_METHODS)} or drop --speculative-config",
        ),
        (
            facts.adaptive_verification,
            "--speculative-config has enable_adaptive_verification, which decides on the device how many drafts a"
            " request verifies; set it to false",
        ),
        (facts.form.refusal is not None, str(facts.form.refusal)),
        (
            facts.form.scale == "block" and heads is not None and facts.tensor_parallel_size > heads,
            f"--tensor-parallel-size is {facts.tensor_parallel_size} with {heads} K/V heads and weights scaled by"
            " block, which cannot be copied head by head; use as many ranks as heads",
        ),
        *window_rows(config, facts.sliding_window),
        (
            bool(config.get("dual_chunk_attention_config")),
            "config.json: dual_chunk_attention_config is set, but later layers attend in one piece; remove it and keep"
            " to the context of the model without it",
        ),
        (
            config.get("is_causal") is False,
            "config.json: is_causal is false, but rows are skipped because no earlier token reads them; remove it",
        ),
    ]


def window_rows(config: Mapping[str, Any], window: int | None) -> Rows:
    """Layers that look back to a window of tokens only.

    Args:
        window: how many; None for layers that attend to everything.
    """
    kinds = sorted(set(config.get("layer_types") or ()) - {"full_attention"})
    absent = str(config.get("model_type")).startswith("mistral")
    note = " (4096 also stands for an absent key, as transformers reads it; null is none)" if absent else ""
    return [
        (
            bool(kinds),
            f"config.json: layer_types holds {', '.join(kinds)}, but later layers attend to the whole context; only"
            " full_attention will do",
        ),
        (
            window is not None and not kinds,
            f"config.json: sliding_window is {window}{note}, but later layers attend to the whole context; give"
            " --disable-sliding-window, which keeps the context within it, or take a model without one",
        ),
    ]


def _skip(facts: Facts) -> Rows:
    """What mode ``full`` can do and mode ``skip`` cannot."""
    return [
        (
            facts.speculative_method is not None and not facts.v2_runner,
            "--speculative-config is set, under which the V1 model runner drops the logits processor that tells which"
            f" rows are needed; let vLLM take its V2 model runner (without VLLM_USE_V2_MODEL_RUNNER=0) or {_WAY_OUT}",
        ),
        (
            facts.runner_type not in ("generate", "draft"),
            f"--runner {facts.runner_type} pools hidden states of rows that mode skip leaves out; {_WAY_OUT}",
        ),
    ]


def _layers(config: Mapping[str, Any]) -> list[str]:
    layers = config.get("num_hidden_layers")
    if layers is None:
        return []
    try:
        key_value_owners(layers, config.get("num_key_value_layers"), config.get("key_value_group_size"))
    except EngineError as refusal:
        return [str(refusal)]
    return []
