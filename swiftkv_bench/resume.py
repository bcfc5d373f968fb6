"""Which folder a run goes into: a new one, or that of the same run that did not finish."""

import fcntl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from swiftkv_bench import integrity
from swiftkv_bench.errors import InputError, writing
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.store import LOCK, Run, check_unused, create_run, make_folder, open_run, remove_leftovers

_Hold = Callable[[Path], None]


@dataclass(frozen=True)
class Place:
    """The folder of a run and what it held before."""

    run: Run
    resumed: bool
    note: str | None = None
    """Why an unfinished run of the same plan is not the one that goes on."""


def run_id(created: datetime, profile: str, parts: str) -> str:
    """Name of a run folder: time, profile, what is measured."""
    return f"{created:%Y%m%d-%H%M%S}-{Path(profile).stem}-{parts}"


@contextmanager
def claimed(manifest: Manifest, out: Path | None, root: Path, *, fresh: bool) -> Iterator[Place]:
    """The folder to run in, held for this process as long as the context lasts.

    With `out`: that folder; it may hold the same run unfinished. Without: the newest folder below `root` that does,
    else a new one. Runs are the same when their plan and engines are. One goes on only with the builds it was begun
    with.

    Raises:
        InputError: `out` holds another run or a finished one, another process is running it, or it cannot be written.
        StorageError: the disk is full.
    """
    with ExitStack() as stack:

        def hold(path: Path) -> None:
            stack.enter_context(_locked(path))

        place = _newest(manifest, root, fresh, hold) if out is None else _named(manifest, out, fresh, hold)
        remove_leftovers(place.run.path)
        yield place


def _named(manifest: Manifest, out: Path, fresh: bool, hold: _Hold) -> Place:
    _check_named(manifest, out, fresh)
    with writing(out, "choose another folder with --out"):
        make_folder(out)
    hold(out)
    # Again: it may have been another process's until now.
    found = _check_named(manifest, out, fresh)
    return Place(create_run(out, manifest), resumed=False) if found is None else Place(found, resumed=True)


def _check_named(manifest: Manifest, out: Path, fresh: bool) -> Run | None:
    """The run that goes on; None when the folder has none."""
    if not (out / "manifest.json").exists():
        with writing(out, "choose another folder with --out"):
            check_unused(out)
        return None
    run = open_run(out)
    if fresh:
        raise InputError(f"--out {out} holds a run and --fresh asks for a new one; name a new folder")
    if run.manifest.plan_hash != manifest.plan_hash:
        raise InputError(f"--out {out} holds a run of another plan or other engines; name a new folder")
    if _is_finished(run):
        raise InputError(
            f"--out {out} holds this run complete, begun {run.manifest.created_utc}, and nothing was measured now; "
            f"`swiftkv-bench report {out}` shows it, and a new folder (or --fresh without --out) measures anew"
        )
    if (changed := changed_builds(run.manifest.builds, manifest.builds)) is not None:
        raise InputError(
            f"--out {out} holds this run unfinished, begun with another build: {changed}; go back to what it was, or "
            "name a new folder"
        )
    return run


def _newest(manifest: Manifest, root: Path, fresh: bool, hold: _Hold) -> Place:
    note = None
    for path in () if fresh else sorted(root.glob("*/manifest.json"), reverse=True):
        found = _readable(path.parent)
        if found is None or found.manifest.plan_hash != manifest.plan_hash or _is_finished(found):
            continue
        changed = changed_builds(found.manifest.builds, manifest.builds)
        if changed is None:
            hold(path.parent)
            return Place(found.reopened(), resumed=True)
        note = note or f"{path.parent} is the same run unfinished, and does not go on: {changed}"
    new = _made(root / manifest.run_id)
    hold(new)
    return Place(create_run(new, manifest), resumed=False, note=note)


def changed_builds(begun: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """What is another build than when a run was begun, as part of a sentence; None where none is known to be."""
    both = {name: (was, now[name]) for name, was in begun.items() if name in now}
    changed = [f"{name} was {was} and is {is_now}" for name, (was, is_now) in both.items() if was != is_now]
    return ", ".join(changed) or None


def _is_finished(run: Run) -> bool:
    """Whether nothing of a complete run is missing, so that going on would measure nothing."""
    return run.manifest.status == "complete" and not integrity.missing(run.path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with writing(path, "make the run folder writable, or name another with --out"):
            file = stack.enter_context((path / LOCK).open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise InputError(f"{path} is being run by another process; wait for it or name another --out") from e
        yield


def _readable(path: Path) -> Run | None:
    try:
        return open_run(path)
    except InputError:
        return None


def _made(path: Path) -> Path:
    """A new folder of that name, or with a number behind it where there is one."""
    candidate, number = path, 1
    while True:
        with writing(candidate, "choose another folder with --out"):
            try:
                make_folder(candidate, exist_ok=False)
            except FileExistsError:
                number += 1
                candidate = path.with_name(f"{path.name}-{number}")
            else:
                return candidate
