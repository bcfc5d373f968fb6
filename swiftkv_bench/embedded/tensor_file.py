"""Reads and writes safetensors files as raw bytes.

The format is an 8-byte little-endian header length, a JSON header and the tensors' bytes
(https://huggingface.co/docs/safetensors/index#format). Tensors stay bytes because numpy has no bfloat16;
the output depends on names and values only, so equal weights have equal sha256.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftkv_bench.errors import InputError


@dataclass(frozen=True)
class RawTensor:
    """One tensor as it lies in the file: ``dtype`` in the format's spelling, e.g. ``BF16``."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def read_tensors(path: Path) -> dict[str, RawTensor]:
    """All tensors of a safetensors file.

    Raises:
        InputError: the file is shorter than its header says.
    """
    return parse_tensors(path.read_bytes(), str(path))


def parse_tensors(content: bytes, name: str) -> dict[str, RawTensor]:
    """All tensors of a safetensors file's content; ``name`` is the file's, for the message.

    Raises:
        InputError: the content is shorter than its header says.
    """
    header_end = 8 + (struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0)
    if header_end == 8 or header_end > len(content):
        raise InputError(f"{name} is no complete safetensors file ({len(content)} bytes): fetch it again.")
    header = json.loads(content[8:header_end])
    tensors = {}
    for tensor, entry in header.items():
        if tensor == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if header_end + end > len(content):
            raise InputError(f"{name} ends before tensor {tensor}: fetch it again.")
        tensors[tensor] = RawTensor(
            entry["dtype"], tuple(entry["shape"]), content[header_end + begin : header_end + end]
        )
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a safetensors file's header holds beside the tensors.

    Raises:
        InputError: the file ends before its header.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        content = file.read(length) if 0 < length < path.stat().st_size else b""
    if not content:
        raise InputError(f"{path} is no complete safetensors file: fetch it again.")
    metadata: dict[str, str] = json.loads(content).get("__metadata__", {})
    return metadata


def write_tensors(path: Path, tensors: Mapping[str, RawTensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, tensors in order of their names; ``metadata`` are texts for its header."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    offset = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(tensor.data)],
        }
        offset += len(tensor.data)
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # readers map the data; the format asks for 8-byte alignment
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for name in sorted(tensors):
            file.write(tensors[name].data)
