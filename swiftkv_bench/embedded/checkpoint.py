"""The embedded pair on disk: baseline and SwiftKV checkpoints in the released format.

Written below a cache folder on first use and reused afterwards. Leaves training to ``train``.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swiftkv_bench.embedded.architecture import (
    EMBEDDED_SHAPE,
    ModelShape,
    baseline_parameters,
    generation_config,
    model_config,
    swiftkv_sources,
)
from swiftkv_bench.embedded.tensor_file import RawTensor, write_tensors
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer

#: The split of the default SwiftKV checkpoint: half of the eight layers compute their own K and V.
DEFAULT_KEY_VALUE_LAYERS = 4


@dataclass(frozen=True)
class EmbeddedPair:
    """Two checkpoint folders that an engine can be started on.

    Attributes:
        baseline: the Llama checkpoint.
        swiftkv: its SwiftKV twin.
        num_key_value_layers: layers of the twin that compute their own K and V.
        num_hidden_layers: layers of both.
    """

    baseline: Path
    swiftkv: Path
    num_key_value_layers: int
    num_hidden_layers: int


def ensure_pair(cache_dir: Path, num_key_value_layers: int = DEFAULT_KEY_VALUE_LAYERS, seed: int = 0) -> EmbeddedPair:
    """The embedded pair below ``cache_dir``, written there when absent.

    Safe against several processes at once: each writes to a folder of its own and renames it, the first wins.
    """
    weights = _random_weights(EMBEDDED_SHAPE, seed)
    identity = hashlib.sha256(f"random-{seed}-{EMBEDDED_SHAPE}".encode()).hexdigest()[:12]
    folder = cache_dir / f"embedded-{identity}"
    baseline = folder / "baseline"
    swiftkv = folder / f"swiftkv-n{num_key_value_layers}"
    sources = swiftkv_sources(EMBEDDED_SHAPE.num_hidden_layers, num_key_value_layers)
    added = {name: weights[source] for name, source in sources.items()}
    _ensure_checkpoint(baseline, EMBEDDED_SHAPE, weights, None)
    _ensure_checkpoint(swiftkv, EMBEDDED_SHAPE, weights | added, num_key_value_layers)
    return EmbeddedPair(baseline, swiftkv, num_key_value_layers, EMBEDDED_SHAPE.num_hidden_layers)


def _ensure_checkpoint(
    folder: Path, shape: ModelShape, weights: Mapping[str, RawTensor], num_key_value_layers: int | None
) -> None:
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        staging.chmod(0o755)  # mkdtemp makes 0700; the engine may run as another user
        _write_json(staging / "config.json", model_config(shape, num_key_value_layers))
        _write_json(staging / "generation_config.json", generation_config())
        write_tokenizer(staging, tokenizer_json([]), shape.max_position_embeddings)
        write_tensors(staging / "model.safetensors", weights)
        try:
            staging.rename(folder)
        except OSError:
            # Another process renamed first: a folder that is not empty cannot be replaced.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _random_weights(shape: ModelShape, seed: int) -> dict[str, RawTensor]:
    rng = np.random.default_rng(seed)
    weights = {}
    for name, size in baseline_parameters(shape).items():
        if len(size) == 1:
            values = np.ones(size, dtype=np.float32)
        else:
            gain = 1.0 if "embed" in name else 1.5
            values = (rng.standard_normal(size) * gain / size[1] ** 0.5).astype(np.float32)
        weights[name] = _bfloat16(values)
    return weights


def _bfloat16(values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> RawTensor:
    """Round to nearest even on the upper 16 bits."""
    bits = values.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return RawTensor("BF16", values.shape, rounded.astype("<u2").tobytes())
