"""Twins of several depths beside their one base: the base's weights are held once and its pass serves all of them.

A twin that keeps N layers starts from the base's own hidden state after layer N, which the base's pass leaves behind.
Leaves loss to ``divergence`` and the loop to ``distilling``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from swiftkv_bench.embedded.architecture import ModelShape, swiftkv_sources
from swiftkv_bench.embedded.distill import freeze_base, swiftkv_parameters
from swiftkv_bench.embedded.model import Llama


@dataclass(frozen=True)
class Taught:
    """What the base's pass over a batch leaves: hidden states of shape (rows, tokens, hidden).

    Attributes:
        entries: after layer N, for each depth N.
        last: before the last norm.
    """

    entries: Mapping[int, Tensor]
    last: Tensor


class Depths:
    """A frozen base and a trainable twin for each number of layers that keep their own K and V.

    Frozen weights are held in ``dtype``, trained ones in float32; the latter are cast where they are used.
    """

    def __init__(
        self,
        shape: ModelShape,
        weights: Mapping[str, Tensor],
        depths: Sequence[int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.shape = shape
        held = {name: tensor.to(device, dtype) for name, tensor in weights.items()}
        self.base = _assigned(Llama, shape, None, held).requires_grad_(False)
        self.twins: dict[int, Llama] = {}
        for depth in depths:
            sources = swiftkv_sources(shape, depth)
            added = {name: weights[source].to(device, torch.float32, copy=True) for name, source in sources.items()}
            twin = _assigned(Llama, shape, depth, held | added)
            freeze_base(twin)
            self.twins[depth] = twin

    def compile(self) -> None:
        """Compile the layers: one graph for the base's, one for the twins'; what cannot be compiled runs as it is."""
        torch._dynamo.config.suppress_errors = True
        torch.backends.cuda.enable_cudnn_sdp(False)  # the flash kernel shares keys between heads in both directions
        torch._dynamo.config.recompile_limit = 64  # a graph for each row length; no public name
        for model in (self.base, *self.twins.values()):
            model.compile_layers()

    @property
    def head(self) -> Tensor:
        """The output embedding, shape (vocabulary, hidden)."""
        return self.base.head

    def parameters(self, depth: int) -> list[nn.Parameter]:
        """What of a twin is trained."""
        return [parameter for parameter in self.twins[depth].parameters() if parameter.requires_grad]

    def added(self, depth: int) -> dict[str, Tensor]:
        """What a twin has and its base has not, by the checkpoint's names."""
        return swiftkv_parameters(self.twins[depth])

    def load(self, depth: int, added: Mapping[str, Tensor]) -> None:
        """Go on from these values of what SwiftKV adds; the names and shapes are those of ``added``."""
        own = self.added(depth)
        with torch.no_grad():
            for name, tensor in added.items():
                own[name].copy_(tensor)

    @torch.no_grad()
    def taught(self, ids: Tensor) -> Taught:
        """The base's pass over ids of shape (rows, tokens)."""
        states = self.base.states(ids, self.twins)
        return Taught({depth: states[depth] for depth in self.twins}, states[self.shape.num_hidden_layers])

    def learned(self, depth: int, taught: Taught) -> Tensor:
        """A twin's last hidden state before the last norm, from the base's state at its depth."""
        # Says that it wants a gradient, as the states of all later layers do: one compiled graph serves all of them.
        entry = taught.entries[depth].requires_grad_()
        return self.twins[depth].late(entry, swiftkv=True)

    def step_flops(self, row_tokens: int) -> int:
        """Operations that a training step needs for one token of a row so long, recomputation not counted.

        A product's two operations a weight; the same again for the gradient by its input; and again by the weight
        where it is trained. Attention looks back over half a row on average.
        """
        shape = self.shape
        embedding = shape.vocab_size * shape.hidden_size
        attention = 2 * row_tokens * shape.query_size
        layer = 2 * _layer_weights(shape) + attention
        total = shape.num_hidden_layers * layer + 2 * embedding
        for depth in self.twins:
            trained = sum(parameter.numel() for parameter in self.parameters(depth))
            later = shape.num_hidden_layers - depth
            total += later * (2 * layer + attention) + 2 * trained + 4 * embedding
        return total


def _layer_weights(shape: ModelShape) -> int:
    projections = 2 * shape.query_size + 2 * shape.key_value_size
    return shape.hidden_size * (projections + 3 * shape.intermediate_size)


def _assigned(kind: type[Llama], shape: ModelShape, depth: int | None, weights: Mapping[str, Tensor]) -> Llama:
    with torch.device("meta"):
        model = kind(shape, depth)
    model.load_state_dict(weights, assign=True)  # shares the tensors: no copy
    return model
