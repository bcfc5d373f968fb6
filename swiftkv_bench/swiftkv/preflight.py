"""Refusals at start, said in one sentence before any weight is loaded: what ``limits`` decides, of this engine."""

import os
from collections.abc import Mapping
from typing import Any

from swiftkv_bench.errors import EngineError
from swiftkv_bench.swiftkv.compat import NEEDED_BY_V2, check_api, shards_hidden_states
from swiftkv_bench.swiftkv.facts import CONFIG_KEYS, Facts
from swiftkv_bench.swiftkv.limits import BACKENDS, refusals
from swiftkv_bench.swiftkv.options import Options
from swiftkv_bench.swiftkv.quantization import Form, form_of
from swiftkv_bench.swiftkv.tracker import tracker_of

__all__ = ["check_backend", "check_config", "weight_form"]


def check_config(vllm_config: Any, options: Options) -> None:
    """Refuse a vLLM configuration under which answers would be wrong or were never checked.

    Raises:
        EngineError: names the setting, its value and the way out, or the interface that this vLLM's V2 runner lacks.
    """
    v2 = bool(vllm_config.use_v2_model_runner)
    if v2:
        check_api(NEEDED_BY_V2)
    found = refusals(_facts(vllm_config, options))
    if not found and options.skips and not v2 and tracker_of(vllm_config) is None:
        found = [
            "vLLM did not load the entry point vllm.logits_processors of this package, so requests for prompt logprobs"
            " would go unnoticed; reinstall swiftkv-bench in the engine's environment or use --additional-config"
            ' \'{"swiftkv_mode": "full"}\''
        ]
    if found:
        raise EngineError(f"SwiftKV: {found[0]}")


def weight_form(vllm_config: Any) -> Form:
    """How the weights of the model that ``vllm_config`` configures are stored."""
    model = vllm_config.model_config
    checkpoint = getattr(model.hf_config, "quantization_config", None)
    if checkpoint is not None and not isinstance(checkpoint, Mapping):
        checkpoint = checkpoint.to_dict()
    online = getattr(model, "quantization_config", None)
    ignored, targets = getattr(online, "ignore", None) or (), getattr(online, "targets", None)
    return form_of(checkpoint, model.quantization, ignored, even=not targets)


def _facts(vllm_config: Any, options: Options) -> Facts:
    parallel, offload = vllm_config.parallel_config, vllm_config.offload_config
    model, cache, speculative = vllm_config.model_config, vllm_config.cache_config, vllm_config.speculative_config
    return Facts(
        mode=options.mode,
        config={key: getattr(model.hf_config, key, None) for key in CONFIG_KEYS},
        form=weight_form(vllm_config),
        sliding_window=getattr(model.hf_config, "sliding_window", None),
        runner_type=model.runner_type,
        v2_runner=bool(vllm_config.use_v2_model_runner),
        tensor_parallel_size=parallel.tensor_parallel_size,
        pipeline_parallel_size=parallel.pipeline_parallel_size,
        decode_context_parallel_size=parallel.decode_context_parallel_size,
        prefill_context_parallel_size=parallel.prefill_context_parallel_size,
        splits_hidden_states=shards_hidden_states(vllm_config),
        watermark=getattr(vllm_config, "watermark_config", None) is not None,
        dual_batch_overlap=bool(getattr(parallel, "use_ubatching", False)),
        offloads=offload.uva.cpu_offload_gb > 0 or offload.prefetch.offload_group_size > 0,
        breakable_graphs=os.environ.get("VLLM_USE_BREAKABLE_CUDAGRAPH") == "1",
        kv_sharing_fast_prefill=cache.kv_sharing_fast_prefill,
        calculate_kv_scales=bool(getattr(cache, "calculate_kv_scales", False)),
        kv_cache_dtype=cache.cache_dtype,
        kv_cache_dtype_skip_layers=bool(cache.kv_cache_dtype_skip_layers),
        kv_connector=vllm_config.kv_transfer_config is not None,
        lora=vllm_config.lora_config is not None,
        speculative_method=None if speculative is None else speculative.method,
        adaptive_verification=bool(getattr(speculative, "enable_adaptive_verification", False)),
        allow_deprecated_quantization=bool(getattr(model, "allow_deprecated_quantization", True)),
    )


def check_backend(backend: Any) -> None:
    """Refuse an attention backend that writes K/V inside its forward, where later layers bring none.

    Raises:
        EngineError: names the backend and the ones that work.
    """
    if backend.forward_includes_kv_cache_update:
        raise EngineError(
            f"SwiftKV: attention backend {backend.get_name()} writes the KV cache inside forward();"
            f" choose {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]} by --attention-backend"
        )
