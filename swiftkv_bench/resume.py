"""Which folder a run goes into: a new one, or that of the same run that did not finish."""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from swiftkv_bench.errors import InputError, writing
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.store import Run, create_run, open_run


@dataclass(frozen=True)
class Place:
    """The folder of a run and what it held before."""

    run: Run
    resumed: bool


def run_id(created: datetime, profile: str, parts: str) -> str:
    """Name of a run folder: time, profile, what is measured."""
    return f"{created:%Y%m%d-%H%M%S}-{Path(profile).stem}-{parts}"


def find_or_create(manifest: Manifest, out: Path | None, root: Path, *, fresh: bool) -> Place:
    """The folder to run in.

    With `out`: that folder; it may hold the same run. Without: the newest folder below `root` that holds the
    same run unfinished, else a new one. Runs are the same when their plan and engines are.

    Raises:
        InputError: `out` holds another run, or cannot be written.
    """
    if out is not None:
        if not (out / "manifest.json").exists():
            return Place(create_run(out, manifest), resumed=False)
        run = open_run(out)
        if fresh:
            raise InputError(f"--out {out} holds a run and --fresh asks for a new one; name a new folder")
        if run.manifest.plan_hash != manifest.plan_hash:
            raise InputError(f"--out {out} holds a run of another plan or other engines; name a new folder")
        return Place(run, resumed=True)
    if not fresh:
        for path in sorted(root.glob("*/manifest.json"), reverse=True):
            found = _readable(path.parent)
            if found and found.manifest.plan_hash == manifest.plan_hash and found.manifest.status != "complete":
                return Place(found, resumed=True)
    return Place(create_run(_unused(root / manifest.run_id), manifest), resumed=False)


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Holds the run folder for this process.

    Raises:
        InputError: another process is running it, or nothing may be written there.
    """
    with ExitStack() as stack:
        path = run.path / ".lock"
        with writing(path, "make the run folder writable, or name another with --out"):
            file = stack.enter_context(path.open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise InputError(f"{run.path} is being run by another process; wait for it or name another --out") from e
        yield


def _readable(path: Path) -> Run | None:
    try:
        return open_run(path)
    except InputError:
        return None


def _unused(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
