"""Moves weights between modules in memory and safetensors files, in bfloat16."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from swiftkv_bench.embedded.tensor_file import RawTensor, read_tensors, write_tensors
from swiftkv_bench.errors import InputError

_TORCH_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def raw_tensor(tensor: Tensor, dtype: str = "BF16") -> RawTensor:
    """A tensor as the bytes of its values in a dtype of the format's spelling."""
    rounded = tensor.detach().to("cpu", _TORCH_DTYPES[dtype]).contiguous()
    return RawTensor(dtype, tuple(rounded.shape), rounded.view(torch.uint8).numpy().tobytes())


def torch_tensor(raw: RawTensor) -> Tensor:
    """A float32 tensor with the values of the bytes.

    Raises:
        InputError: a dtype other than bfloat16, float16 and float32.
    """
    if raw.dtype not in _TORCH_DTYPES:
        raise InputError(f"Weights of type {raw.dtype} cannot be trained: use a BF16, F16 or F32 checkpoint.")
    flat = torch.frombuffer(bytearray(raw.data), dtype=_TORCH_DTYPES[raw.dtype])
    return flat.view(raw.shape).float()


def load_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file as float32."""
    return {name: torch_tensor(raw) for name, raw in read_tensors(path).items()}


def save_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as bfloat16; the file appears whole or not at all."""
    staging = path.with_name(f".{path.name}.part")
    write_tensors(staging, {name: raw_tensor(tensor) for name, tensor in tensors.items()})
    staging.replace(path)


def round_to_bfloat16(module: nn.Module) -> None:
    """Give every parameter the value that a bfloat16 file would keep."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.to(torch.bfloat16).float())
