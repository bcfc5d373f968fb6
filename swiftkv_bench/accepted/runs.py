"""Accepted runs: what later runs are held against, small enough to commit.

::

    results/baselines/<name>/<run id>/accepted.json    where it comes from, its figures, checksums
    results/baselines/<name>/<run id>/items.parquet    one row an item: fingerprints, score and flags of every arm
    results/baselines/<name>/<run id>/trials.parquet   one row a trial: figures, validity

Nothing is ever overwritten: accepting again under a name adds a folder, and the name stands for the newest.

Format history:
    swiftkv-bench/accepted/1  first format.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from swiftkv_bench.accepted import tables
from swiftkv_bench.advice import next_step
from swiftkv_bench.errors import IncomparableError, InputError, writing
from swiftkv_bench.evidence.run import Evidence, read_run, side_of
from swiftkv_bench.judge.columns import figure_of
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.metrics import DEFINITIONS
from swiftkv_bench.notation import parse_objective
from swiftkv_bench.schema.accuracy import ColumnStatus
from swiftkv_bench.schema.base import Record, content_hash
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.store import open_run, write_atomic

DEFINITIONS_HASH = content_hash(dict(DEFINITIONS))
_SAME_FORMULAS = frozenset({DEFINITIONS_HASH, "90d7551536b5c4c7"})
"""Definitions whose figures mean what today's mean: fewer of them, or other words."""
FORMAT: Literal["swiftkv-bench/accepted/1"] = "swiftkv-bench/accepted/1"
_PREFIX = "swiftkv-bench/accepted/"
_FILE = "accepted.json"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_ELSEWHERE = "choose another --accepted folder"
_RESTORE = "restore it from version control"


class Accepted(Record):
    """An accepted run: everything but its items and trials."""

    format: Literal["swiftkv-bench/accepted/1"] = Field(FORMAT, description="version of this folder's format")
    name: str = Field(description="what it was accepted as")
    accepted_utc: str = Field(description="when, ISO 8601")
    note: str | None = Field(None, description="why, as given")
    slo: str | None = Field(None, description="latency targets that goodput was counted against")
    definitions: str = Field(description="hash of the metric definitions its figures were computed with")
    manifest: Manifest = Field(description="of the run, whole")
    statuses: tuple[ColumnStatus, ...] = Field((), description="how far each accuracy column got")
    scores: dict[str, dict[str, float]] = Field({}, description="column -> arm -> mean score, for reading")
    files: dict[str, str] = Field(description="file beside this one -> SHA-256")


class _File(Record):
    accepted: Accepted
    checksum: str


@dataclass(frozen=True)
class Entry:
    """An accepted run in the list."""

    folder: Path
    accepted: Accepted


def accept(path: Path, name: str, root: Path, policy: Policy, *, now_utc: str, note: str | None = None) -> Entry:
    """Adds a finished run to the accepted ones of a name.

    Raises:
        InputError: the run is damaged or not complete, the name cannot be a folder, the run is accepted already, or
            nothing can be written below `root`.
        StorageError: the disk is full.
    """
    if _NAME.fullmatch(name) is None:
        raise InputError(
            f"--name {name!r} cannot name accepted runs; use up to 100 letters, digits, dots, dashes and underscores, "
            "a letter or digit first"
        )
    evidence = read_run(open_run(path), str(path), policy.performance.slo)
    manifest = evidence.manifest
    if manifest.status != "complete":
        reason = f" ({manifest.status_reason})" if manifest.status_reason else ""
        step = next_step(manifest)
        raise InputError(
            f"{path} is {manifest.status}{reason} and not accepted: {step[0].lower()}{step[1:].rstrip('.')}"
        )
    folder = root / name / manifest.run_id
    if folder.exists():
        raise InputError(f"{path} is accepted as {name} already ({folder}); nothing was changed")
    with writing(folder, _ELSEWHERE):
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{manifest.run_id}.", dir=folder.parent))
        try:
            found = _write(staged, evidence, name, now_utc, note)
            staged.chmod(0o755)
            staged.rename(folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return Entry(folder, found)


def _write(folder: Path, evidence: Evidence, name: str, now_utc: str, note: str | None) -> Accepted:
    content = {}
    if evidence.answers:
        content["items.parquet"] = tables.pack_items(evidence.answers)
    if evidence.trials:
        content["trials.parquet"] = tables.pack_trials(evidence.trials)
    for file, data in content.items():
        write_atomic(folder / file, data, _ELSEWHERE)
    scores: dict[str, dict[str, float]] = {}
    plan = evidence.manifest.plan.accuracy
    columns = {} if plan is None else {column.name: column for column in plan.columns}
    for (column, arm, repeat), answers in evidence.answers.items():
        if repeat == 0:
            scores.setdefault(column, {})[arm] = figure_of(columns[column], answers)
    accepted = Accepted(
        name=name,
        accepted_utc=now_utc,
        note=note,
        slo=evidence.slo,
        definitions=DEFINITIONS_HASH,
        manifest=evidence.manifest,
        statuses=tuple(evidence.statuses),
        scores=scores,
        files={file: hashlib.sha256(data).hexdigest() for file, data in content.items()},
    )
    written = _File(accepted=accepted, checksum=content_hash(accepted))
    write_atomic(folder / _FILE, (json.dumps(written.model_dump(mode="json"), indent=1) + "\n").encode(), _ELSEWHERE)
    return accepted


def accepted_runs(root: Path, name: str | None = None) -> list[Entry]:
    """Accepted runs of a name, or of all, oldest acceptance first.

    Raises:
        InputError: one cannot be read.
    """
    found = [path.parent for path in sorted(root.glob(f"*/*/{_FILE}")) if not path.parent.name.startswith(".")]
    entries = [Entry(folder, _read(folder)) for folder in found if name is None or folder.parent.name == name]
    return sorted(entries, key=lambda e: (e.accepted.name, e.accepted.accepted_utc, e.accepted.manifest.created_utc))


def read_accepted(folder: Path, label: str) -> Evidence:
    """What an accepted run says.

    Raises:
        InputError: a file is missing, damaged or of a newer format.
        IncomparableError: its figures were computed with other metric definitions.
    """
    accepted = _read(folder)
    if accepted.definitions not in _SAME_FORMULAS and "trials.parquet" in accepted.files:
        raise IncomparableError(
            "definitions",
            f"{label} was accepted with other metric definitions than this version's; accept its run again from the "
            "run folder",
        )
    content = {file: _checked(folder / file, digest) for file, digest in accepted.files.items()}
    items, trials = content.get("items.parquet"), content.get("trials.parquet")
    plan = accepted.manifest.plan.perf
    return Evidence(
        side=side_of(accepted.manifest, label=label, source=str(folder), accepted_utc=accepted.accepted_utc),
        manifest=accepted.manifest,
        answers={} if items is None else tables.unpack_items(items),
        statuses=accepted.statuses,
        trials=() if trials is None or plan is None else tables.unpack_trials(trials, plan),
        objective=None if accepted.slo is None else parse_objective(accepted.slo),
        slo=accepted.slo,
    )


def find(text: str, root: Path, policy: Policy) -> Evidence:
    """A side of a comparison: a run folder, the folder of an accepted run, a name, or NAME@RUN_ID.

    Raises:
        InputError: it is none of these, or cannot be read.
    """
    path = Path(text)
    if (path / _FILE).exists():
        return read_accepted(path, text)
    if path.is_dir():
        return read_run(open_run(path), text, policy.performance.slo)
    name, _, run_id = text.partition("@")
    entries = [e for e in accepted_runs(root, name) if not run_id or e.accepted.manifest.run_id == run_id]
    if not name or not entries:
        known = ", ".join(_names(root)) or "none"
        raise InputError(
            f"there is no run folder and no accepted run {text}; accepted under {root}: {known} (`swiftkv-bench "
            "accepted`)"
        )
    newest = entries[-1]
    return read_accepted(newest.folder, text if run_id else f"{name}@{newest.accepted.manifest.run_id}")


def _names(root: Path) -> Iterator[str]:
    yield from dict.fromkeys(path.parent.parent.name for path in sorted(root.glob(f"*/*/{_FILE}")))


def _read(folder: Path) -> Accepted:
    path = folder / _FILE
    try:
        raw: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise InputError(f"cannot read {path}: {' '.join(str(e).split())}; {_RESTORE}") from e
    inner = raw.get("accepted") if isinstance(raw, dict) else None
    version = inner.get("format") if isinstance(inner, dict) else None
    if isinstance(version, str) and version.startswith(_PREFIX) and version != FORMAT:
        raise InputError(f"{path} has format {version}, this program reads {FORMAT}; upgrade swiftkv-bench")
    if isinstance(raw, dict) and content_hash(inner) != raw.get("checksum"):
        raise InputError(f"{path} was truncated or edited (checksum differs); {_RESTORE}")
    try:
        return _File.model_validate(raw).accepted
    except ValidationError as e:
        raise InputError(f"{path} is no accepted run; {_RESTORE}") from e


def _checked(path: Path, digest: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}; {_RESTORE}") from e
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f"{path} was truncated or edited (checksum differs); {_RESTORE}")
    return data
