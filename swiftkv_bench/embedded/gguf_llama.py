"""Reads a Llama from a GGUF file, as llama.cpp writes it: config, and weights with their quantisation undone.

llama.cpp stores the rows of Q and K so that rotated pairs lie side by side; checkpoints have the two halves of a head
one after the other. The tokenizer is left to transformers, which reads it from the same file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swiftkv_bench.errors import InputError

Array = npt.NDArray[np.float32]

#: Names of a layer's tensors, without prefix and ``.weight``.
_LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The ``config.json`` and the weights, by a checkpoint's names, of a Llama in a GGUF file.

    Raises:
        InputError: the file cannot be read, holds another architecture, or the package ``gguf`` is not installed.
    """
    try:
        from gguf import GGUFReader  # type: ignore[import-not-found,unused-ignore]
        from gguf.quants import dequantize  # type: ignore[import-not-found,unused-ignore]
    except ImportError as e:
        raise InputError("--from-gguf needs the package gguf: pip install gguf.") from e
    try:
        reader = GGUFReader(path)
    except (OSError, ValueError) as e:
        raise InputError(f"--from-gguf {path} is no readable GGUF file ({e}): fetch it again.") from e
    fields = {
        name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.ggml.t")
    }
    if fields.get("general.architecture") != "llama":
        raise InputError(f"--from-gguf {path} holds {fields.get('general.architecture')!r}: only 'llama' is supported.")
    tensors = {}
    for tensor in reader.tensors:
        name = _name(tensor.name)
        values = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        for kind, heads in (("q_proj", "head_count"), ("k_proj", "head_count_kv")):
            if name.endswith(f"{kind}.weight"):
                values = _halves(values, int(fields[f"llama.attention.{heads}"]))
        tensors[name] = values
    return _config(fields, "lm_head.weight" in tensors), tensors


def _name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.weight"
    block, number, part = (*stem.split(".", 2), "", "")[:3]
    if block == "blk" and part in _LAYER:
        return f"model.layers.{number}.{_LAYER[part]}.weight"
    raise InputError(f"--from-gguf: tensor {name} is not known of a Llama; use another file.")


def _halves(rows: Array, heads: int) -> Array:
    """Rows of each head from pairs side by side to one half after the other."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _config(fields: Mapping[str, Any], untied: bool) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": int(fields["llama.block_count"]),
        "hidden_size": int(fields["llama.embedding_length"]),
        "intermediate_size": int(fields["llama.feed_forward_length"]),
        "num_attention_heads": int(fields["llama.attention.head_count"]),
        "num_key_value_heads": int(fields["llama.attention.head_count_kv"]),
        "head_dim": int(fields["llama.rope.dimension_count"]),
        "vocab_size": int(fields["llama.vocab_size"]),
        "max_position_embeddings": int(fields["llama.context_length"]),
        "rope_theta": float(fields["llama.rope.freq_base"]),
        # llama.cpp keeps it as float32; the decimal that it was made from has few digits.
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": not untied,
        "torch_dtype": "bfloat16",
        "bos_token_id": int(fields["tokenizer.ggml.bos_token_id"]),
        "eos_token_id": int(fields["tokenizer.ggml.eos_token_id"]),
        "pad_token_id": int(fields["tokenizer.ggml.padding_token_id"]),
    }
