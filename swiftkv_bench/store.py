"""Run folders: where raw records lie, how they are written so that nothing is lost, how they are read.

::

    <run>/manifest.json           replaced atomically
    <run>/trials/<id>.npz         request table of a trial
    <run>/trials/<id>.json        trial record; written last, so its presence means the trial is whole
    <run>/items.jsonl             one accuracy item a line, appended
    <run>/journal/                raw responses while an accuracy run is under way
    <run>/logs/<arm>.log          engine logs
    <run>/checksums.json          of every record, while the run has ended (`integrity`)
    <run>/report/                 rendered; can be made again from the rest
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from swiftkv_bench.errors import InputError, Repair, writing
from swiftkv_bench.schema.accuracy import ItemRecord
from swiftkv_bench.schema.base import SCHEMA_VERSION
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.schema.perf import RequestTable, TrialRecord

_Model = TypeVar("_Model", bound=BaseModel)
GO_ON = Repair("make the folder writable", "nothing that was recorded is lost, and the same command goes on")
"""What to do about a record that cannot be written."""
LOCK = ".lock"
"""File of a run folder that is locked while a process runs it."""
_PART = ".part"
"""How the names of temporary files end; the folder of a run holds no others."""
_MICROSECONDS = 1e6


def data_dir(kind: str) -> Path:
    """Folder of shipped data: `suites/accuracy`, `suites/perf` or `reference`.

    A checkout has them at its top level, an installed wheel inside the package.
    """
    package = Path(__file__).resolve().parent
    shipped = package / "_data" / kind
    if shipped.is_dir():
        return shipped
    return package.parent / (f"results/{kind}" if kind == "reference" else kind)


def cache_dir() -> Path:
    """Folder for what can be made again: `$SWIFTKV_BENCH_CACHE`, else `$XDG_CACHE_HOME/swiftkv-bench`."""
    own = os.environ.get("SWIFTKV_BENCH_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swiftkv-bench"


@dataclass(frozen=True)
class Run:
    """A run folder. Reading is lazy; every write is on disk when the call returns."""

    path: Path

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest as it was when first read through this object.

        Raises:
            InputError: it is missing, unreadable, of a newer version, or not a manifest.
        """
        return _read_manifest(self.path)

    def reopened(self) -> "Run":
        """The run as the disk has it now."""
        return open_run(self.path)

    def write_manifest(self, manifest: Manifest) -> "Run":
        """Replaces the manifest atomically; returns a fresh view of the run."""
        write_atomic(self.path / "manifest.json", manifest_bytes(manifest))
        return Run(self.path)

    def has_trial(self, trial_id: str) -> bool:
        """Whether the trial was completed and is whole."""
        path = self._trial_path(trial_id)
        return path.exists() and _read_model(path, _TrialFile).record.status == "complete"

    def write_trial(self, record: TrialRecord, table: RequestTable) -> None:
        """Writes one finished trial: the table first, then the record that vouches for it."""
        path = self._trial_path(record.trial.trial_id)
        packed = _pack(table)
        write_atomic(path.with_suffix(".npz"), packed)
        digest = hashlib.sha256(packed).hexdigest()
        write_atomic(path, _json_bytes(_TrialFile(record=record, table_sha256=digest)))

    def trials(self) -> Iterator[tuple[TrialRecord, RequestTable]]:
        """All recorded trials in order of the plan.

        Raises:
            InputError: a table is missing or does not have the recorded checksum.
        """
        plan = self.manifest.plan.perf
        for trial in () if plan is None else plan.trials:
            path = self._trial_path(trial.trial_id)
            if path.exists():
                yield self._read_trial(path)

    def trial(self, trial_id: str) -> tuple[TrialRecord, RequestTable] | None:
        """One recorded trial; None when it was not recorded.

        Raises:
            InputError: its table is missing or does not have the recorded checksum.
        """
        path = self._trial_path(trial_id)
        return self._read_trial(path) if path.exists() else None

    def trial_records(self) -> Iterator[TrialRecord]:
        """The records of all trials in order of the plan, without their tables.

        Raises:
            InputError: a record cannot be read.
        """
        plan = self.manifest.plan.perf
        paths = (self._trial_path(trial.trial_id) for trial in (() if plan is None else plan.trials))
        yield from (_read_model(path, _TrialFile).record for path in paths if path.exists())

    def _read_trial(self, path: Path) -> tuple[TrialRecord, RequestTable]:
        file = _read_model(path, _TrialFile)
        table_path = path.with_suffix(".npz")
        try:
            packed = table_path.read_bytes()
        except OSError as e:
            raise InputError(f"cannot read {table_path}: {e.strerror}; {self._measured_again(path)}") from e
        if hashlib.sha256(packed).hexdigest() != file.table_sha256:
            raise InputError(f"{table_path} was truncated or edited (checksum differs); {self._measured_again(path)}")
        return file.record, _unpack(packed)

    def _measured_again(self, record: Path) -> str:
        files = f"{record.name} and {record.with_suffix('.npz').name}"
        return f"restore it, or delete {files} and measure the trial again: the run's command with --out {self.path}"

    @property
    def items_path(self) -> Path:
        """File of accuracy items, one a line."""
        return self.path / "items.jsonl"

    def items(self) -> Iterator[ItemRecord]:
        """All recorded accuracy items in order of answering.

        Raises:
            InputError: a line other than an unfinished last one is no item.
        """
        if not self.items_path.exists():
            return
        with self.items_path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield ItemRecord.model_validate_json(line)
                except ValidationError as e:
                    raise InputError(
                        f"{self.items_path}:{number} is not an item record ({_first(e)}); restore the original"
                    ) from e

    def log_path(self, arm: str) -> Path:
        """Where the engine of an arm logs."""
        return self.path / "logs" / f"{arm}.log"

    def _trial_path(self, trial_id: str) -> Path:
        return self.path / "trials" / f"{trial_id}.json"


class _TrialFile(BaseModel):
    record: TrialRecord
    table_sha256: str


def create_run(path: Path, manifest: Manifest) -> Run:
    """Makes a new run folder.

    Raises:
        InputError: the folder holds something already or cannot be made.
    """
    with writing(path, "choose another folder with --out"):
        make_folder(path)
        check_unused(path)
        replace_file(path / "manifest.json", manifest_bytes(manifest))
    return Run(path)


def manifest_bytes(manifest: Manifest) -> bytes:
    """Content of a manifest's file."""
    return _json_bytes(manifest)


def check_unused(path: Path) -> None:
    """Raises InputError if a folder holds anything but what a start that was killed leaves there."""
    found = sorted(entry.name for entry in path.iterdir() if not _is_leftover(entry)) if path.exists() else []
    if found:
        raise InputError(f"--out {path} is no run folder and holds {found[0]!r}; choose a new folder")


def remove_leftovers(path: Path) -> None:
    """Takes away the temporary files of writes that were killed; nobody else may be writing into the folder."""
    for entry in path.rglob(f".*{_PART}"):
        entry.unlink(missing_ok=True)


def _is_leftover(entry: Path) -> bool:
    return entry.name == LOCK or (entry.name.startswith(".") and entry.name.endswith(_PART))


def open_run(path: Path) -> Run:
    """An existing run folder whose manifest is readable.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    run = Run(path)
    _ = run.manifest
    return run


def write_atomic(path: Path, data: bytes, repair: str | Repair = GO_ON) -> None:
    """Replaces a file so that a reader, or a crash at any moment, sees the old or the new content whole.

    Raises:
        StorageError, InputError: it cannot be written, and what there was is as it was; `repair` ends the message.
    """
    with writing(path, repair):
        replace_file(path, data)


def append_whole(handle: int, path: Path, data: bytes) -> None:
    """Appends to a file opened for it all of `data` or nothing, so that the next line cannot join half a line.

    Raises:
        StorageError, InputError: it cannot be written.
    """
    with writing(path, GO_ON):
        before = os.fstat(handle).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
        except OSError:
            os.ftruncate(handle, before)
            raise


def replace_file(path: Path, data: bytes) -> None:
    """As `write_atomic`, with the system's own errors."""
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(path: Path, *, exist_ok: bool = True) -> None:
    """Makes a folder and those above it; their names are on the device when this returns.

    Raises:
        OSError: it cannot be made, or with `exist_ok` false is there.
    """
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=exist_ok)
    for folder in new:
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Puts the names in a folder on the device: without it a power cut can take back a new or renamed file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def _read_manifest(path: Path) -> Manifest:
    file = path / "manifest.json"
    if not path.is_dir():
        raise InputError(f"there is no run folder {path}; `ls results` lists runs")
    if not file.exists():
        raise InputError(f"{path} is not a run folder: it has no manifest.json")
    try:
        raw: Any = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise InputError(f"cannot read {file}: {e}; restore it from a copy") from e
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{file} has format version {version}, this program reads up to {SCHEMA_VERSION}; upgrade swiftkv-bench"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as e:
        raise InputError(f"{file} is not a manifest ({_first(e)}); restore it from a copy") from e


def _read_model(path: Path, model: type[_Model]) -> _Model:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}; restore the original") from e
    except ValidationError as e:
        raise InputError(f"{path} was truncated or edited ({_first(e)}); restore the original") from e


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    where = ".".join(str(part) for part in detail["loc"])
    return f"{where}: {detail['msg']}" if where else str(detail["msg"])


def _json_bytes(model: BaseModel) -> bytes:
    return (model.model_dump_json(indent=1) + "\n").encode()


def _pack(table: RequestTable) -> bytes:
    # Differences of whole microseconds compress to about two bytes a chunk.
    stamps = np.rint(table.chunk_s * _MICROSECONDS).astype(np.int64)
    arrays = {name: getattr(table, name) for name in _COLUMNS}
    arrays |= {name: found for name in _LATER if (found := getattr(table, name)) is not None}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        chunk_us_diff=np.diff(stamps, prepend=0),
        error_index=np.array(list(table.errors), dtype=np.int64),
        error_text=np.array(list(table.errors.values()), dtype=np.str_),
        **arrays,
    )
    return buffer.getvalue()


def _unpack(packed: bytes) -> RequestTable:
    with np.load(io.BytesIO(packed), allow_pickle=False) as file:
        columns = {name: file[name] for name in (*_COLUMNS, *(name for name in _LATER if name in file))}
        errors = dict(zip(file["error_index"].tolist(), file["error_text"].tolist(), strict=True))
        chunk_s = np.cumsum(file["chunk_us_diff"]) / _MICROSECONDS
    return RequestTable(chunk_s=chunk_s, errors=errors, **columns)


_COLUMNS = (
    "scheduled_s", "sent_s", "end_s", "status", "http_status", "prompt_tokens_asked", "output_tokens_asked",
    "prompt_tokens", "output_tokens", "cached_tokens", "chunk_start", "chunk_tokens",
)  # fmt: skip
_LATER = ("turn", "reasoning_chunks")
"""Columns that records of older versions do not have."""
