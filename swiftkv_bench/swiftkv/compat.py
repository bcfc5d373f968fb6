"""The only file that knows vLLM versions: what differs between them, and what the plug-in needs of any."""

import dataclasses
import importlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from swiftkv_bench.errors import EngineError
from swiftkv_bench.swiftkv.versions import Runner, releases_tested, untested

__all__ = [
    "NEEDED",
    "NEEDED_BY_V2",
    "check_api",
    "device",
    "encode_layer_name",
    "logits_processor_bases",
    "planning_outside_graphs",
    "replace_query_rows",
    "shards_hidden_states",
    "version",
    "warning_of_start",
]

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
    ("vllm.model_executor.models.llama", "LlamaAttention"),
    ("vllm.model_executor.models.llama", "LlamaDecoderLayer"),
    ("vllm.model_executor.models.utils", "maybe_prefix"),
    ("vllm.v1.attention.backend", "AttentionCGSupport"),
    ("vllm.v1.attention.backend", "CommonAttentionMetadata"),
    ("vllm.v1.attention.backend", "subclass_attention_backend"),
    ("vllm.v1.attention.backend", "CommonAttentionMetadata.is_prefilling"),
    ("vllm.v1.attention.backend", "CommonAttentionMetadata.query_start_loc_cpu"),
    ("vllm.v1.attention.backend", "CommonAttentionMetadata.seq_lens_cpu_upper_bound"),
    ("vllm.v1.metrics.loggers", "StatLoggerBase"),
    ("vllm.v1.sample.logits_processor.interface", "LogitsProcessor.update_state"),
    ("vllm.v1.utils", "record_function_or_nullcontext"),
)
"""Every interface of vLLM that the plug-in imports or rewrites: (module, dotted name).

The last part of a name may be an attribute of a class, a field of a dataclass or a parameter of a function.
"""

NEEDED_BY_V2 = (
    ("vllm.config", "CUDAGraphMode"),
    ("vllm.v1.worker.gpu.input_batch", "InputBatch.idx_mapping_np"),
    ("vllm.v1.worker.gpu.input_batch", "InputBatch.is_prefilling_np"),
    ("vllm.v1.worker.gpu.input_batch", "InputBatch.num_draft_tokens_per_req"),
    ("vllm.v1.worker.gpu.input_batch", "InputBatch.num_reqs"),
    ("vllm.v1.worker.gpu.input_batch", "InputBatch.prefill_len_np"),
    ("vllm.v1.worker.gpu.input_batch", "InputBatch.query_start_loc_np"),
    ("vllm.v1.worker.gpu.input_batch", "InputBatch.seq_lens_cpu_upper_bound"),
    ("vllm.v1.worker.gpu.model_states", "resolve_model_state_cls"),
    ("vllm.v1.worker.gpu.model_states.default", "DefaultModelState"),
    ("vllm.v1.worker.gpu.model_states.default", "DefaultModelState.add_request.new_req_data"),
    ("vllm.v1.worker.gpu.model_states.default", "DefaultModelState.initialize_kv_cache"),
    ("vllm.v1.worker.gpu.model_states.default", "DefaultModelState.prepare_attn.model_specific_attn_metadata"),
    ("vllm.v1.worker.gpu.model_states.default", "DefaultModelState.preprocess_state.input_batch"),
    ("vllm.v1.worker.gpu.model_states.interface", "ModelSpecificAttnMetadata"),
    ("vllm.v1.worker.gpu.model_states.interface", "ModelSpecificAttnMetadata.get_extra_attn_kwargs"),
    ("vllm.v1.worker.gpu.sample.logits_processor.interface", "LogitsContext.expanded_idx_mapping"),
    ("vllm.v1.worker.gpu.sample.logits_processor.interface", "LogitsContext.pos"),
    ("vllm.v1.worker.gpu.sample.logits_processor.interface", "LogitsProcRequestState.prompt_len"),
    ("vllm.v1.worker.gpu.sample.logits_processor.interface", "LogitsProcessor.add_request"),
)
"""What the V2 model runner must have beyond ``NEEDED``."""

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


def device() -> str:
    """CPU or CUDA, as vLLM finds it; another platform's name in capitals."""
    from vllm.platforms import current_platform

    return str(current_platform.device_type).upper()


def check_api(needed: Sequence[tuple[str, str]] = NEEDED) -> None:
    """Check that this vLLM has every interface the plug-in builds on.

    Args:
        needed: (module, dotted name) pairs.

    Raises:
        EngineError: names the missing interface, the version found and the tested ones.
    """
    for module, name in needed:
        if not _exists(module, name):
            raise EngineError(
                f"vLLM {version()} has no {module}.{name}, which SwiftKV needs; install a tested version:"
                f" {' or '.join(releases_tested())}"
            )


def _exists(module: str, name: str) -> bool:
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return False
    for part in name.split("."):
        if hasattr(found, part):
            found = getattr(found, part)
            continue
        if dataclasses.is_dataclass(found):
            return part in {field.name for field in dataclasses.fields(found)}
        return inspect.isfunction(found) and part in inspect.signature(found).parameters
    return True


def warning_of_start(runner: Runner) -> str | None:
    """What to say where this vLLM, runner and device were never tested together and every interface is there."""
    why = untested(version(), runner, device())
    if why is None:
        return None
    return f"{why}; every interface it needs is there, and `swiftkv-bench verify` holds answers beside the weights' own"


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
