"""Writes rows of tokens with a model, many at once, all at the same position: a batch has no gaps and no waiting.

Keys and values lie in one buffer of the final length. What a row must say (a prompt, the words between two turns) is
taken from a plan; everything else is drawn from the model. Nothing is read back from the device before the end.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from swiftkv_bench.embedded.architecture import ModelShape
from swiftkv_bench.embedded.model import DecoderLayer, Llama, rotated, rotation


@dataclass(frozen=True)
class Turns:
    """What stands between the turns of a dialogue.

    Attributes:
        end: the token that ends a turn.
        follow: ids that begin the other side's turn after ``end``: after a user's turn, after an assistant's;
            shape (2, ids), padded with -1.
    """

    end: int
    follow: Tensor


@dataclass(frozen=True)
class Plan:
    """What a batch of rows begins with.

    Attributes:
        forced: ids that rows must have, -1 where the model chooses; shape (rows, tokens).
        assistant: whether the turn that is open behind the forced ids is the assistant's; shape (rows,).
        temperature: of each row, shape (rows,).
    """

    forced: Tensor
    assistant: Tensor
    temperature: Tensor


class Sampler:
    """A model and its buffers for batches of one size.

    Args:
        model: weights in the type to compute in.
        rows: of a batch.
        tokens: of a row.
    """

    def __init__(self, model: Llama, rows: int, tokens: int) -> None:
        self._model, self._tokens, self._rows = model, tokens, rows
        shape, weight = model.shape, model.head
        self._shape: ModelShape = shape
        torch.backends.cuda.enable_cudnn_sdp(False)  # would plan anew for every number of keys
        size = (shape.num_hidden_layers, rows, shape.num_key_value_heads, tokens, shape.head_dim)
        self._keys = torch.empty(size, dtype=weight.dtype, device=weight.device)
        self._values = torch.empty_like(self._keys)
        self._cos, self._sin = rotation(shape, tokens, weight.device)
        self._layers = [cast(DecoderLayer, layer) for layer in model.model.layers]
        attentions = [layer.self_attn for layer in self._layers]
        self._projections = [torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]) for a in attentions]
        self._biases = [
            torch.cat([a.q_proj.bias, a.k_proj.bias, a.v_proj.bias]) if shape.qkv_bias else None for a in attentions
        ]

    @torch.no_grad()
    def __call__(self, plan: Plan, turns: Turns | None, generator: torch.Generator) -> Tensor:
        """Rows of ids, shape (rows, tokens); the plan's ``forced`` is filled up and returned."""
        ids, assistant = plan.forced, plan.assistant.clone()
        for position in range(self._tokens - 1):
            if turns is not None:
                self._take_turns(ids, position, assistant, turns)
            logits = self._logits(ids[:, position], position)
            drawn = _drawn(logits, plan.temperature, generator)
            following = ids[:, position + 1]
            following.copy_(torch.where(following < 0, drawn, following))
        return ids

    def _take_turns(self, ids: Tensor, position: int, assistant: Tensor, turns: Turns) -> None:
        """Where a turn has just ended and nothing is planned behind it, plan how the other side begins."""
        if position < 1:
            return
        space = ids[:, position + 1 : position + 1 + turns.follow.shape[1]]
        ended = (ids[:, position] == turns.end) & (ids[:, position + 1] < 0)
        follow = turns.follow[assistant.long()][:, : space.shape[1]]
        space.copy_(torch.where(ended[:, None], follow, space))
        assistant ^= ended

    def _logits(self, ids: Tensor, position: int) -> Tensor:
        model, shape = self._model, self._shape
        hidden: Tensor = model.model.embed_tokens(ids)
        angles = self._cos[position : position + 1], self._sin[position : position + 1]
        groups = shape.num_attention_heads // shape.num_key_value_heads
        for number, layer in enumerate(self._layers):
            projected = functional.linear(
                layer.input_layernorm(hidden), self._projections[number], self._biases[number]
            )
            query, key, value = torch.split(
                projected, [shape.query_size, shape.key_value_size, shape.key_value_size], dim=-1
            )
            heads = query.view(len(ids), shape.num_key_value_heads, groups, shape.head_dim)
            keys = key.view(len(ids), shape.num_key_value_heads, 1, shape.head_dim)
            if shape.head_norms:
                heads, keys = layer.self_attn.q_norm(heads), layer.self_attn.k_norm(keys)
            self._keys[number, :, :, position] = rotated(keys, angles).squeeze(2)
            self._values[number, :, :, position] = value.view(len(ids), shape.num_key_value_heads, shape.head_dim)
            # The heads that share keys stand as queries of one head: all see every position so far.
            attended = functional.scaled_dot_product_attention(
                rotated(heads, angles),
                self._keys[number, :, :, : position + 1],
                self._values[number, :, :, : position + 1],
            )
            hidden = hidden + layer.self_attn.o_proj(attended.reshape(len(ids), -1))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return model.logits(hidden)


def _drawn(logits: Tensor, temperature: Tensor, generator: torch.Generator) -> Tensor:
    """One id a row, by its probability: the largest of probabilities over exponential noise."""
    probabilities = torch.softmax(logits.float() / temperature[:, None], dim=-1)
    noise = torch.empty_like(probabilities).exponential_(generator=generator)
    return probabilities.div_(noise).argmax(-1)
