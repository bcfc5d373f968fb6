"""The only file that knows vLLM versions: what differs between them, and what the plug-in needs of any.

Tested: 0.26.0 (CUDA) and 0.32.0 (CPU).
"""

import dataclasses
import importlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from swiftkv_bench.errors import EngineError

__all__ = [
    "NEEDED",
    "TESTED_VERSIONS",
    "check_api",
    "encode_layer_name",
    "logits_processor_bases",
    "planning_outside_graphs",
    "replace_query_rows",
    "shards_hidden_states",
    "version",
]

TESTED_VERSIONS = ("0.26.0", "0.32.0")

NEEDED = (
    ("vllm.compilation.backends", "set_model_tag"),
    ("vllm.compilation.decorators", "support_torch_compile"),
    ("vllm.config", "CUDAGraphMode"),
    ("vllm.config", "VllmConfig"),
    ("vllm.distributed", "get_tensor_model_parallel_rank"),
    ("vllm.distributed", "get_tensor_model_parallel_world_size"),
    ("vllm.forward_context", "get_forward_context"),
    ("vllm.logger", "init_logger"),
    ("vllm.model_executor.layers.attention", "Attention"),
    ("vllm.model_executor.layers.attention.attention", "unified_kv_cache_update"),
    ("vllm.model_executor.layers.layernorm", "RMSNorm"),
    ("vllm.model_executor.layers.linear", "ColumnParallelLinear"),
    ("vllm.model_executor.layers.linear", "MergedColumnParallelLinear"),
    ("vllm.model_executor.layers.linear", "RowParallelLinear"),
    ("vllm.model_executor.layers.logits_processor", "LogitsProcessor"),
    ("vllm.model_executor.layers.rotary_embedding", "get_rope"),
    ("vllm.model_executor.layers.vocab_parallel_embedding", "ParallelLMHead"),
    ("vllm.model_executor.layers.vocab_parallel_embedding", "VocabParallelEmbedding"),
    ("vllm.model_executor.model_loader.weight_utils", "default_weight_loader"),
    ("vllm.model_executor.models.llama", "LlamaDecoderLayer"),
    ("vllm.model_executor.models.utils", "maybe_prefix"),
    ("vllm.v1.attention.backend", "AttentionCGSupport"),
    ("vllm.v1.attention.backend", "CommonAttentionMetadata"),
    ("vllm.v1.attention.backend", "subclass_attention_backend"),
    ("vllm.v1.utils", "record_function_or_nullcontext"),
)
"""Every interface of vLLM that the plug-in imports or rewrites: (module, name)."""

# Values that CommonAttentionMetadata derives from the query rows and keeps; they go stale when rows change.
_DERIVED_FIELDS = (
    "logits_indices_padded",
    "num_logits_indices",
    "_num_computed_tokens_cache",
    "_num_computed_tokens_cpu",
    "_token_to_req_indices_cache",
)


def version() -> str:
    """vLLM's version as it reports it, without the build suffix (``0.32.0+cpu`` -> ``0.32.0``)."""
    import vllm

    return str(vllm.__version__).split("+")[0]


def check_api(needed: Sequence[tuple[str, str]] = NEEDED) -> None:
    """Check that this vLLM has every interface the plug-in builds on.

    Args:
        needed: (module, name) pairs.

    Raises:
        EngineError: names the missing interface, the version found and the tested ones.
    """
    for module, name in needed:
        try:
            found = hasattr(importlib.import_module(module), name)
        except ImportError:
            found = False
        if not found:
            raise EngineError(
                f"vLLM {version()} has no {module}.{name}, which SwiftKV needs;"
                f" install a tested version: {' or '.join(TESTED_VERSIONS)}"
            )


def encode_layer_name(name: str) -> Any:
    """The form in which vLLM's attention ops take a layer's name (opaque to the compiler in newer versions)."""
    from vllm.utils import torch_utils

    encode = getattr(torch_utils, "_encode_layer_name", None)
    return name if encode is None else encode(name)


def logits_processor_bases() -> tuple[type, ...]:
    """Base classes of a logits processor that both model runners accept; 0.26 has no V2 interface."""
    from vllm.v1.sample.logits_processor.interface import LogitsProcessor

    try:
        v2 = importlib.import_module("vllm.v1.worker.gpu.sample.logits_processor.interface")
    except ImportError:
        return (LogitsProcessor,)
    return (LogitsProcessor, v2.LogitsProcessor)


def shards_hidden_states(vllm_config: Any) -> bool:
    """Whether a compiler pass shards the residual that goes from half to half: sequence parallelism, in 0.26 alone."""
    return bool(getattr(vllm_config.compilation_config.pass_config, "enable_sp", False))


def replace_query_rows(metadata: Any, **changes: Any) -> Any:
    """Copy ``CommonAttentionMetadata`` with other query rows, dropping what was derived from the old ones."""
    known = {field.name for field in dataclasses.fields(metadata)}
    stale = {name: None for name in _DERIVED_FIELDS if name in known}
    return dataclasses.replace(metadata, **stale, **changes)


@contextmanager
def planning_outside_graphs(builder: Any) -> Iterator[None]:
    """Build metadata of a batch that no captured graph holds.

    FlashInfer's builder takes every batch of decodes for one that replays a graph and keeps a wrapper for each batch
    size it meets (``_get_decode_wrapper``), with 16 MiB of buffers. Selected rows come in any number, so there would
    be a wrapper for each; without graphs all share one. Other builders have no such switch.
    """
    if not hasattr(builder, "enable_cuda_graph"):
        yield
        return
    saved, builder.enable_cuda_graph = builder.enable_cuda_graph, False
    try:
        yield
    finally:
        builder.enable_cuda_graph = saved
