"""An independent SwiftKV model in plain torch, float32: no cache, no skipping, no vLLM.

Serves as the truth that engines are compared with. Written from the definition: the first N layers are Llama
layers; a later layer's query comes from its own input, its K and V from norm_swiftkv of layer N's output, by
the projections of the first layer of its group.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from safetensors.torch import load_file

from .checkpoints import spread_scale

__all__ = ["Reference"]


class Reference:
    """Full-depth log-probabilities of a checkpoint, computed on ``device``."""

    def __init__(self, directory: Path, device: str = "cpu") -> None:
        self.config: dict[str, Any] = json.loads((directory / "config.json").read_text())
        stored: dict[str, torch.Tensor] = {}
        for path in sorted(directory.glob("*.safetensors")):
            stored |= load_file(path, device=device)
        self.weights = {name: _dequantised(name, stored) for name in stored if name.endswith(("weight", "bias"))}
        self._width = self.config.get("head_dim") or self.config["hidden_size"] // self.config["num_attention_heads"]
        self.frequencies = _rope_frequencies(self.config, self._width).to(device)

    def logprobs(self, token_ids: list[int]) -> torch.Tensor:
        """Log-softmax at every position, shape (tokens, vocabulary): row t predicts token t + 1."""
        head = "model.embed_tokens" if self.config["tie_word_embeddings"] else "lm_head"
        return self._linear(self.hidden(token_ids), head).log_softmax(-1)

    @torch.no_grad()
    def hidden(self, token_ids: list[int]) -> torch.Tensor:
        """Normed output of the last layer at every position, shape (tokens, hidden)."""
        config = self.config
        first = config.get("num_key_value_layers") or config["num_hidden_layers"]
        group = config.get("key_value_group_size") or 1
        hidden = self.weights["model.embed_tokens.weight"][torch.tensor(token_ids, device=self.frequencies.device)]
        shared = hidden
        for index in range(config["num_hidden_layers"]):
            layer = f"model.layers.{index}"
            normed = self._norm(hidden, f"{layer}.input_layernorm")
            if index == first:
                shared = self._norm(hidden, "model.norm_swiftkv")
            attention = owner = f"{layer}.self_attn"
            source, suffix = normed, ""
            if index >= first:
                owner = f"model.layers.{index - (index - first) % group}.self_attn"
                source, suffix = shared, "_swiftkv"
            query = self._heads(normed, attention, "q", suffix)
            key, value = (self._heads(source, owner, kind, suffix) for kind in "kv")
            hidden = hidden + self._linear(self._attend(query, key, value), f"{layer}.self_attn.o_proj")
            normed = self._norm(hidden, f"{layer}.post_attention_layernorm")
            gate = functional.silu(self._linear(normed, f"{layer}.mlp.gate_proj"))
            hidden = hidden + self._linear(
                gate * self._linear(normed, f"{layer}.mlp.up_proj"), f"{layer}.mlp.down_proj"
            )
        return self._norm(hidden, "model.norm")

    def _heads(self, inputs: torch.Tensor, attention: str, kind: str, suffix: str) -> torch.Tensor:
        """Projection of ``inputs`` by head, shape (tokens, heads, width), normed where the model norms heads."""
        width = self._width
        heads = self._linear(inputs, f"{attention}.{kind}_proj{suffix}").view(len(inputs), -1, width)
        norm = f"{attention}.{kind}_norm{suffix}"
        return self._norm(heads, norm) if f"{norm}.weight" in self.weights else heads

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        heads, kv_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        query, key = self._rotate(query).transpose(0, 1), self._rotate(key).transpose(0, 1)
        copies = heads // kv_heads
        key, value = key.repeat_interleave(copies, 0), value.transpose(0, 1).repeat_interleave(copies, 0)
        attended = functional.scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True)
        return attended[0].transpose(0, 1).flatten(1)

    def _rotate(self, heads: torch.Tensor) -> torch.Tensor:
        angles = torch.outer(torch.arange(len(heads), dtype=torch.float32, device=heads.device), self.frequencies)
        cosine = torch.cat([angles.cos()] * 2, dim=-1)[:, None]
        sine = torch.cat([angles.sin()] * 2, dim=-1)[:, None]
        low, high = heads.chunk(2, dim=-1)
        return heads * cosine + torch.cat([-high, low], dim=-1) * sine

    def _norm(self, hidden: torch.Tensor, name: str) -> torch.Tensor:
        scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"])
        return hidden * scale * self.weights[f"{name}.weight"]

    def _linear(self, inputs: torch.Tensor, name: str) -> torch.Tensor:
        bias = self.weights.get(f"{name}.bias")
        product = inputs @ self.weights[f"{name}.weight"].T
        return product if bias is None else product + bias


def _dequantised(name: str, stored: dict[str, torch.Tensor]) -> torch.Tensor:
    weight = stored[name].float()
    scale = stored.get(f"{name}_scale", stored.get(f"{name}_scale_inv"))
    return weight if scale is None else weight * spread_scale(scale.float(), weight.shape)


def _rope_frequencies(config: dict[str, Any], width: int) -> torch.Tensor:
    """Inverse wavelengths per radian, with the llama3 scaling where the config asks for it."""
    plain: torch.Tensor = config["rope_theta"] ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    scaling = config.get("rope_scaling")
    if scaling is None:
        return plain
    original = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    scaled = []
    for frequency in plain.tolist():
        turns = original * frequency / (2 * math.pi)
        blend = min(max((turns - low) / (high - low), 0.0), 1.0)
        scaled.append(frequency * (blend + (1 - blend) / scaling["factor"]))
    return torch.tensor(scaled)
