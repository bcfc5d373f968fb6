"""Calls a function at absolute times with the precision of a kernel timer.

An event loop's own timers tick in whole milliseconds, which bends a Poisson process at a few hundred
arrivals a second; a timerfd on CLOCK_MONOTONIC does not. Times are never re-anchored: a late call leaves the next due
time where it was.
"""

import asyncio
import ctypes
import os
import struct
import sys
from collections.abc import Callable
from functools import cache
from time import perf_counter

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1
_NS_PER_S = 1_000_000_000
NEVER = float("inf")


class Pacer:
    """Calls `due(now_s)` as soon as the clock passes the time set by `arm`.

    Times are on the `perf_counter` axis, which on Linux is CLOCK_MONOTONIC. `at_s` is readable by others that
    happen to hold the processor: whoever sees that it has passed may call `due` at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, due: Callable[[float], None]) -> None:
        self.at_s = NEVER
        self._loop = loop
        self._due = due
        self._handle: asyncio.TimerHandle | None = None
        self._fd = _open_timer()
        if self._fd is not None:
            loop.add_reader(self._fd, self._expired)

    @property
    def kind(self) -> str:
        """`timerfd`, or `loop` where the kernel has none."""
        return "loop" if self._fd is None else "timerfd"

    def arm(self, at_s: float) -> None:
        """Sets the next call; `NEVER` cancels it. A time in the past is called from the loop at once."""
        self.at_s = at_s
        if self._fd is not None:
            # A zero value would disarm the timer; one nanosecond after boot is always past.
            _set_timer(self._fd, 0 if at_s == NEVER else max(1, int(at_s * _NS_PER_S)))
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None if at_s == NEVER else self._loop.call_later(at_s - perf_counter(), self._fire_if_due)

    def close(self) -> None:
        """Cancels and gives the timer back."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
        elif self._handle is not None:
            self._handle.cancel()

    def fire(self, now_s: float) -> None:
        """Calls `due` now; for whoever sees that `at_s` has passed."""
        self._due(now_s)

    def _expired(self) -> None:
        try:
            os.read(self._fd or 0, 8)
        except BlockingIOError:
            # Re-armed between expiry and this call.
            return
        self._fire_if_due()

    def _fire_if_due(self) -> None:
        now = perf_counter()
        if now >= self.at_s:
            self._due(now)
        else:
            # Woken early: a coarser clock, or a timer re-armed meanwhile.
            self.arm(self.at_s)


def _open_timer() -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    fd: int = _libc().timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
    return fd if fd >= 0 else None


def _set_timer(fd: int, at_ns: int) -> None:
    # struct itimerspec: interval, then value, each as seconds and nanoseconds.
    spec = struct.pack("@llll", 0, 0, *divmod(at_ns, _NS_PER_S))
    if _libc().timerfd_settime(fd, _TFD_TIMER_ABSTIME, spec, None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime failed")


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
