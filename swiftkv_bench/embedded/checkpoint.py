"""The embedded pair on disk: baseline and SwiftKV checkpoints in the released format.

Put together from the shipped weights below a cache folder on first use, and reused afterwards. Leaves training to
``train`` and the shipped files to ``shipped``.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE, generation_config, model_config
from swiftkv_bench.embedded.shipped import SHIPPED_FOLDER, ShippedWeights
from swiftkv_bench.embedded.tensor_file import RawTensor, write_tensors
from swiftkv_bench.embedded.tokenizer import write_tokenizer

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


def ensure_pair(
    cache_dir: Path,
    num_key_value_layers: int = DEFAULT_KEY_VALUE_LAYERS,
    *,
    distilled: bool = True,
    shipped: Path = SHIPPED_FOLDER,
) -> EmbeddedPair:
    """The embedded pair below ``cache_dir``, written there when absent.

    Safe against several processes at once: each writes to a folder of its own and renames it, the first wins.

    Args:
        num_key_value_layers: one of the shipped splits.
        distilled: False gives the twin as it is right after rewiring, before its distillation.
        shipped: the folder of the shipped weights.

    Raises:
        InputError: no twin with that split is shipped, or a shipped file is not the one that was trained.
    """
    weights = ShippedWeights(shipped)
    folder = cache_dir / f"embedded-{weights.identity}"
    baseline = folder / "baseline"
    if not baseline.is_dir():
        _write_checkpoint(baseline, weights, weights.baseline(), None)
    swiftkv = folder / f"swiftkv-n{num_key_value_layers}{'' if distilled else '-undistilled'}"
    if not swiftkv.is_dir():
        _write_checkpoint(swiftkv, weights, weights.twin(num_key_value_layers, distilled), num_key_value_layers)
    return EmbeddedPair(baseline, swiftkv, num_key_value_layers, EMBEDDED_SHAPE.num_hidden_layers)


def _write_checkpoint(
    folder: Path, shipped: ShippedWeights, weights: Mapping[str, RawTensor], num_key_value_layers: int | None
) -> None:
    write_checkpoint(
        folder,
        config=model_config(EMBEDDED_SHAPE, num_key_value_layers),
        weights=weights,
        tokenizer=shipped.tokenizer(),
        max_position_embeddings=EMBEDDED_SHAPE.max_position_embeddings,
    )


def write_checkpoint(
    folder: Path,
    *,
    config: Mapping[str, Any],
    weights: Mapping[str, RawTensor],
    tokenizer: dict[str, Any],
    max_position_embeddings: int,
) -> None:
    """Write a checkpoint folder, whole or not at all; one that another process wrote meanwhile is kept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        staging.chmod(0o755)  # mkdtemp makes 0700; the engine may run as another user
        _write_json(staging / "config.json", config)
        _write_json(staging / "generation_config.json", generation_config())
        write_tokenizer(staging, tokenizer, max_position_embeddings)
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
