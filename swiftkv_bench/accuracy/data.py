"""Data sets of accuracy tasks: from local copies of Hugging Face repositories, or from the hub.

A local copy lies at `<data dir>/<repository>`, e.g. `data/allenai/ai2_arc`. Parquet files are found as the
copy's README.md says (`configs`), else by the hub's usual names, and read without `datasets`' own cache.
"""

import glob
import os
import socket
import urllib.request
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from swiftkv_bench.errors import InputError

SPLITS = ("train", "validation", "test", "dev")


class MissingDataError(InputError):
    """The data of a task are neither in the data folder nor to be had from the hub."""


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


def load_from_hub(repository: str, config: str | None) -> Any:
    """A data set from the hub or from the hub's cache on this machine.

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
        return datasets.load_dataset(repository, config)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as e:
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
