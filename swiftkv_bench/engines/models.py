"""Turns the source of a model into what an engine can be started with: a hub id or a local folder."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swiftkv_bench.embedded.checkpoint import DEFAULT_KEY_VALUE_LAYERS, ensure_pair
from swiftkv_bench.embedded.known_pair import ensure_known
from swiftkv_bench.engines import hub
from swiftkv_bench.engines.word_tokenizer import write_word_tokenizer
from swiftkv_bench.errors import InputError, writing
from swiftkv_bench.schema.base import content_hash
from swiftkv_bench.schema.engine import Builtin, ModelSource
from swiftkv_bench.store import replace_file

_BLOCKS, _BLOCK_BYTES = 256, 4096


@dataclass(frozen=True)
class ResolvedModel:
    """A model an engine can be started with."""

    model: str
    """hub id or folder"""
    tokenizer: str
    """hub id or folder"""
    config: dict[str, object] | None
    """config.json; None for a hub id, which is read by the engine"""
    config_hash: str | None
    """identity of a local model: its config and the names, sizes and sampled content of its weight files"""


def resolve(source: ModelSource, cache: Path, where: str) -> ResolvedModel:
    """The model behind a source; writes built-in and config-only models into `cache` on first use.

    Args:
        where: the flag or file:key that named it, for the message.

    Raises:
        InputError: a local folder is not there or is no model, or `cache` cannot be written.
        StorageError: the disk is full.
    """
    if source.builtin is not None or source.config is not None:
        with writing(cache, "name another cache folder with SWIFTKV_BENCH_CACHE"):
            made = (
                _builtin(source.builtin, cache) if source.builtin else _config_only(source.config or {}, cache, where)
            )
        return _local(made, where)
    name = str(source.model)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _local(folder.resolve(), where)
    if not hub.is_id(name):
        raise InputError(f"{where}: there is no model folder {name}; give a folder with config.json or a hub id")
    return ResolvedModel(model=name, tokenizer=name, config=None, config_hash=None)


def vocabulary(tokenizer: str, size: int | None = None) -> tuple[tuple[int, int], ...]:
    """Half-open ranges of ordinary token ids, for random prompts; special tokens are left out.

    Read from the tokenizer's tokenizer.json (local folder or hub).

    Args:
        size: the model's vocabulary size; ids from there on are left out.

    Raises:
        InputError: there is no readable tokenizer.json.
    """
    path = tokenizer_file(tokenizer)
    try:
        content = json.loads(path.read_bytes())
        entries = content["model"]["vocab"]
        ids = set(entries.values()) if isinstance(entries, dict) else set(range(len(entries)))
        ids -= {token["id"] for token in content.get("added_tokens", [])}
    except (AttributeError, OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        raise InputError(f"{path} is not a tokenizer file ({e}); name another with --tokenizer") from e
    kept = np.array(sorted(i for i in ids if size is None or i < size), dtype=np.int64)
    if len(kept) == 0:
        raise InputError(f"{path} has no ordinary tokens; name another tokenizer with --tokenizer")
    breaks = np.flatnonzero(np.diff(kept) > 1)
    lows = kept[np.concatenate(([0], breaks + 1))]
    highs = kept[np.concatenate((breaks, [len(kept) - 1]))] + 1
    return tuple(zip(lows.tolist(), highs.tolist(), strict=True))


def local_tokenizer(name: str) -> bool:
    """Whether a name is a folder with a tokenizer.json, or a hub id whose one was fetched before."""
    return (Path(name).expanduser() / "tokenizer.json").is_file() or hub.cached(name, "tokenizer.json") is not None


def tokenizer_file(tokenizer: str) -> Path:
    """The tokenizer.json of a folder or a hub id.

    Raises:
        InputError: there is none.
    """
    path = Path(tokenizer).expanduser() / "tokenizer.json"
    if path.is_file():
        return path
    if Path(tokenizer).is_dir() or tokenizer.startswith((".", "/", "~")):
        raise InputError(f"there is no {path}; name a folder that holds a tokenizer.json with --tokenizer")
    return hub.fetched(tokenizer, "tokenizer.json")


def _local(folder: Path, where: str) -> ResolvedModel:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as e:
        raise InputError(f"{where}: {folder} has no readable config.json ({e}); give a model folder") from e
    if not isinstance(config, dict):
        raise InputError(f"{where}: {path} holds a {type(config).__name__} and no object; give a model folder")
    try:
        weights = sorted((p.name, p.stat().st_size, _sampled(p)) for p in folder.glob("*.safetensors"))
    except OSError as e:
        raise InputError(f"{where}: cannot read {e.filename}: {e.strerror}; restore the model's weights") from e
    return ResolvedModel(
        model=str(folder), tokenizer=str(folder), config=config, config_hash=content_hash([config, weights])
    )


def _sampled(path: Path) -> str:
    """SHA-256 over blocks spread evenly over a file: tells weights of one shape apart without reading them whole."""
    last = max(0, path.stat().st_size - _BLOCK_BYTES)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for i in range(_BLOCKS):
            file.seek(last * i // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


def _builtin(name: Builtin, cache: Path) -> Path:
    if name.startswith("smollm2"):
        return ensure_known(name, cache)
    layers, distilled = {
        "swiftkv-n2": (2, True),
        "swiftkv-n6": (6, True),
        "swiftkv-undistilled": (DEFAULT_KEY_VALUE_LAYERS, False),
    }.get(name, (DEFAULT_KEY_VALUE_LAYERS, True))
    pair = ensure_pair(cache, layers, distilled=distilled)
    return pair.baseline if name == "baseline" else pair.swiftkv


def _config_only(config: dict[str, object], cache: Path, where: str) -> Path:
    """A folder with config.json and a tokenizer of words, for engines started with dummy weights."""
    name = re.sub(r"[^\w.-]+", "-", where.replace(".yaml", ""))
    folder = cache / f"{name}-{content_hash(config)[:8]}"
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        length = config.get("max_position_embeddings")
        words = config.get("vocab_size")
        if not isinstance(words, int):
            raise InputError(f"{where}: config has no vocab_size; give the whole config.json of the model")
        write_word_tokenizer(folder, words, length if isinstance(length, int) else 131072)
        # Written last: its presence means the folder is whole.
        replace_file(folder / "config.json", json.dumps(config, indent=1, sort_keys=True).encode())
    return folder
