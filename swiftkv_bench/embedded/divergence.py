"""How far twins' next-token distributions are from their base's, without ever holding them for all positions.

The vocabulary is wide: the logits of a training step would be larger than all else together. Positions are taken in
chunks; a chunk's base logits are made once, compared with every twin's, and forgotten. Where a gradient is wanted it
is computed in the same pass, so nothing is made twice and nothing of the vocabulary's width is kept.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

#: Positions whose logits exist at one time.
CHUNK_POSITIONS = 8192

#: (taught, learned, head, temperature) to (losses, gradient): see `_chunk`.
ChunkLoss = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]


def _chunk(taught: Tensor, learned: Tensor, head: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Losses, shape (twins, positions), and their gradient by ``learned``, shape (twins, positions, hidden).

    ``T^2 KL(p || q)`` of the softened distributions; its gradient by the logits is ``T (q - p)``.
    """
    target = torch.log_softmax((taught @ head.T).float() / temperature, dim=-1)
    probability = target.exp()
    losses, gradients = [], []
    for state in learned.unbind():
        given = torch.log_softmax((state @ head.T).float() / temperature, dim=-1)
        losses.append(temperature**2 * (probability * (target - given)).sum(-1))
        gradients.append((temperature * (given.exp() - probability)).to(head.dtype) @ head)
    return torch.stack(losses), torch.stack(gradients)


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, learned: Tensor, taught: Tensor, head: Tensor, temperature: float, chunk_loss: ChunkLoss
    ) -> Tensor:
        losses, gradients = [], []
        for begin in range(0, taught.shape[0], CHUNK_POSITIONS):
            part = slice(begin, begin + CHUNK_POSITIONS)
            loss, gradient = chunk_loss(taught[part], learned[:, part], head, temperature)
            losses.append(loss)
            gradients.append(gradient)
        ctx.save_for_backward(torch.cat(gradients, dim=1))
        return torch.cat(losses, dim=1)

    @staticmethod
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * wanted.unsqueeze(-1).to(gradient.dtype), None, None, None, None


def divergences(
    learned: Tensor, taught: Tensor, head: Tensor, temperature: float, chunk_loss: ChunkLoss = _chunk
) -> Tensor:
    """``T^2 KL(base || twin)``, nat, of each twin and position, shape (twins, positions).

    Args:
        learned: normed last hidden states of the twins, shape (twins, positions, hidden); gets the gradient.
        taught: the base's, shape (positions, hidden).
        head: the output embedding, shape (vocabulary, hidden).
        temperature: both distributions are softened by it.
        chunk_loss: the inner function, compiled or not.
    """
    return cast(Tensor, _Divergence.apply(learned, taught, head, temperature, chunk_loss))  # type: ignore[no-untyped-call]


def compiled_chunk_loss() -> ChunkLoss:
    """The inner function as one compiled graph; worth its start on a GPU."""
    return cast(ChunkLoss, torch.compile(_chunk, dynamic=False))


@torch.no_grad()
def nearness(learned: Tensor, taught: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the most probable token is the same, and ``KL(base || twin)`` in nat; both of shape (positions,)."""
    same, divergence = [], []
    for begin in range(0, taught.shape[0], CHUNK_POSITIONS):
        part = slice(begin, begin + CHUNK_POSITIONS)
        base, twin = (taught[part] @ head.T).float(), (learned[part] @ head.T).float()
        same.append(base.argmax(-1) == twin.argmax(-1))
        target, given = base.log_softmax(-1), twin.log_softmax(-1)
        divergence.append((target.exp() * (target - given)).sum(-1))
    return torch.cat(same), torch.cat(divergence)
