"""The shape of a small Llama or SwiftKV model: its parameters by name and its ``config.json``.

Names and keys are those of the released SwiftKV checkpoints. Leaves the values of the weights to
``checkpoint`` (shipped) and ``train`` (made).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

BEGIN_OF_TEXT = "<|begin_of_text|>"
END_OF_TEXT = "<|end_of_text|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
END_OF_TURN = "<|eot_id|>"

#: In order of their ids, which start at 0.
SPECIAL_TOKENS = (BEGIN_OF_TEXT, END_OF_TEXT, START_HEADER, END_HEADER, END_OF_TURN)
SPECIAL_TOKEN_IDS: Mapping[str, int] = MappingProxyType({t: i for i, t in enumerate(SPECIAL_TOKENS)})


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder of Llama's kind with grouped-query attention.

    Attributes:
        qkv_bias: whether q, k and v have biases (Qwen2).
        head_norms: whether each head's q and k are normed before they are rotated (Qwen3).
    """

    num_hidden_layers: int = 8
    hidden_size: int = 192
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 32
    intermediate_size: int = 320
    vocab_size: int = 1024
    max_position_embeddings: int = 16384
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    rope_scaling: Mapping[str, Any] | None = None
    tie_word_embeddings: bool = True
    qkv_bias: bool = False
    head_norms: bool = False

    @property
    def query_size(self) -> int:
        """Width of all query heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_value_size(self) -> int:
        """Width of all key (or value) heads together."""
        return self.num_key_value_heads * self.head_dim


#: The shape of the shipped pair.
EMBEDDED_SHAPE = ModelShape()


def baseline_parameters(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter of the base model; linear weights are (out, in)."""
    hidden, query, kv, inner = (
        shape.hidden_size,
        shape.query_size,
        shape.key_value_size,
        shape.intermediate_size,
    )
    parameters: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocab_size, hidden),
        "model.norm.weight": (hidden,),
    }
    if not shape.tie_word_embeddings:
        parameters["lm_head.weight"] = (shape.vocab_size, hidden)
    for layer in range(shape.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        parameters |= {
            f"{prefix}.self_attn.q_proj.weight": (query, hidden),
            f"{prefix}.self_attn.k_proj.weight": (kv, hidden),
            f"{prefix}.self_attn.v_proj.weight": (kv, hidden),
            f"{prefix}.self_attn.o_proj.weight": (hidden, query),
            f"{prefix}.mlp.gate_proj.weight": (inner, hidden),
            f"{prefix}.mlp.up_proj.weight": (inner, hidden),
            f"{prefix}.mlp.down_proj.weight": (hidden, inner),
            f"{prefix}.input_layernorm.weight": (hidden,),
            f"{prefix}.post_attention_layernorm.weight": (hidden,),
        }
        if shape.qkv_bias:
            sizes = {"q": query, "k": kv, "v": kv}
            parameters |= {f"{prefix}.self_attn.{kind}_proj.bias": (size,) for kind, size in sizes.items()}
        if shape.head_norms:
            parameters |= {f"{prefix}.self_attn.{kind}_norm.weight": (shape.head_dim,) for kind in "qk"}
    return parameters


def swiftkv_sources(shape: ModelShape, num_key_value_layers: int) -> dict[str, str]:
    """The parameters that SwiftKV adds, each with the baseline parameter it starts from.

    Later layers take K and V from ``norm_swiftkv`` of the output of layer ``num_key_value_layers``, so
    that norm starts as the input norm of the first later layer (SwiftKV, arXiv 2410.03960, section 3).
    """
    parts = [(f"{kind}_proj", "weight") for kind in "qkv"]
    parts += [(f"{kind}_proj", "bias") for kind in "qkv" if shape.qkv_bias]
    parts += [(f"{kind}_norm", "weight") for kind in "qk" if shape.head_norms]
    return {
        "model.norm_swiftkv.weight": f"model.layers.{num_key_value_layers}.input_layernorm.weight",
        **{
            f"model.layers.{layer}.self_attn.{module}_swiftkv.{leaf}": f"model.layers.{layer}.self_attn.{module}.{leaf}"
            for layer in range(num_key_value_layers, shape.num_hidden_layers)
            for module, leaf in parts
        },
    }


def model_config(shape: ModelShape, num_key_value_layers: int | None = None) -> dict[str, Any]:
    """Content of ``config.json``: a Llama, or its SwiftKV twin when ``num_key_value_layers`` is given."""
    sizes = {name: value for name, value in asdict(shape).items() if name not in ("qkv_bias", "head_norms")}
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **sizes,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": SPECIAL_TOKEN_IDS[BEGIN_OF_TEXT],
        "eos_token_id": SPECIAL_TOKEN_IDS[END_OF_TURN],
        "torch_dtype": "bfloat16",
    }
    if num_key_value_layers is not None:
        config |= {
            "architectures": ["LlamaSwiftKVForCausalLM"],
            "model_type": "llama_swiftkv",
            "swiftkv": True,
            "num_key_value_layers": num_key_value_layers,
            "key_value_group_size": 1,
        }
    return config


def generation_config() -> dict[str, Any]:
    """Content of ``generation_config.json``: a turn or a text ends generation."""
    return {
        "bos_token_id": SPECIAL_TOKEN_IDS[BEGIN_OF_TEXT],
        "eos_token_id": [SPECIAL_TOKEN_IDS[END_OF_TURN], SPECIAL_TOKEN_IDS[END_OF_TEXT]],
    }
