"""Refusals at start: what SwiftKV cannot do, said in one sentence before any weight is loaded."""

import os
from typing import Any

from swiftkv_bench.errors import EngineError
from swiftkv_bench.swiftkv.compat import shards_hidden_states
from swiftkv_bench.swiftkv.options import Options
from swiftkv_bench.swiftkv.tracker import tracker_of

__all__ = ["check_backend", "check_config"]

_CACHE_DTYPES = ("auto", "float16", "bfloat16", "fp8", "fp8_e4m3")
# Methods that propose tokens without the target's hidden states.
_SPECULATIVE_METHODS = ("ngram", "draft_model")


def check_config(vllm_config: Any, options: Options) -> None:
    """Refuse a vLLM configuration under which answers would be wrong or were never checked.

    Raises:
        EngineError: names the setting, its value and the way out.
    """
    refusals = _layout_refusals(vllm_config) + _cache_refusals(vllm_config) + _model_refusals(vllm_config)
    if options.skips:
        refusals += _skip_refusals(vllm_config)
    for refused, sentence in refusals:
        if refused:
            raise EngineError(f"SwiftKV: {sentence}")


def _layout_refusals(vllm_config: Any) -> list[tuple[bool, str]]:
    """How the model is spread over devices, memories and batches."""
    parallel, offload = vllm_config.parallel_config, vllm_config.offload_config
    return [
        (
            parallel.pipeline_parallel_size > 1,
            f"--pipeline-parallel-size is {parallel.pipeline_parallel_size}: K/V of later layers are made on one"
            " rank; use --tensor-parallel-size instead",
        ),
        (
            parallel.decode_context_parallel_size > 1,
            f"--decode-context-parallel-size is {parallel.decode_context_parallel_size}; leave it at 1",
        ),
        (
            parallel.prefill_context_parallel_size > 1,
            f"prefill_context_parallel_size is {parallel.prefill_context_parallel_size}; leave it at 1",
        ),
        (
            shards_hidden_states(vllm_config),
            "sequence parallelism is on (pass_config.enable_sp or fuse_gemm_comms), which would split the hidden"
            " states between the two halves; turn both off",
        ),
        (
            getattr(vllm_config, "watermark_config", None) is not None,
            "--watermark-config is set, for which vLLM takes the V2 model runner; drop it",
        ),
        (
            vllm_config.use_v2_model_runner,
            "the V2 model runner was never run with SwiftKV and is vLLM's default here; start the engine with"
            " VLLM_USE_V2_MODEL_RUNNER=0 in its environment",
        ),
        (
            getattr(parallel, "use_ubatching", False),
            "dual-batch overlap is on, which splits a batch between the two halves; drop --enable-dbo",
        ),
        (
            offload.uva.cpu_offload_gb > 0 or offload.prefetch.offload_group_size > 0,
            "--cpu-offload-gb or --offload-group-size is set, which the layers of both halves would ignore; drop it and"
            " spread the weights by --tensor-parallel-size",
        ),
        (
            os.environ.get("VLLM_USE_BREAKABLE_CUDAGRAPH") == "1",
            "VLLM_USE_BREAKABLE_CUDAGRAPH=1 would freeze one choice of rows into a graph; unset it",
        ),
    ]


def _cache_refusals(vllm_config: Any) -> list[tuple[bool, str]]:
    """What is kept in the KV cache, and who else reads or writes it."""
    cache = vllm_config.cache_config
    return [
        (cache.kv_sharing_fast_prefill, "--kv-sharing-fast-prefill is on, which SwiftKV replaces; drop it"),
        (
            getattr(cache, "calculate_kv_scales", False),
            "--calculate-kv-scales is on, but later layers see no K/V in their forward; drop it",
        ),
        (
            bool(cache.kv_cache_dtype_skip_layers),
            "--kv-cache-dtype-skip-layers gives layers caches of different types, which those that share K/V cannot"
            " read; drop it",
        ),
        (
            vllm_config.kv_transfer_config is not None,
            "a KV connector is configured, which saves K/V layer by layer in forward; drop --kv-transfer-config",
        ),
        (
            cache.cache_dtype not in _CACHE_DTYPES,
            f"--kv-cache-dtype is {cache.cache_dtype!r}, never checked where K/V are written apart from attention;"
            f" choose {', '.join(_CACHE_DTYPES)}",
        ),
    ]


def _model_refusals(vllm_config: Any) -> list[tuple[bool, str]]:
    """What vLLM's Llama can be and a SwiftKV Llama cannot."""
    model, speculative = vllm_config.model_config, vllm_config.speculative_config
    method = None if speculative is None else speculative.method
    kinds = sorted(set(getattr(model.hf_config, "layer_types", None) or ()) - {"full_attention"})
    return [
        (
            vllm_config.lora_config is not None,
            "--enable-lora is on, but later layers have no k_proj, v_proj or q_proj that an adapter could change; merge"
            " the adapter into the weights",
        ),
        (
            method is not None and method not in _SPECULATIVE_METHODS,
            f"speculative method {method!r} reads hidden states of the target's layers or was never run with SwiftKV;"
            f" choose {' or '.join(_SPECULATIVE_METHODS)} or drop --speculative-config",
        ),
        (
            not _is_float8_or_plain(model.quantization, vllm_config.quant_config),
            f"quantization is {model.quantization!r} in a form that was never checked; load weights that"
            " compressed-tensors made 8-bit floats, or unquantised ones",
        ),
        (
            bool(kinds),
            f"config.json: layer_types holds {', '.join(kinds)}, but later layers attend to the whole context; only"
            " full_attention will do",
        ),
        (
            not getattr(model.hf_config, "is_causal", True),
            "config.json: is_causal is false, but rows are skipped because no earlier token reads them; remove it",
        ),
    ]


def _is_float8_or_plain(method: str | None, quant_config: Any) -> bool:
    """Whether weights are unquantised or 8-bit floats of compressed-tensors."""
    if method is None:
        return True
    schemes = getattr(quant_config, "target_scheme_map", None)
    if method != "compressed-tensors" or not schemes:
        return False
    weights = [scheme.get("weights") for scheme in schemes.values()]
    return all(part is not None and part.num_bits == 8 and str(part.type).endswith("float") for part in weights)


def _skip_refusals(vllm_config: Any) -> list[tuple[bool, str]]:
    """What mode ``full`` can do and mode ``skip`` cannot."""
    speculative = vllm_config.speculative_config
    way_out = 'use --additional-config \'{"swiftkv_mode": "full"}\''
    return [
        (
            speculative is not None,
            "--speculative-config is set, under which vLLM drops the logits processor that tells which rows are needed;"
            f" drop it or {way_out}",
        ),
        (
            vllm_config.model_config.runner_type != "generate",
            f"--runner {vllm_config.model_config.runner_type} pools hidden states of rows that mode skip leaves out;"
            f" {way_out}",
        ),
        (
            speculative is None and tracker_of(vllm_config) is None,
            "vLLM did not load the entry point vllm.logits_processors of this package, so requests for prompt"
            f" logprobs would go unnoticed; reinstall swiftkv-bench in the engine's environment or {way_out}",
        ),
    ]


def check_backend(backend: Any) -> None:
    """Refuse an attention backend that writes K/V inside its forward, where later layers bring none.

    Raises:
        EngineError: names the backend and the ones that work.
    """
    if backend.forward_includes_kv_cache_update:
        raise EngineError(
            f"SwiftKV: attention backend {backend.get_name()} writes the KV cache inside forward();"
            " choose FLASH_ATTN, FLASHINFER, TRITON_ATTN or CPU_ATTN by --attention-backend"
        )
