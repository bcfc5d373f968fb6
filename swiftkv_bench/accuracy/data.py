"""Data sets of accuracy tasks: files of the user's own, local copies of Hugging Face repositories, or the hub.

A local copy lies at `<data dir>/<repository>`, e.g. `data/allenai/ai2_arc`. Parquet files are found as the
copy's README.md says (`configs`), else by the hub's usual names, and read without `datasets`' own cache. Everything
else is loaded as lm-eval does: `datasets.load_dataset(dataset_path, dataset_name, **dataset_kwargs)`.
"""

import glob
import hashlib
import os
import socket
import urllib.request
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from swiftkv_bench.accuracy.notices import notice
from swiftkv_bench.errors import InputError

SPLITS = ("train", "validation", "test", "dev")


LOADERS = ("json", "csv", "parquet", "text", "arrow", "pandas", "xml", "hdf5", "webdataset")
"""Words for `dataset_path` that read files of the user's own; lm-eval's documents name the first four."""

_FILE_KEYS = ("data_dir", "data_files")


class MissingDataError(InputError):
    """The data of a task are neither in the data folder nor to be had from the hub."""


@dataclass(frozen=True)
class Wanted:
    """What a task file says of its data.

    Attributes:
        path: `dataset_path`: a repository, a folder or a loader.
        name: `dataset_name`.
        kwargs: `dataset_kwargs`, passed on to the loader.
        folder: of the suite, where files are looked for that are not in the working directory.
    """

    path: str
    name: str | None
    kwargs: dict[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    @property
    def revision(self) -> str | None:
        """The revision that the task pins."""
        revision = self.kwargs.get("revision")
        return None if revision is None else str(revision)


@dataclass(frozen=True)
class Loaded:
    """Splits of a data set, and the user's own files that they were read from, with their SHA-256."""

    splits: Any
    files: dict[str, str] = field(default_factory=dict)


def load_data(wanted: Wanted, data_dir: Path | None) -> Loaded:
    """The data a task names: its own files, a local copy, or the hub's.

    Raises:
        MissingDataError: they are not at hand.
        InputError: the task names files that are not there, or asks for what cannot be passed on.
    """
    kwargs = {key: value for key, value in wanted.kwargs.items() if key != "trust_remote_code"}
    if kwargs.get("streaming"):
        raise InputError("dataset_kwargs: streaming: true gives no documents that can be counted; leave it out")
    if wanted.path in LOADERS:
        return _load_files(wanted, kwargs)
    own = _own_folder(wanted)
    if own is not None:
        return Loaded(_load(str(own), wanted.name, kwargs, own))
    copy = local_copy(wanted.path, data_dir)
    if copy is None:
        return Loaded(load_from_hub(wanted.path, wanted.name, kwargs))
    if wanted.revision is not None:
        text = (
            f"revision {wanted.revision} of {wanted.path} is pinned and a local copy was read; its revision is unknown"
        )
        notice("data-revision", text)
    others = {key: value for key, value in kwargs.items() if key != "revision"}
    if others or not split_files(copy, wanted.name):
        return Loaded(_load(str(copy), wanted.name, others, copy))
    return Loaded(load_local(copy, wanted.name))


def _load_files(wanted: Wanted, kwargs: dict[str, Any]) -> Loaded:
    """Files of the user's own, found in the working directory as lm-eval does, else beside the suite."""
    if not any(kwargs.get(key) for key in _FILE_KEYS):
        raise InputError(
            f"dataset_path: {wanted.path} without dataset_kwargs: data_files reads whatever lies in the working "
            f"directory; name the files"
        )
    found: list[Path] = []
    resolved = dict(kwargs)
    for key in _FILE_KEYS:
        if kwargs.get(key):
            # Names of files are resolved by `datasets` against data_dir, where that is given too.
            base = Path(resolved["data_dir"]) if key == "data_files" and kwargs.get("data_dir") else None
            resolved[key] = _resolved(kwargs[key], f"dataset_kwargs: {key}", wanted.folder, base, found)
    files = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found if path.is_file()}
    return Loaded(_load(wanted.path, wanted.name, resolved, found[0] if found else wanted.folder), files)


def _resolved(value: Any, key: str, folder: Path, base: Path | None, found: list[Path]) -> Any:
    if isinstance(value, dict):
        return {name: _resolved(item, f"{key}: {name}", folder, base, found) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(item, key, folder, base, found) for item in value]
    text = str(value)
    if "://" in text:
        return text
    places = [base] if base is not None else [Path.cwd(), folder]
    matches = {place: sorted(glob.glob(str(place / text), recursive=True)) for place in places}  # noqa: PTH207
    there = {place.resolve(): paths for place, paths in matches.items() if paths}
    if not there:
        raise InputError(f"{key}: {text}: no such file in {' or '.join(str(place.resolve()) for place in places)}")
    if len(there) > 1 and len({_digests(paths) for paths in there.values()}) > 1:
        raise InputError(
            f"{key}: {text} is in the working directory and beside the suite, with other content; name one by its "
            f"whole path"
        )
    place, paths = next(iter(there.items()))
    found += [Path(path).resolve() for path in paths]
    return str(place / text)


def _digests(paths: list[str]) -> tuple[str, ...]:
    return tuple(hashlib.sha256(Path(p).read_bytes()).hexdigest() if Path(p).is_file() else p for p in paths)


def _own_folder(wanted: Wanted) -> Path | None:
    """A folder that `dataset_path` names by a path."""
    if not wanted.path.startswith((".", "/", "~")):
        return None
    given = Path(wanted.path).expanduser()
    for place in (Path.cwd(), wanted.folder):
        if (folder := place / given).exists():
            return folder.resolve()
    raise InputError(f"dataset_path: {wanted.path}: no such folder in {Path.cwd()} or {wanted.folder.resolve()}")


def _load(path: str, name: str | None, kwargs: dict[str, Any], said: Path) -> Any:
    import datasets

    try:
        return datasets.load_dataset(path, name, **kwargs)
    except (OSError, ValueError, TypeError, datasets.exceptions.DatasetsError) as e:
        said_by = " ".join(str(e.__cause__ or e).split())
        raise InputError(f"{said}: cannot be read as a data set: {said_by[:300]}") from e


def local_copy(repository: str, data_dir: Path | None) -> Path | None:
    """Folder of the local copy of a data set repository; None where there is none.

    Raises:
        InputError: the data folder itself is not there.
    """
    if data_dir is None:
        return None
    if not data_dir.is_dir():
        raise InputError(f"--data-dir {data_dir}: no such folder")
    folder = data_dir / repository
    return folder if folder.is_dir() else None


def load_local(folder: Path, config: str | None) -> dict[str, Any]:
    """The splits of a local copy, each a `datasets.Dataset`.

    Raises:
        MissingDataError: the copy has no file of that configuration.
    """
    import datasets
    import pyarrow.parquet as pq
    from datasets.table import InMemoryTable

    files = split_files(folder, config)
    if not files:
        raise MissingDataError(
            f"{folder} holds no parquet file of configuration {config or 'default'}; copy the data set repository whole"
        )
    return {split: datasets.Dataset(InMemoryTable(pq.read_table(paths))) for split, paths in files.items()}


def split_files(folder: Path, config: str | None) -> dict[str, list[str]]:
    """Parquet files of each split of one configuration; empty where there is none."""
    declared = _declared_patterns(folder, config)
    patterns = declared or {
        split: [f"{prefix}{split}[-.]*parquet" for prefix in (f"{config}/" if config else "", "data/", "")]
        for split in SPLITS
    }
    found = {
        split: sorted({path for pattern in globs for path in glob.glob(str(folder / pattern))})  # noqa: PTH207  # `..` in patterns
        for split, globs in patterns.items()
    }
    return {split: [p for p in paths if p.endswith(".parquet")] for split, paths in found.items() if paths}


def _declared_patterns(folder: Path, config: str | None) -> dict[str, list[str]]:
    """File patterns of each split as the `configs` of the copy's README.md give them."""
    readme = folder / "README.md"
    configs = _declared_configs(readme.read_text(encoding="utf-8")) if readme.is_file() else []
    for entry in configs:
        if entry["config_name"] == (config or "default") or (config is None and len(configs) == 1):
            return {
                item["split"]: [item["path"]] if isinstance(item["path"], str) else list(item["path"])
                for item in entry["data_files"]
            }
    return {}


@lru_cache(maxsize=8)  # one README serves the 57 subjects of MMLU
def _declared_configs(readme: str) -> list[dict[str, Any]]:
    parts = readme.split("---\n", 2)
    header: Any = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    configs: list[dict[str, Any]] = header.get("configs", []) if isinstance(header, dict) else []
    return configs


def load_from_hub(repository: str, config: str | None, kwargs: dict[str, Any]) -> Any:
    """A data set from the hub or from the hub's cache on this machine.

    Args:
        kwargs: `dataset_kwargs`: files, folder, revision.

    Raises:
        MissingDataError: it is in neither.
    """
    import datasets
    import huggingface_hub.constants

    reachable = hub_reachable()
    if not reachable:
        # What HF_HUB_OFFLINE=1 sets at import: the cache is used at once instead of after 23 s of retries.
        datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset(repository, config, **kwargs)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as e:
        state = "cannot be loaded from the Hugging Face hub" if reachable else "is not here and there is no network"
        raise MissingDataError(
            f"data set {repository} {state}: {str(e).splitlines()[0]}; "
            f"give a folder that holds a copy of the repository as {repository}/ with --data-dir"
        ) from e


def hub_reachable(timeout_s: float = 3.0) -> bool:
    """Whether a connection to the hub can be opened; taken for granted behind a proxy."""
    if os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"}:
        return False
    if urllib.request.getproxies():
        return True
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    try:
        socket.create_connection((endpoint.hostname or "huggingface.co", port), timeout=timeout_s).close()
    except OSError:
        return False
    return True
