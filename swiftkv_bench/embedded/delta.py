"""A SwiftKV twin as a small file: what distillation changed, as the difference from the base, in few bits.

The file is safetensors. A projection's difference from the base's is cut into groups along its rows; a group has one
float16 scale and a code of ``bits`` bits a weight; small codes lie two in a byte, and both are deflated, which saves
about a fifth. Norms and biases are stored whole, in bfloat16. The metadata name
the base by the sha256 of its weights, and the added weights that come out by theirs. Arithmetic is float32 on whole
numbers and one product, so every machine gets the same bytes.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from swiftkv_bench.embedded.architecture import swiftkv_sources
from swiftkv_bench.embedded.llama_folder import ADDED_FILE, LlamaFolder
from swiftkv_bench.embedded.tensor_file import RawTensor, read_metadata, read_tensors, write_tensors
from swiftkv_bench.embedded.weights_io import load_weights, raw_tensor, torch_tensor
from swiftkv_bench.errors import InputError, writing

Floats = npt.NDArray[np.float32]

_FORMAT = "swiftkv-delta-1"
#: Shares of a group's largest value that are tried as the largest code: few large ones may be cut off.
_CUTS = tuple(share / 16 for share in range(8, 17))


@dataclass(frozen=True)
class DeltaInfo:
    """What a delta says of itself.

    Attributes:
        num_hidden_layers: of the base.
        num_key_value_layers: that keep computing their own K and V.
        bits: of a code.
        group: weights that share a scale.
        base: name of the base.
        base_sha256: of its weight files, by name.
        added_sha256: of names and bytes of what SwiftKV adds, as ``apply_delta`` writes it.
        chat_template: whether the base has one.
        licence: of the delta.
        training: the training's record.
    """

    num_hidden_layers: int
    num_key_value_layers: int
    bits: int
    group: int
    base: str
    base_sha256: dict[str, str]
    added_sha256: str
    chat_template: bool
    licence: str
    training: dict[str, Any]


def write_delta(base: Path, twin: Path, out: Path, bits: int, group: int, training: Mapping[str, Any]) -> DeltaInfo:
    """Write the delta of ``twin`` against ``base``.

    Raises:
        InputError: they do not belong together, or the bits or groups do not fit.
    """
    source = LlamaFolder(base)
    if not 2 <= bits <= 8:
        raise InputError(f"--bits {bits} does not fit: give 2 to 8.")
    if source.shape.hidden_size % group or group % 2:
        raise InputError(f"--group {group} is odd or does not divide the {source.shape.hidden_size} weights of a row.")
    depth = _depth(twin)
    sources = swiftkv_sources(source.shape, depth)
    added, weights = load_weights(twin / ADDED_FILE), source.weights()
    if added.keys() != sources.keys() or any(added[name].shape != weights[sources[name]].shape for name in added):
        raise InputError(f"{twin} is no twin of {base} with {depth} key/value layers: give the base it was made of.")
    tensors = {name: raw_tensor(value) for name, value in added.items() if value.dim() == 1}
    for name in sorted(added.keys() - tensors.keys()):
        codes, scales = quantised((added[name] - weights[sources[name]]).numpy(), bits, group)
        tensors[f"{name}.codes"] = _deflated(codes.tobytes())
        tensors[f"{name}.scales"] = _deflated(scales.tobytes())
    joined = _joined(source, tensors, depth, bits, group)
    info = DeltaInfo(
        source.shape.num_hidden_layers, depth, bits, group, _name(base), weights_sha256(source),
        _sha256_of_added(joined), _has_template(base), "Apache-2.0", dict(training),
    )  # fmt: skip
    with writing(out, "choose another file with --out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(out, tensors, {"delta": json.dumps({"format": _FORMAT, **asdict(info)}, sort_keys=True)})
    return info


def apply_delta(base: Path, delta: Path, out: Path) -> DeltaInfo:
    """Write the twin's checkpoint folder.

    Raises:
        InputError: the delta is damaged or was made for another base, or ``out`` is in use.
    """
    info, source = read_info(delta), LlamaFolder(base)
    _check_base(info, source, delta)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"--out {out} is not empty: give another folder.")
    try:
        joined = _joined(source, read_tensors(delta), info.num_key_value_layers, info.bits, info.group)
    except (KeyError, ValueError, zlib.error) as e:
        raise InputError(f"{delta} is damaged ({e}): fetch it again.") from e
    found = _sha256_of_added(joined)
    if found != info.added_sha256:
        raise InputError(f"{delta} gives weights of sha256 {found[:12]}..., not the recorded ones: fetch it again.")
    with writing(out, "choose another folder with --out"):
        source.write_twin(out, info.num_key_value_layers, {name: torch_tensor(raw) for name, raw in joined.items()})
    return info


def read_info(delta: Path) -> DeltaInfo:
    """What a delta says of itself.

    Raises:
        InputError: it cannot be read or is no delta.
    """
    try:
        content = json.loads(read_metadata(delta)["delta"])
        if content.pop("format") != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT}")
        return DeltaInfo(**content)
    except (OSError, KeyError, TypeError, ValueError) as e:
        raise InputError(f"{delta} is no delta of a SwiftKV twin ({e}): give a file that `model delta` wrote.") from e


def weights_sha256(source: LlamaFolder) -> dict[str, str]:
    """Of each weight file of a checkpoint, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in source.files}


def _check_base(info: DeltaInfo, source: LlamaFolder, delta: Path) -> None:
    layers = source.shape.num_hidden_layers
    if layers != info.num_hidden_layers:
        raise InputError(
            f"{delta} is for a model of {info.num_hidden_layers} layers, {source.folder} has {layers}: "
            f"give the base that it was made for ({info.base})."
        )
    found = weights_sha256(source)
    if found != info.base_sha256:
        known = ", ".join(f"{name} {value[:12]}..." for name, value in info.base_sha256.items())
        has = ", ".join(f"{name} {value[:12]}..." for name, value in found.items())
        raise InputError(
            f"{delta} was made for other weights (sha256 {known}) than those of {source.folder} ({has}): "
            f"give the base that it was made for ({info.base}), or distil your own twin with `distill`."
        )
    if info.chat_template and not _has_template(source.folder):
        raise InputError(
            f"{source.folder} has no chat template, its twin was made with one: fetch the whole model again."
        )


def _has_template(folder: Path) -> bool:
    """Whether a checkpoint says how a conversation is written."""
    config = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").is_file() or (
        config.is_file() and bool(json.loads(config.read_bytes()).get("chat_template"))
    )


def quantised(difference: Floats, bits: int, group: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Packed codes of shape (bytes,) and scales of shape (groups,); the scale of least squared error of a few."""
    largest = 2 ** (bits - 1) - 1
    values = np.ascontiguousarray(difference, dtype=np.float32).reshape(-1, group)
    peak = np.abs(values).max(axis=1, keepdims=True)
    best_scale, best_error = np.zeros_like(peak), np.full_like(peak, np.inf)
    for cut in _CUTS:
        scale = (peak * np.float32(cut / largest)).astype(np.float16).astype(np.float32)
        error = np.square(values - scale * _codes(values, scale, largest)).sum(axis=1, keepdims=True)
        better = error < best_error
        best_scale, best_error = np.where(better, scale, best_scale), np.where(better, error, best_error)
    codes = (_codes(values, best_scale, largest) + largest).astype(np.uint8).reshape(-1)
    packed = codes if bits > 4 else codes[::2] << 4 | codes[1::2]
    return packed, best_scale.astype(np.float16).reshape(-1)


def restored(packed: npt.NDArray[np.uint8], scales: npt.NDArray[np.float16], bits: int, group: int) -> Floats:
    """The difference, shape (weights,)."""
    whole = packed if bits > 4 else np.stack([packed >> 4, packed & 15], axis=1)
    codes = whole.reshape(scales.size, group).astype(np.float32) - np.float32(2 ** (bits - 1) - 1)
    values: Floats = (codes * scales.astype(np.float32)[:, None]).reshape(-1)
    return values


def _codes(values: Floats, scale: Floats, largest: int) -> Floats:
    steps = np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)
    codes: Floats = np.clip(np.rint(steps), -largest, largest).astype(np.float32)
    return codes


def _joined(
    source: LlamaFolder, tensors: Mapping[str, RawTensor], depth: int, bits: int, group: int
) -> dict[str, RawTensor]:
    """What SwiftKV adds, in the base's type, from the base's weights and a delta's tensors."""
    weights, dtype, joined = source.weights(), source.dtype, {}
    for name, origin in swiftkv_sources(source.shape, depth).items():
        if name in tensors:
            value = torch_tensor(tensors[name])
        else:
            packed = np.frombuffer(zlib.decompress(tensors[f"{name}.codes"].data), np.uint8)
            scales = np.frombuffer(zlib.decompress(tensors[f"{name}.scales"].data), np.float16)
            difference = torch.from_numpy(restored(packed, scales, bits, group))
            value = weights[origin] + difference.view(weights[origin].shape)
        joined[name] = raw_tensor(value, dtype)
    return joined


def _deflated(content: bytes) -> RawTensor:
    packed = zlib.compress(content, 9)
    return RawTensor("U8", (len(packed),), packed)


def _sha256_of_added(joined: Mapping[str, RawTensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(joined):
        total.update(name.encode() + joined[name].data)
    return total.hexdigest()


def _depth(twin: Path) -> int:
    config = LlamaFolder.read_config(twin)
    depth = config.get("num_key_value_layers")
    if not isinstance(depth, int) or not (twin / ADDED_FILE).is_file():
        raise InputError(f"{twin} is no twin that `distill` wrote: give its folder.")
    return depth


def _name(base: Path) -> str:
    """The base as its ``source.json`` names it, else the folder's name."""
    try:
        note = json.loads((base / "source.json").read_text(encoding="utf-8"))
        return f"{note['model']} from {note.get('file') or note.get('repository')}"
    except (OSError, ValueError, KeyError):
        return base.name
