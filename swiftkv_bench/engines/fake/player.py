"""The thread in C that writes streams whose steps are known beforehand (`player.c`).

Python writes a stream's event in some 20 microseconds, which is a whole core at 50,000 tokens/s. The library is built
with the system's compiler on first use and kept in the user's cache folder; without a compiler, or on a system other
than Linux, there is no player and the scheduler writes everything itself.
"""

import asyncio
import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from swiftkv_bench.engines.fake.lateness import BOUNDS_S, Lateness

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-std=c11", "-O2", "-shared", "-fPIC", "-pthread")
NS_PER_S = 1_000_000_000
_BUILD_TIMEOUT_S = 60.0
Key = TypeVar("Key", bound=Hashable)


class Player(Generic[Key]):
    """Plays tracks; each is known by a key of the caller's."""

    def __init__(
        self,
        library: ctypes.CDLL,
        loop: asyncio.AbstractEventLoop,
        finished: Callable[[Key, bool, "array[int]"], None],
    ) -> None:
        """`finished` is called in the loop once a track: whether it was played to its end, and when each of its steps
        was handed to the kernel (`perf_counter_ns`)."""
        self._library = library
        self._loop = loop
        self._finished = finished
        bounds = (ctypes.c_int64 * len(BOUNDS_S))(*(round(bound * NS_PER_S) for bound in BOUNDS_S))
        self._player = library.player_open(len(BOUNDS_S), bounds)
        if not self._player:
            raise OSError("the player's thread could not be started")
        self._event_fd: int = library.player_event_fd(self._player)
        self._tracks: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}
        loop.add_reader(self._event_fd, self._reap)

    def play(self, key: Key, fd: int, start_s: float, steps: Iterable[tuple[float, bytes]]) -> bool:
        """Writes steps to a socket, each its seconds after `start_s` (`perf_counter`); False if it cannot."""
        offsets_s, pieces = zip(*steps, strict=True)
        offset_ns = array("q", [int(offset_s * NS_PER_S) for offset_s in offsets_s])
        end, ends = 0, array("q")
        for piece in pieces:
            end += len(piece)
            ends.append(end)
        track = self._library.track_play(
            self._player,
            fd,
            int(start_s * NS_PER_S),
            len(ends),
            offset_ns.buffer_info()[0],
            ends.buffer_info()[0],
            b"".join(pieces),
        )
        if not track:
            return False
        self._tracks[key] = track
        self._keys[track] = key
        return True

    def drop(self, key: Key) -> bool:
        """Ends a track early; False when there is none. It is still reported as finished, and as whole if it was."""
        if key not in self._tracks:
            return False
        self._library.track_drop(self._tracks[key])
        return True

    def lateness(self) -> Lateness:
        """Of all writes so far."""
        count = (ctypes.c_int64 * (len(BOUNDS_S) + 1))()
        total_ns, worst_ns = ctypes.c_int64(), ctypes.c_int64()
        self._library.player_lateness(self._player, count, ctypes.byref(total_ns), ctypes.byref(worst_ns))
        return Lateness(list(count), total_ns.value / NS_PER_S, worst_ns.value / NS_PER_S)

    def close(self) -> None:
        """Ends the thread; what is under way stays unfinished."""
        self._loop.remove_reader(self._event_fd)
        self._library.player_close(self._player)

    def _reap(self) -> None:
        os.read(self._event_fd, 8)
        while track := self._library.player_finished(self._player):
            whole, written_ns = bool(self._library.track_whole(track)), self._written_ns(track)
            self._library.track_free(track)
            key = self._keys.pop(track)
            del self._tracks[key]
            self._finished(key, whole, written_ns)

    def _written_ns(self, track: int) -> "array[int]":
        at_ns = ctypes.c_void_p()
        steps = self._library.track_written(track, ctypes.byref(at_ns))
        times = array("q")
        times.frombytes(ctypes.string_at(at_ns, steps * times.itemsize))
        return times


def load(cache: Path | None = None) -> ctypes.CDLL | None:
    """The library, built if need be; None where it cannot be had.

    Args:
        cache: folder of built libraries; None: `swiftkv-bench` in the user's cache folder.
    """
    if not sys.platform.startswith("linux"):
        return None
    if cache is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swiftkv-bench"
    digest = hashlib.sha256(" ".join((*FLAGS, os.uname().machine)).encode() + SOURCE.read_bytes()).hexdigest()
    path = cache / f"player-{digest[:16]}.so"
    try:
        if not path.exists():
            _build(path)
        return _declared(ctypes.CDLL(str(path)))
    except (OSError, subprocess.SubprocessError):
        return None


def _build(path: Path) -> None:
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise OSError("there is no C compiler")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        # Renamed when whole: several engines may start at once.
        built = Path(scratch) / path.name
        command = [*compiler.split(), *FLAGS, str(SOURCE), "-o", str(built)]
        subprocess.run(command, check=True, capture_output=True, timeout=_BUILD_TIMEOUT_S)
        built.replace(path)


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, integer, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    signatures = {
        "player_open": (pointer, [integer, pointer]),
        "player_event_fd": (integer, [pointer]),
        "track_play": (pointer, [pointer, integer, long, long, pointer, pointer, ctypes.c_char_p]),
        "track_drop": (None, [pointer]),
        "track_whole": (integer, [pointer]),
        "track_written": (long, [pointer, pointer]),
        "track_free": (None, [pointer]),
        "player_finished": (pointer, [pointer]),
        "player_lateness": (None, [pointer, pointer, pointer, pointer]),
        "player_close": (None, [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
