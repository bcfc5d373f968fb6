"""Token rows of one length in a compressed file: what a model wrote, or text that was encoded elsewhere.

An ``.npz`` with the array ``ids``, shape (rows, tokens), in the smallest unsigned type that holds the vocabulary.
"""

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from swiftkv_bench.errors import InputError

SUFFIX = ".npz"


def write_rows(path: Path, ids: npt.NDArray[np.integer]) -> None:
    """Write rows of ids, shape (rows, tokens); the file appears whole or not at all."""
    kind = np.uint16 if ids.size == 0 or int(ids.max()) < 1 << 16 else np.uint32
    staging = path.with_name(f".{path.name}.part")
    with (
        zipfile.ZipFile(staging, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
        archive.open("ids.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array(member, np.ascontiguousarray(ids, dtype=kind))  # type: ignore[no-untyped-call]
    staging.replace(path)


def read_rows(path: Path) -> npt.NDArray[np.int64]:
    """Ids of shape (rows, tokens).

    Raises:
        InputError: the file holds no such array.
    """
    try:
        with np.load(path) as archive:
            ids = archive["ids"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise InputError(f"{path} holds no token rows ({e}): give a file that `model rows` or `sample` wrote.") from e
    if ids.ndim != 2 or ids.shape[1] < 2 or not np.issubdtype(ids.dtype, np.unsignedinteger):
        raise InputError(f"{path} holds {ids.dtype} of shape {ids.shape}, no rows of token ids: write it anew.")
    rows: npt.NDArray[np.int64] = ids.astype(np.int64)
    return rows
