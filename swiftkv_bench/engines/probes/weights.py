"""Reads single tensors of a local checkpoint as float32, without loading the rest.

The format is that of ``embedded.tensor_file`` (https://huggingface.co/docs/safetensors/index#format), here mapped
into memory: a large checkpoint never has to fit.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from swiftkv_bench.errors import InputError

Float = npt.NDArray[np.float32]

_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}


@dataclass(frozen=True)
class _Place:
    path: Path
    begin: int
    dtype: str
    shape: tuple[int, ...]


class Weights:
    """All tensors of a folder's ``*.safetensors`` files by name.

    Attributes:
        size_bytes: of all tensors together.
    """

    def __init__(self, folder: Path) -> None:
        self._places: dict[str, _Place] = {}
        self.size_bytes = 0
        for path in sorted(folder.glob("*.safetensors")):
            self._open(path)
        if not self._places:
            raise InputError(f"{folder} has no *.safetensors files; give a whole checkpoint")

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def matrix(self, name: str, rows: slice | npt.NDArray[np.int64] = slice(None)) -> Float:
        """Rows of a weight, shape (rows, ...), float8 with its scale applied.

        Raises:
            InputError: there is no such tensor, or its type is none of F32, F16, BF16 and F8_E4M3.
        """
        place = self._places.get(name)
        if place is None:
            raise InputError(f"the checkpoint has no weight {name}")
        if place.dtype not in _BYTES:
            raise InputError(f"weight {name} has the type {place.dtype}; known are {', '.join(_BYTES)}")
        stored = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F8_E4M3": np.uint8}[place.dtype]
        mapped = np.memmap(place.path, dtype=stored, mode="r", offset=place.begin, shape=place.shape)
        values: Float = _float(np.asarray(mapped[rows]), place.dtype)
        if place.dtype != "F8_E4M3":
            return values
        scale = self.matrix(f"{name}_scale")
        # One scale for each row (output channel), or one for all.
        by_row = scale.size == place.shape[0] > 1
        return np.asarray(values * (scale.reshape(-1, 1)[rows] if by_row else scale.reshape(1, -1)))

    def _open(self, path: Path) -> None:
        with path.open("rb") as file:
            start = file.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            try:
                header = json.loads(file.read(size))
            except ValueError as e:
                raise InputError(f"{path} is no complete safetensors file; fetch it again") from e
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                self._places[name] = _Place(path, 8 + size + begin, entry["dtype"], tuple(entry["shape"]))
                self.size_bytes += end - begin


def _float(stored: npt.NDArray[np.generic], dtype: str) -> Float:
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    if dtype == "F8_E4M3":
        return np.asarray(_FLOAT8[stored.astype(np.intp)])
    return stored.astype(np.float32)


def _float8_values() -> Float:
    """The value of each of the 256 codes of float8 e4m3 (bias 7, no infinities; 0x7F and 0xFF are no numbers)."""
    codes = np.arange(256)
    sign, exponent, mantissa = np.where(codes & 0x80, -1.0, 1.0), (codes >> 3) & 0xF, codes & 0x7
    normal = np.ldexp(1 + mantissa / 8, exponent - 7)
    values = sign * np.where(exponent == 0, np.ldexp(mantissa / 8, -6), normal)
    values[(codes & 0x7F) == 0x7F] = np.nan
    return np.asarray(values, dtype=np.float32)


_FLOAT8 = _float8_values()
