"""A SwiftKV model: two compiled halves, and what happens between them once a step.

::

    token ids ─ first half: layers 0 .. N-1 ─┬─ hidden, residual ─ selected rows ─ second half: layers N .. L-1
                                             └─ norm_swiftkv ─ K, V of all later layers ─ written to the cache

Both halves are ordinary vLLM compiled modules. Cache writes and the choice of rows stand between them in
Python: both depend on the step's metadata, which must not end up in a captured graph.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from swiftkv_bench.swiftkv import compat

# Before the imports below, which in an unknown version would fail without a word on versions.
compat.check_api()

from vllm.compilation.backends import set_model_tag
from vllm.compilation.decorators import support_torch_compile
from vllm.config import CUDAGraphMode, VllmConfig
from vllm.forward_context import get_forward_context
from vllm.logger import init_logger
from vllm.model_executor.layers.attention.attention import unified_kv_cache_update
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.models.llama import LlamaDecoderLayer
from vllm.model_executor.models.utils import maybe_prefix
from vllm.v1.utils import record_function_or_nullcontext as scope

from swiftkv_bench.swiftkv.backend import SelectedRows
from swiftkv_bench.swiftkv.counters import announce_model
from swiftkv_bench.swiftkv.graphs import StaticInputs, graph_mode
from swiftkv_bench.swiftkv.layers import LaterKeyValues, attention_of_owner, ordinary_attention
from swiftkv_bench.swiftkv.limits import key_value_owners
from swiftkv_bench.swiftkv.options import Options
from swiftkv_bench.swiftkv.preflight import check_config, weight_form
from swiftkv_bench.swiftkv.weights import load_checkpoint

__all__ = ["SwiftKVForCausalLM"]

logger = init_logger(__name__)


@support_torch_compile
class FirstHalf(nn.Module):
    """Embedding, ordinary layers, and K/V of all later layers; every token passes."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str, owners: list[int]) -> None:
        super().__init__()
        config, quant_config = vllm_config.model_config.hf_config, vllm_config.quant_config
        layers = config.num_key_value_layers or config.num_hidden_layers
        self.embed_tokens = VocabParallelEmbedding(
            config.vocab_size, config.hidden_size, quant_config=quant_config, prefix=f"{prefix}.embed_tokens"
        )
        self.layers = nn.ModuleList(
            LlamaDecoderLayer(
                vllm_config=vllm_config,
                prefix=f"{prefix}.layers.{index}",
                config=config,
                attn_layer_type=ordinary_attention(config),
            )
            for index in range(layers)
        )
        self.norm_swiftkv = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        form = weight_form(vllm_config)
        self.key_values = LaterKeyValues(config, owners, form, quant_config, prefix) if owners else None

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        inputs_embeds: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns (hidden, residual, K, V) of every token; see ``LaterKeyValues`` for the last two."""
        hidden: torch.Tensor = inputs_embeds if inputs_embeds is not None else self.embed_tokens(input_ids)
        residual: Any = None
        for layer in self.layers:
            hidden, residual = layer(positions, hidden, residual)
        if self.key_values is None:
            return hidden, residual, hidden[:, :0], hidden[:, :0]
        keys, values = self.key_values(positions, self.norm_swiftkv(hidden + residual))
        return hidden, residual, keys, values


@support_torch_compile
class SecondHalf(nn.Module):
    """Later layers and the last norm, for the rows it is given."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str, owners: dict[int, int]) -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        # Keyed by the layer's number in the checkpoint.
        self.layers = nn.ModuleDict(
            {
                str(index): LlamaDecoderLayer(
                    vllm_config=vllm_config,
                    prefix=f"{prefix}.layers.{index}",
                    config=config,
                    attn_layer_type=attention_of_owner(f"{prefix}.layers.{owner}.self_attn.attn"),
                )
                for index, owner in owners.items()
            }
        )
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, positions: torch.Tensor, hidden: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Returns the hidden states that lm_head takes, shape (rows, hidden)."""
        for layer in self.layers.values():
            hidden, residual = layer(positions, hidden, residual)
        hidden, _ = self.norm(hidden, residual)
        return hidden


class SwiftKVModel(nn.Module):
    """Runs both halves of a step."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        options = Options.of(vllm_config)
        self.layer_owners = key_value_owners(
            config.num_hidden_layers, config.num_key_value_layers, config.key_value_group_size
        )
        owners = sorted(set(self.layer_owners.values()))
        with set_model_tag("swiftkv_first_half"):
            self.first_half = FirstHalf(vllm_config=vllm_config, prefix=prefix, owners=owners)
        with set_model_tag("swiftkv_second_half"):
            self.second_half = SecondHalf(vllm_config=vllm_config, prefix=prefix, owners=self.layer_owners)
        attentions: list[Any] = [self.second_half.layers[str(owner)].self_attn.attn for owner in owners]  # type: ignore[union-attr]
        self._cache_writes = [attention.layer_name for attention in attentions]
        self._head_shape = (attentions[0].num_kv_heads, attentions[0].head_size) if attentions else (0, 0)
        self.static = self._static_inputs(vllm_config, options) if owners else None

    @staticmethod
    def _static_inputs(vllm_config: VllmConfig, options: Options) -> StaticInputs | None:
        compilation = vllm_config.compilation_config
        sizes = compilation.cudagraph_capture_sizes
        if not (options.graphs and sizes and compilation.cudagraph_mode != CUDAGraphMode.NONE):
            return None
        config = vllm_config.model_config
        return StaticInputs(max(sizes), config.hf_config.hidden_size, config.dtype)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Hidden states for lm_head, shape (tokens, hidden); rows that were skipped hold NaN."""
        # Scopes are names in a profile; vLLM makes them null contexts unless VLLM_CUSTOM_SCOPES_FOR_PROFILING is set.
        with scope("swiftkv: first half"):
            hidden, residual, keys, values = self.first_half(input_ids, positions, inputs_embeds)
        with scope("swiftkv: cache writes"):
            self._write_cache(keys, values)
        rows = self._rows()
        with scope("swiftkv: second half"):
            if rows is None:
                return self._run_all(positions, hidden, residual)
            return self._run_rows(positions, hidden, residual, rows)

    def _run_rows(
        self, positions: torch.Tensor, hidden: torch.Tensor, residual: torch.Tensor, rows: SelectedRows
    ) -> torch.Tensor:
        output = torch.full_like(hidden, float("nan"))
        if rows.count:
            output.index_copy_(0, rows.indices, self._run_selected(positions, hidden, residual, rows))
        else:
            # vLLM samples from these rows and drops the sample; samplers are written for finite numbers.
            output.index_fill_(0, rows.indices, 0.0)
        return output

    def _write_cache(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write K/V of every token to the cache of every layer that owns one."""
        for layer_name, key, value in zip(
            self._cache_writes, self._by_owner(keys), self._by_owner(values), strict=True
        ):
            unified_kv_cache_update(key, value, layer_name)

    def _by_owner(self, joint: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Views of shape (tokens, heads, head_size), one a layer that owns K/V."""
        if not self._cache_writes:
            return ()
        return joint.view(len(joint), len(self._cache_writes), *self._head_shape).unbind(1)

    def _rows(self) -> SelectedRows | None:
        """The step's selection, decided when its metadata was built; None: every row runs."""
        metadata = get_forward_context().attn_metadata
        if not self._cache_writes or not isinstance(metadata, dict):
            return None  # a run without requests: profiling, warm-up, capture of piecewise graphs
        selected: SelectedRows | None = metadata[self._cache_writes[0]].swiftkv_rows
        return selected

    def _run_all(self, positions: torch.Tensor, hidden: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        context = get_forward_context()
        piecewise = context.cudagraph_runtime_mode == CUDAGraphMode.PIECEWISE
        if piecewise and self.static is not None and self.static.holds(len(hidden)):
            self.static.captured(context.batch_descriptor)
            self.static.load(positions, hidden, residual, None)
            positions, hidden, residual = self.static.view(len(hidden))
        output: torch.Tensor = self.second_half(positions, hidden, residual)
        return output

    def _run_selected(
        self, positions: torch.Tensor, hidden: torch.Tensor, residual: torch.Tensor, rows: SelectedRows
    ) -> torch.Tensor:
        context, indices, static = get_forward_context(), rows.indices, self.static
        descriptor = None if static is None else static.descriptor_for(rows.count)
        output: torch.Tensor
        if static is None or descriptor is None:
            with graph_mode(context, CUDAGraphMode.NONE, context.batch_descriptor):
                output = self.second_half(positions[indices], hidden[indices], residual[indices])
            return output
        static.load(positions, hidden, residual, indices)
        with graph_mode(context, CUDAGraphMode.PIECEWISE, descriptor):
            output = self.second_half(*static.view(descriptor.num_tokens))
        return output[: rows.count]


class SwiftKVForCausalLM(nn.Module):
    """Serves every architecture of ``families.FAMILIES``, of which ``LlamaSwiftKVForCausalLM`` was released."""

    # Read by vLLM's quantisation code to find the checkpoint's modules behind a fused one.
    packed_modules_mapping = {  # noqa: RUF012 - vLLM's interface is a plain class attribute
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
        "kv_proj_swiftkv": ["k_proj_swiftkv", "v_proj_swiftkv"],
    }

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        options = Options.of(vllm_config)
        check_config(vllm_config, options)
        warning = compat.warning_of_start("V2" if vllm_config.use_v2_model_runner else "V1")
        if warning is not None:
            logger.warning(warning)
        config = vllm_config.model_config.hf_config
        self.config = config
        self._has_weights = vllm_config.load_config.load_format == "dummy"
        self.model = SwiftKVModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))
        self.lm_head = ParallelLMHead(
            config.vocab_size,
            config.hidden_size,
            quant_config=vllm_config.quant_config,
            prefix=maybe_prefix(prefix, "lm_head"),
        )
        if config.tie_word_embeddings:
            self.lm_head = self.lm_head.tie_weights(self.model.first_half.embed_tokens)
        self.logits_processor = LogitsProcessor(config.vocab_size, scale=getattr(config, "logit_scale", 1.0))
        key_value_layers = config.num_key_value_layers or config.num_hidden_layers
        announce_model(options.mode, key_value_layers, config.num_hidden_layers, config.key_value_group_size or 1)
        logger.info(
            "SwiftKV mode %s: %d of %d layers have own K/V", options.mode, key_value_layers, config.num_hidden_layers
        )

    def forget_graphs(self) -> None:
        """Capture sizes known so far stand for graphs that are gone."""
        if self.model.static is not None:
            self.model.static.forget()

    @staticmethod
    def get_model_state_cls() -> type:
        """V2 runner: the class of the state that it keeps beside the model."""
        from swiftkv_bench.swiftkv.model_state import SwiftKVModelState

        return SwiftKVModelState

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Token embeddings, shape (tokens, hidden)."""
        embedded: torch.Tensor = self.model.first_half.embed_tokens(input_ids)
        return embedded

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Hidden states for ``compute_logits``, shape (tokens, hidden)."""
        output: torch.Tensor = self.model(input_ids, positions, inputs_embeds)
        return output

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """Logits of the given rows, shape (rows, vocabulary)."""
        logits: torch.Tensor | None = self.logits_processor(self.lm_head, hidden_states)
        return logits

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Load a checkpoint with the released names; returns the parameters filled.

        The first load must be complete. Later ones, and those after ``--load-format dummy``, may bring some of the
        weights: a trainer sends them in parts.
        """
        filled = load_checkpoint(self, weights, complete=not self._has_weights)
        self._has_weights = True
        return filled
