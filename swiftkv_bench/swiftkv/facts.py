"""What is known of an engine, as plain values; imports neither vLLM nor torch.

``preflight`` fills it from the configuration of an engine that starts, the harness from ``config.json``, the profile
and the options of one that might. ``limits`` decides by it, so that both get the same refusals in the same words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from swiftkv_bench.swiftkv.quantization import Form

__all__ = ["CONFIG_KEYS", "Facts"]

CONFIG_KEYS = (
    "dual_chunk_attention_config",
    "intermediate_size",
    "is_causal",
    "key_value_group_size",
    "layer_types",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_key_value_layers",
)
"""Keys of ``config.json`` that decide."""


@dataclass(frozen=True)
class Facts:
    """What is known of an engine; the defaults are those of a sound one.

    Attributes:
        swiftkv: whether it serves a SwiftKV model; vLLM's own models have fewer limits.
        config: the keys ``CONFIG_KEYS`` of ``config.json``; empty when it is not known.
        sliding_window: tokens that a layer looks back to; None when it looks back to all.
        runner_type: ``generate``, ``pooling``, or ``draft`` for a model that proposes tokens to another.
        v2_runner: whether vLLM's V2 model runner serves it; ignored where nothing depends on it.
        attention_backend: as ``--attention-backend`` names it; None leaves the choice to vLLM.
        splits_hidden_states: whether a compiler pass (sequence parallelism) does.
    """

    swiftkv: bool = True
    mode: Literal["skip", "full"] = "skip"
    config: Mapping[str, Any] = field(default_factory=dict)
    form: Form = field(default_factory=Form)
    sliding_window: int | None = None
    runner_type: str = "generate"
    v2_runner: bool = False
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    decode_context_parallel_size: int = 1
    prefill_context_parallel_size: int = 1
    splits_hidden_states: bool = False
    watermark: bool = False
    dual_batch_overlap: bool = False
    offloads: bool = False
    breakable_graphs: bool = False
    kv_sharing_fast_prefill: bool = False
    calculate_kv_scales: bool = False
    kv_cache_dtype: str = "auto"
    kv_cache_dtype_skip_layers: bool = False
    kv_connector: bool = False
    lora: bool = False
    speculative_method: str | None = None
    adaptive_verification: bool = False
    attention_backend: str | None = None
    allow_deprecated_quantization: bool = False
