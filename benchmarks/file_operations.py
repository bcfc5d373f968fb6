"""File operations of the running program below one folder: counted as they come, and what a power cut would leave.

For a process that is about to run the program, see `kill_campaign`. Linux only.
"""

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}
"""Audit events whose first argument is the path that changes."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def watch(folder: Path, before: Callable[[int], None]) -> None:
    """Calls `before` with 1, 2, 3 ... ahead of every operation that changes what is below `folder`, in this process.

    Counted are opening for writing, renaming, removing, making a folder, cutting, changing rights, and `os.write`,
    `os.ftruncate` and `os.fsync` on a file there. There is no way to take this back.
    """
    inside, count = str(folder.absolute()), 0

    def happens() -> None:
        nonlocal count
        count += 1
        before(count)

    def audit(event: str, arguments: Sequence[Any]) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and bool(flags & _WRITES)
        else:
            path, changes = arguments[0] if arguments else None, event in _EVENTS
        if changes and isinstance(path, str | os.PathLike) and _is_below(os.path.abspath(path), inside):  # noqa: PTH100
            happens()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(handle: int, *rest: Any) -> Any:
            if _is_below(_path_of(handle), inside):
                happens()
            return function(handle, *rest)

        return call

    sys.addaudithook(audit)
    for name in ("write", "ftruncate", "fsync"):
        setattr(os, name, counted(getattr(os, name)))


class Durable:
    """What of a folder is on the device by the strictest reading: contents and names as of their last `fsync`.

    A file has the content of its last `fsync`, none without one. A name is in a folder if it was there when the folder
    was last synced. `base` itself, and what it holds at the start, is there.
    """

    def __init__(self, base: Path, shadow: Path) -> None:
        """Notes every `os.fsync` of this process below `base` in the folder `shadow` from now on."""
        self._base, self._shadow = base.absolute(), shadow
        (shadow / "contents").mkdir(parents=True)
        (shadow / "names").mkdir()
        self._held: dict[int, int] = {}
        """Open files by inode: the number of none of them is given to another."""
        for folder, _, _ in os.walk(base):
            self._sync_folder(Path(folder))
        sync = os.fsync

        def noted(handle: int) -> None:
            sync(handle)
            path = _path_of(handle)
            if _is_below(path, str(self._base)) or path == str(self._base):
                if stat.S_ISDIR(os.fstat(handle).st_mode):
                    self._sync_folder(Path(path))
                else:
                    self._sync_file(handle)

        os.fsync = noted  # type: ignore[assignment]

    def _sync_file(self, handle: int) -> None:
        inode = os.fstat(handle).st_ino
        self._held.setdefault(inode, os.dup(handle))
        shutil.copyfile(f"/proc/self/fd/{handle}", self._shadow / "contents" / str(inode))

    def _sync_folder(self, folder: Path) -> None:
        names = {}
        for entry in os.scandir(folder):
            names[entry.name] = (entry.inode(), entry.is_dir())
            if not entry.is_dir() and entry.inode() not in self._held:
                self._held[entry.inode()] = os.open(entry.path, os.O_RDONLY)
        key = str(folder.stat().st_ino)
        (self._shadow / "names" / key).write_text(json.dumps(names))


def cut_power(base: Path, shadow: Path) -> None:
    """Replaces what is in `base` by what `Durable` noted in `shadow`; nobody may be writing there."""
    root = base.stat().st_ino
    for entry in base.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    _restore(base, root, shadow)


def _restore(folder: Path, inode: int, shadow: Path) -> None:
    noted = shadow / "names" / str(inode)
    for name, (number, is_folder) in json.loads(noted.read_text()).items() if noted.exists() else ():
        path, content = folder / name, shadow / "contents" / str(number)
        if is_folder:
            path.mkdir()
            _restore(path, number, shadow)
        else:
            path.write_bytes(content.read_bytes() if content.exists() else b"")


def _path_of(handle: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115
    except OSError:
        return ""


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep)
