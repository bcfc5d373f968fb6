"""SwiftKV's knowledge-preserving self-distillation: a Llama teaches its own rewired twin.

As published (arXiv 2410.03960, section 3.3): the base stays frozen; the twin's norm and its Q, K and V
projections of the later layers start from the base and learn to give the base's output. The loss is the KL
divergence of the next-token distributions at a temperature, plus the squared error of the last hidden state.
Leaves data to ``batches`` and the loop's bookkeeping to ``schedule``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from swiftkv_bench.embedded.architecture import ModelShape, swiftkv_sources
from swiftkv_bench.embedded.model import Llama

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class DistillationLoss:
    """Weights of the two terms.

    Attributes:
        temperature: both distributions are softened by it; the term is multiplied by its square so that its
            gradient keeps its size (Hinton et al., arXiv 1503.02531).
        hidden_weight: of the mean squared error between the last hidden states, each scaled to unit mean square.
    """

    temperature: float = 2.0
    hidden_weight: float = 1.0


def rewired_weights(weights: Mapping[str, Tensor], shape: ModelShape, num_key_value_layers: int) -> Weights:
    """A base's weights and beside them the SwiftKV parameters, copied from where they start."""
    sources = swiftkv_sources(shape, num_key_value_layers)
    return {**weights, **{name: weights[source].clone() for name, source in sources.items()}}


def rewired(base: Llama, num_key_value_layers: int) -> Llama:
    """The undistilled twin of a model in memory."""
    twin = Llama(base.shape, num_key_value_layers)
    twin.load_state_dict(rewired_weights(base.state_dict(), base.shape, num_key_value_layers))
    return twin.to(base.model.embed_tokens.weight.device)


def freeze_base(twin: Llama) -> list[torch.nn.Parameter]:
    """Leave only the SwiftKV parameters trainable, and return them."""
    trainable = []
    for name, parameter in twin.named_parameters():
        learns = "swiftkv" in name
        parameter.requires_grad_(learns)
        if learns:
            trainable.append(parameter)
    return trainable


def swiftkv_parameters(twin: Llama) -> dict[str, Tensor]:
    """What a twin has and its base has not."""
    return {name: tensor for name, tensor in twin.state_dict().items() if "swiftkv" in name}


def distillation_losses(twin: Llama, ids: Tensor, loss: DistillationLoss) -> Tensor:
    """Loss of each position but the last, shape (rows, tokens - 1), given ids of shape (rows, tokens)."""
    with torch.no_grad():
        shared = twin.early(ids)
        taught = twin.late(shared, swiftkv=False)
        target = functional.log_softmax(twin.logits(taught)[:, :-1].float() / loss.temperature, dim=-1)
    learned = twin.late(shared, swiftkv=True)
    given = functional.log_softmax(twin.logits(learned)[:, :-1].float() / loss.temperature, dim=-1)
    divergence = functional.kl_div(given, target, reduction="none", log_target=True).sum(-1)
    distance = (_unit(learned) - _unit(taught)).square().mean(-1)[:, :-1]
    return loss.temperature**2 * divergence + loss.hidden_weight * distance


def _unit(hidden: Tensor) -> Tensor:
    return functional.rms_norm(hidden.float(), (hidden.shape[-1],))
