"""A forward pass of Llama's kind, with or without SwiftKV, in numpy, float32: no cache, no skipping, no torch, no vLLM.

The truth that an engine's log-probabilities are held against, written from the definition: the first N layers are
Llama layers; a later layer takes its query from its own input and K and V from the normed output of layer N, by the
projections of the first layer of its group. ``Wrong`` computes what a faulty engine would, so that a fault can be
told by name. Memory: one layer at a time.
"""

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from swiftkv_bench.engines.probes.weights import Float, Weights
from swiftkv_bench.errors import InputError
from swiftkv_bench.swiftkv.families import FAMILIES, family_of, sliding_window

_VOCABULARY_BLOCK = 8192
_SMALL_BYTES = 256 << 20


class Wrong(Enum):
    """Models that a faulty engine would be; the value completes "the engine answers like a model ..."."""

    BASE_PROJECTIONS = "without SwiftKV: later layers project K and V from their own input (a silent baseline)"
    LAYER_BEFORE = "whose later layers read the K/V of the layer before: K/V are written to the wrong layer"
    LAYER_AFTER = "whose later layers read the K/V of the layer after: K/V are written to the wrong layer"
    FIRST_HALF = "of the first layers alone: rows are skipped whose output is needed"


class Forward:
    """Full-depth log-probabilities of a checkpoint.

    Raises:
        InputError: the config is of no family that SwiftKV serves, or asks for something unknown.
    """

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        family = family_of(config)
        if family is None or config.get("hidden_act", "silu") != "silu":
            raise InputError(
                f"model type {config.get('model_type')!r} is none of {', '.join(FAMILIES)} and their twins"
            )
        if sliding_window(config) is not None:
            raise InputError(f"its layers look back to {sliding_window(config)} tokens only")
        self._weights = weights
        self.layers = int(config["num_hidden_layers"])
        self.first = int(config.get("num_key_value_layers") or self.layers)
        self._group = int(config.get("key_value_group_size") or 1)
        self._heads = int(config["num_attention_heads"])
        self._kv_heads = int(config.get("num_key_value_heads") or self._heads)
        self._width = family.head_size(config)
        self._epsilon = float(config["rms_norm_eps"])
        self._tied = bool(config.get("tie_word_embeddings"))
        self._frequencies = _frequencies(config, self._width)

    def logprobs(self, sequences: Sequence[Sequence[int]], wrong: Wrong | None = None) -> list[Float]:
        """Log-softmax at every position of each sequence, shape (tokens, vocabulary): row t predicts token t + 1.

        All sequences pass a layer before the next one is read.
        """
        # Threads that wait for each other in small products take the processors that engines need.
        with threadpool_limits(1 if self._weights.size_bytes < _SMALL_BYTES else None):
            return self._logprobs(sequences, wrong)

    def _logprobs(self, sequences: Sequence[Sequence[int]], wrong: Wrong | None) -> list[Float]:
        states = [self._weights.matrix("model.embed_tokens.weight", np.array(ids)) for ids in sequences]
        shared: list[Float] = []
        for layer in range(self.layers):
            if layer == self.first:
                shared = [self._norm(state, "model.norm_swiftkv") for state in states]
                if wrong is Wrong.FIRST_HALF:
                    break
            states = self._layer(layer, states, shared, wrong)
        normed = [self._norm(state, "model.norm") for state in states]
        return [_log_softmax(self._logits(state)) for state in normed]

    def _layer(self, layer: int, states: list[Float], shared: list[Float], wrong: Wrong | None) -> list[Float]:
        name = f"model.layers.{layer}"
        query, key, value = self._projections(layer, wrong)
        later = layer >= self.first and wrong is not Wrong.BASE_PROJECTIONS
        inputs = [self._norm(state, f"{name}.input_layernorm") for state in states]
        output = self._linear(f"{name}.self_attn.o_proj")
        attended = []
        for own, source in zip(inputs, shared if later else inputs, strict=True):
            mixed = self._attend(self._heads_of(query, own), self._heads_of(key, source), self._heads_of(value, source))
            attended.append(_apply(output, mixed))
        states = [state + change for state, change in zip(states, attended, strict=True)]
        del query, key, value, output
        gate, up, down = (self._linear(f"{name}.mlp.{part}_proj") for part in ("gate", "up", "down"))
        for i, state in enumerate(states):
            normed = self._norm(state, f"{name}.post_attention_layernorm")
            gated = _apply(gate, normed)
            # At inputs below -88 exp() overflows and the quotient is the 0 that it should be.
            with np.errstate(over="ignore"):
                states[i] = state + _apply(down, gated / (1 + np.exp(-gated)) * _apply(up, normed))
        return states

    def _heads_of(self, projection: "_Projection", inputs: Float) -> Float:
        """Heads of one projection, shape (tokens, heads, width), normed where the model norms them."""
        linear, norm = projection
        heads = _apply(linear, inputs).reshape(len(inputs), -1, self._width)
        return heads if norm is None else self._norm(heads, norm)

    def _projections(self, layer: int, wrong: Wrong | None) -> "list[_Projection]":
        own = f"model.layers.{layer}.self_attn"
        if layer < self.first:
            return [self._projection(own, kind, "") for kind in "qkv"]
        if wrong is Wrong.BASE_PROJECTIONS:
            there = f"{own}.q_proj.weight" in self._weights
            return [self._projection(own, kind, "" if there else "_swiftkv") for kind in "qkv"]
        owners = list(range(self.first, self.layers, self._group))
        place = (layer - self.first) // self._group
        place += {Wrong.LAYER_BEFORE: -1, Wrong.LAYER_AFTER: 1}.get(wrong, 0) if wrong is not None else 0
        owner = f"model.layers.{owners[place % len(owners)]}.self_attn"
        return [self._projection(own if kind == "q" else owner, kind, "_swiftkv") for kind in "qkv"]

    def _projection(self, attention: str, kind: str, suffix: str) -> "_Projection":
        norm = f"{attention}.{kind}_norm{suffix}"
        return self._linear(f"{attention}.{kind}_proj{suffix}"), norm if f"{norm}.weight" in self._weights else None

    def _linear(self, name: str) -> "_Linear":
        bias = self._weights.matrix(f"{name}.bias") if f"{name}.bias" in self._weights else None
        return self._weights.matrix(f"{name}.weight"), bias

    def _norm(self, state: Float, name: str) -> Float:
        scale = 1 / np.sqrt(np.square(state).mean(-1, keepdims=True) + self._epsilon)
        return np.asarray(state * scale * self._weights.matrix(f"{name}.weight"), dtype=np.float32)

    def _attend(self, query: Float, key: Float, value: Float) -> Float:
        """Causal attention of heads, shape (tokens, heads * width)."""
        tokens = len(query)
        q = self._rotate(query).transpose(1, 0, 2)
        k = self._rotate(key).transpose(1, 2, 0)
        v = value.transpose(1, 0, 2)
        copies = self._heads // self._kv_heads
        scores = q @ np.repeat(k, copies, axis=0) / np.float32(math.sqrt(self._width))
        scores[:, ~np.tri(tokens, dtype=bool)] = -np.inf
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = scores / scores.sum(-1, keepdims=True) @ np.repeat(v, copies, axis=0)
        return np.asarray(mixed.transpose(1, 0, 2).reshape(tokens, -1), dtype=np.float32)

    def _rotate(self, heads: Float) -> Float:
        angles = np.outer(np.arange(len(heads)), self._frequencies)
        cosine, sine = (np.tile(f(angles), 2)[:, None].astype(np.float32) for f in (np.cos, np.sin))
        low, high = np.split(heads, 2, axis=-1)
        return np.asarray(heads * cosine + np.concatenate([-high, low], axis=-1) * sine)

    def _logits(self, state: Float) -> Float:
        name = "model.embed_tokens.weight" if self._tied else "lm_head.weight"
        blocks: list[Float] = []
        while True:
            begin = _VOCABULARY_BLOCK * len(blocks)
            block = self._weights.matrix(name, slice(begin, begin + _VOCABULARY_BLOCK))
            if not len(block):
                return np.concatenate(blocks, axis=-1)
            blocks.append(state @ block.T)


_Linear = tuple[Float, Float | None]
_Projection = tuple[_Linear, str | None]
"""A linear, and the name of the norm of its heads."""


def _apply(linear: _Linear, inputs: Float) -> Float:
    weight, bias = linear
    product = inputs @ weight.T
    return product if bias is None else product + bias


def _log_softmax(logits: Float) -> Float:
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)), dtype=np.float32)


def _frequencies(config: Mapping[str, Any], width: int) -> npt.NDArray[np.float64]:
    """Radians per token of each pair of values, with the llama3 scaling where the config asks for it.

    Raises:
        InputError: another scaling.
    """
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
    plain = theta ** (-np.arange(0, width, 2) / width)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return np.asarray(plain)
    if kind != "llama3":
        raise InputError(f"RoPE scaling {kind!r} is unknown; known are default and llama3")
    turns = float(rope["original_max_position_embeddings"]) * plain / (2 * math.pi)
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    blend = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return np.asarray(plain * (blend + (1 - blend) / float(rope["factor"])))
