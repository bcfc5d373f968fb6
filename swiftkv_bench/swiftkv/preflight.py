"""Refusals at start: what SwiftKV cannot do, said in one sentence before any weight is loaded."""

import os
from typing import Any

from swiftkv_bench.errors import EngineError
from swiftkv_bench.swiftkv.compat import shards_hidden_states
from swiftkv_bench.swiftkv.options import Options
from swiftkv_bench.swiftkv.tracker import tracker_of

__all__ = ["check_backend", "check_config"]


def check_config(vllm_config: Any, options: Options) -> None:
    """Refuse a vLLM configuration under which answers would be wrong or were never checked.

    Raises:
        EngineError: names the setting, its value and the way out.
    """
    parallel, cache = vllm_config.parallel_config, vllm_config.cache_config
    refusals = [
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
            vllm_config.use_v2_model_runner,
            "the V2 model runner was never run with SwiftKV and is vLLM's default here; start the engine with"
            " VLLM_USE_V2_MODEL_RUNNER=0 in its environment",
        ),
        (
            getattr(parallel, "use_ubatching", False),
            "dual-batch overlap is on, which splits a batch between the two halves; drop --enable-dbo",
        ),
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
            os.environ.get("VLLM_USE_BREAKABLE_CUDAGRAPH") == "1",
            "VLLM_USE_BREAKABLE_CUDAGRAPH=1 would freeze one choice of rows into a graph; unset it",
        ),
    ]
    if options.skips:
        refusals += _skip_refusals(vllm_config)
    for refused, sentence in refusals:
        if refused:
            raise EngineError(f"SwiftKV: {sentence}")


def _skip_refusals(vllm_config: Any) -> list[tuple[bool, str]]:
    """What mode ``full`` can do and mode ``skip`` cannot."""
    speculative = vllm_config.speculative_config
    method = None if speculative is None else speculative.method
    way_out = 'use --additional-config \'{"swiftkv_mode": "full"}\''
    return [
        (
            speculative is not None,
            f"speculative method {method!r} reads hidden states of rows that mode skip leaves out, or runs"
            f" without logits processors; drop --speculative-config or {way_out}",
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
