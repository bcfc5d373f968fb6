"""Models without weights for GPU benchmarks: 8B dimensions, or tiny ones for a rehearsal on a CPU."""

import json
from pathlib import Path
from typing import Any

__all__ = ["write_model"]

LLAMA_8B: dict[str, Any] = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256,
}  # fmt: skip
TINY: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 512,
}  # fmt: skip


def write_model(folder: Path, arm: str, *, gpu: bool, group_size: int = 1) -> Path:
    """Make ``folder`` a model to load with ``--load-format dummy``; returns it.

    Args:
        arm: ``baseline``, or a mode of SwiftKV.
        gpu: Llama-3.1-8B's dimensions; false for tiny ones.
        group_size: later layers that share one K/V.
    """
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(_config(arm, group_size, LLAMA_8B if gpu else TINY)))
    return folder


def _config(arm: str, group_size: int, size: dict[str, Any]) -> dict[str, Any]:
    """``config.json`` of a Llama, or of a SwiftKV model whose second half of layers takes K and V from the first."""
    config = size | {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "bfloat16",
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False,
        "attention_bias": False, "mlp_bias": False, "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    if arm == "baseline":
        return config
    return config | {
        "architectures": ["LlamaSwiftKVForCausalLM"], "model_type": "llama_swiftkv",
        "num_key_value_layers": size["num_hidden_layers"] // 2, "key_value_group_size": group_size,
    }  # fmt: skip
