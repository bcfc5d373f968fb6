"""Checksums of a finished run folder: `checksums.json`, written when a run ends and taken away when it goes on.

They are there before the manifest says that the run has ended, and say nothing while it says that the run goes on: so
a run that is killed at any moment has ended with its checksums, or has not ended.

Guards against truncated copies and edited records, not against an adversary. Comparisons check it, and a run before it
goes on; reports do not, so that a damaged run can still be looked at.
"""

import hashlib
import json
from pathlib import Path

from pydantic import Field, ValidationError

from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.base import SCHEMA_VERSION, Record
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.store import manifest_bytes, write_atomic

NAME = "checksums.json"
_RECORDS = ("manifest.json", "columns.json", "items.jsonl", "trials/*.json", "trials/*.npz")


class Checksums(Record):
    """SHA-256 of every record of a run folder."""

    schema_version: int = Field(SCHEMA_VERSION, description="version of the run folder's format")
    files: dict[str, str] = Field(description="file, relative to the run folder -> SHA-256, hex")


def seal(folder: Path, manifest: Manifest | None = None) -> None:
    """Writes the checksums of all records, as they are once the folder has this manifest; None takes what is there."""
    files = _checksums(folder)
    if manifest is not None:
        files["manifest.json"] = hashlib.sha256(manifest_bytes(manifest)).hexdigest()
    found = Checksums(files=files)
    write_atomic(folder / NAME, (json.dumps(found.model_dump(mode="json"), indent=1) + "\n").encode())


def unseal(folder: Path) -> None:
    """Takes the checksums away before records change."""
    (folder / NAME).unlink(missing_ok=True)


def verify(folder: Path, *, going_on: bool = False) -> bool:
    """Whether the folder has checksums; when it has, they hold.

    Args:
        going_on: the run is about to go on, which measures again what is missing; all else would be sealed anew.

    Raises:
        InputError: a record is missing, was added, or has another checksum; the message names it.
    """
    recorded = _recorded(folder)
    if recorded is None:
        return False
    found = _checksums(folder)
    for name in sorted(recorded.keys() | found.keys()):
        if name not in found and going_on:
            continue
        if name not in found:
            raise InputError(f"{folder / name} is missing; restore the original run folder")
        if name not in recorded:
            raise InputError(f"{folder / name} was added after the run ended; restore the original run folder")
        if recorded[name] != found[name]:
            raise InputError(
                f"{folder / name} was truncated or edited (checksum differs); restore the original run folder"
            )
    return True


def missing(folder: Path) -> list[str]:
    """Records that the folder had when its run ended and has no longer.

    Raises:
        InputError: its checksums cannot be read.
    """
    return [name for name in _recorded(folder) or {} if not (folder / name).exists()]


def _recorded(folder: Path) -> dict[str, str] | None:
    path = folder / NAME
    if not path.exists() or _goes_on(folder):
        return None
    try:
        return Checksums.model_validate_json(path.read_bytes()).files
    except (OSError, ValidationError) as e:
        raise InputError(f"{path} is not a list of checksums; restore the original run folder") from e


def _goes_on(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "manifest.json").read_bytes())["status"] == "running")
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for pattern in _RECORDS for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
