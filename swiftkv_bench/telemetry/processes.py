"""Processor time and resident memory of a group of processes, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

_STATE, _SESSION, _UTIME, _STIME, _CUTIME, _CSTIME, _RSS = 0, 3, 11, 12, 13, 14, 21
"""Places in /proc/PID/stat behind the command name, see proc(5)."""


@dataclass(frozen=True)
class Usage:
    """Of all processes of one session, now.

    Attributes:
        cpu_s: user and system time since their start, with that of children that have ended.
        rss_bytes: resident memory; pages that several of them share count in each.
    """

    cpu_s: float
    rss_bytes: int
    processes: int


def session_usage(session: int, proc: Path = Path("/proc")) -> Usage | None:
    """What the processes of a session use; None when there are none or the system has no /proc."""
    tick_s, page = 1 / os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    ticks = pages = processes = 0
    for stat in proc.glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="latin-1")
        except OSError:
            # It has ended since it was listed.
            continue
        fields = text[text.rfind(")") + 2 :].split()
        if int(fields[_SESSION]) != session or fields[_STATE] == "Z":
            continue
        ticks += sum(int(fields[place]) for place in (_UTIME, _STIME, _CUTIME, _CSTIME))
        pages += int(fields[_RSS])
        processes += 1
    return Usage(ticks * tick_s, pages * page, processes) if processes else None
