"""What vLLM's CPU engine lacks of float8, in plain torch.

Its CPU build only names the operator that rounds, lacks the one that an activation shares with it, multiplies blocks on
processors with AMX alone, and takes a processor for an old GPU that needs Marlin to multiply fbgemm's weights. With
these stand-ins everything else (configuration, names, loading, joining of scales, linears) is vLLM's own.
"""

from pathlib import Path
from typing import Any

import torch
from vllm import _custom_ops
from vllm.model_executor.kernels import linear
from vllm.model_executor.kernels.linear.scaled_mm.BlockScaledMMLinearKernel import Fp8BlockScaledMMLinearKernel
from vllm.model_executor.layers.fusion import fused_act_quant
from vllm.model_executor.layers.quantization.fbgemm_fp8 import FBGEMMFp8Config
from vllm.platforms import PlatformEnum

from .checkpoints import FP8_MAX, spread_scale

__all__ = ["complete_float8", "key_value_error"]


class DequantisedBlocks(Fp8BlockScaledMMLinearKernel):  # type: ignore[misc]  # vLLM's classes are untyped
    """Multiplies what blocks of weights and of inputs stand for."""

    @classmethod
    def is_supported(cls, compute_capability: int | None = None) -> tuple[bool, str | None]:
        return True, None

    def apply_block_scaled_mm(self, A: Any, B: Any, As: Any, Bs: Any) -> torch.Tensor:  # noqa: N803 - vLLM's names
        inputs = A.float() * As.repeat_interleave(128, dim=-1)[:, : A.shape[1]]
        result: torch.Tensor = inputs @ (B.float() * spread_scale(Bs, B.shape)).T
        return result


def _rounded(
    values: torch.Tensor, scale: torch.Tensor | None = None, **_more: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """As vLLM's ``scaled_fp8_quant``, with one scale for all values."""
    if scale is None:
        scale = values.float().abs().amax().reshape(1) / FP8_MAX
    return (values.float() / scale).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn), scale


def key_value_error(model: Any, checkpoint: Path) -> float:
    """How far the K/V projections of later layers in a loaded model are from those of ``checkpoint``.

    Returns:
        the largest of all, each the norm of the difference of what float8 weights stand for, relative to the weights'.
    """
    from .reference import Reference

    stored = Reference(checkpoint).weights
    key_values = model.model.first_half.key_values
    # Outputs of a linear: K of each of its owners, then V of each.
    loaded = [
        weights.reshape(2, -1, key_values.kv_size, weights.shape[-1])
        for weights in map(_dequantised, key_values.projections)
    ]
    errors = []
    for half, kind in enumerate("kv"):
        for owner, weight in zip(key_values.owners, torch.cat(loaded, dim=1)[half], strict=True):
            truth = stored[f"model.layers.{owner}.self_attn.{kind}_proj_swiftkv.weight"]
            errors.append(float((weight - truth).norm() / truth.norm()))
    return max(errors)


def _dequantised(projection: Any) -> torch.Tensor:
    """Weights that a linear of vLLM's multiplies with, shape (outputs, inputs)."""
    weight: torch.Tensor = projection.weight.float()
    size = sum(projection.output_sizes)
    scale = getattr(projection, "weight_scale_inv", getattr(projection, "weight_scale", None))
    weight = weight if len(weight) == size else weight.T
    return weight if scale is None else weight * spread_scale(scale, weight.shape)


def complete_float8() -> None:
    """Give vLLM what it lacks, in this process."""
    _custom_ops.scaled_fp8_quant = _rounded
    fused_act_quant._FUSED_ACT_QUANT.clear()
    FBGEMMFp8Config.use_marlin = property(lambda _self: False, lambda _self, _value: None)
    linear._POSSIBLE_FP8_BLOCK_KERNELS[PlatformEnum.CPU].append(DequantisedBlocks)
