"""A random checkpoint whose tokens are as long as a real model's, for benchmarks of prompts from real data sets.

The embedded pair's tokenizer spells words outside its small world in bytes: prompts are four times too long. This
one is a byte-level BPE of 8,192 tokens trained on the data sets themselves (3 to 4 characters a token), under a
Llama of 22 million parameters in which the output head has 16 % of the work.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCABULARY = 8192
HIDDEN, LAYERS, HEADS, KV_HEADS, INTERMEDIATE = 512, 8, 8, 4, 1408
BOS, EOS = "<|begin_of_text|>", "<|eot_id|>"


def write_checkpoint(folder: Path, data_dir: Path, context: int) -> Path:
    """Writes config.json, tokenizer files and random weights; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(_texts(data_dir))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HIDDEN // HEADS, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "max_position_embeddings": context, "rope_theta": 500000.0, "tie_word_embeddings": False,
        "bos_token_id": tokenizer.token_to_id(BOS), "eos_token_id": tokenizer.token_to_id(EOS),
        "torch_dtype": "float32",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    save_file(_weights(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _texts(data_dir: Path) -> Iterator[str]:
    for path in sorted(data_dir.rglob("*.parquet")):
        for row in pq.read_table(path).slice(0, 500).to_pylist():
            yield json.dumps(row, ensure_ascii=False)


def _tokenizer(texts: Iterator[str]) -> Any:
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[BOS, EOS], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    # lm-eval's client has the begin-of-text token put in front by the tokenizer itself.
    begin = (BOS, tokenizer.token_to_id(BOS))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[begin])
    return tokenizer


def _weights() -> dict[str, Any]:
    rng = np.random.default_rng(0)

    def linear(outputs: int, inputs: int) -> Any:
        return (rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)

    head = HIDDEN // HEADS
    weights = {
        "model.embed_tokens.weight": rng.standard_normal((VOCABULARY, HIDDEN)).astype(np.float32),
        "model.norm.weight": np.ones(HIDDEN, np.float32),
        "lm_head.weight": linear(VOCABULARY, HIDDEN),
    }
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        weights |= {
            f"{layer}.self_attn.q_proj.weight": linear(HEADS * head, HIDDEN),
            f"{layer}.self_attn.k_proj.weight": linear(KV_HEADS * head, HIDDEN),
            f"{layer}.self_attn.v_proj.weight": linear(KV_HEADS * head, HIDDEN),
            f"{layer}.self_attn.o_proj.weight": linear(HIDDEN, HEADS * head),
            f"{layer}.mlp.gate_proj.weight": linear(INTERMEDIATE, HIDDEN),
            f"{layer}.mlp.up_proj.weight": linear(INTERMEDIATE, HIDDEN),
            f"{layer}.mlp.down_proj.weight": linear(HIDDEN, INTERMEDIATE),
            f"{layer}.input_layernorm.weight": np.ones(HIDDEN, np.float32),
            f"{layer}.post_attention_layernorm.weight": np.ones(HIDDEN, np.float32),
        }
    return weights
