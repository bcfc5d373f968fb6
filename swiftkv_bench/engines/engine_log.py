"""What an engine's log says of its end: the line with the cause, found among the lines of what followed from it."""

import re
from collections.abc import Sequence
from pathlib import Path

TAIL_LINES = 20
SEARCHED_LINES = 1000
"""Lines before the end in which the cause is looked for: vLLM prints a traceback for every process."""
_MOST_CHARACTERS = 400

_PREFIX = re.compile(r"^(\([^()]* pid=\d+\) )?((?P<level>[A-Z]+) \d\d-\d\d \d\d:\d\d:\d\d (\[[^]]*\] ?)+)?")
_EXCEPTION = re.compile(r"^(\w+\.)*\w*(Error|Exception)(: \S|$)")
_USAGE = re.compile(r"^\S+: error: \S")
_VALIDATION = re.compile(r"\d+ validation errors? for ")
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_FOLLOWED = re.compile(
    r"EngineDeadError|initialization failed|Engine process failed|Worker failed with error|died unexpectedly|"
    r"Cancelled|ConnectionReset|BrokenPipe|ConnectionRefused|ZMQError|EOFError|CalledProcessError"
)
_MEMORY = re.compile(
    r"out of memory|OutOfMemory|No available memory for the cache blocks|is needed, which is larger than the available"
    r"|Free memory on device"
)


def cause(lines: Sequence[str]) -> str | None:
    """The exception that ended an engine; None when the log names none.

    Memory that ran out counts most, wherever it stands: other processes of the engine fail in its wake with errors of
    their own. Else the first exception that is no sign of another process's end, or the one raised in handling it.
    """
    found: str | None = None
    chained = False
    searched = lines[-SEARCHED_LINES:]
    for i, line in enumerate(searched):
        prefix = _PREFIX.match(line)
        level, said = (prefix.group("level"), line[prefix.end() :].rstrip()) if prefix else (None, line.rstrip())
        if said.startswith(_CHAINED):
            chained = True
        if level not in (None, "ERROR", "CRITICAL", "FATAL"):
            continue
        if not _EXCEPTION.match(said) and not _USAGE.match(said):
            continue
        if _MEMORY.search(said):
            return said
        if not _FOLLOWED.search(said) and (found is None or chained):
            found = _with_details(said, searched[i + 1 : i + 2])
        chained = False
    return found


def sentence(lines: Sequence[str]) -> str:
    """The cause as the end of a sentence, with the repair where it is known: `: KeyError: 'x'`; empty without one."""
    found = cause(lines)
    if found is None:
        return ""
    if _MEMORY.search(found):
        return (
            f": {_cut(found)}; give the engine another share of the card (--engine-arg gpu-memory-utilization=...), a "
            "shorter --max-model-len, or the card to itself (--in-turn, with a share of 0.9; see nvidia-smi)"
        )
    return f": {_cut(found)}"


def read(path: Path, start: int) -> list[str]:
    """Lines of a log from a byte on; none where there is no file.

    Args:
        start: where the engine's own part of the file begins.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def tail(lines: Sequence[str]) -> str:
    """The last lines, indented."""
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])


def _with_details(said: str, following: Sequence[str]) -> str:
    """A validation error says what it is about on the next line."""
    if not _VALIDATION.search(said) or not following:
        return said
    prefix = _PREFIX.match(following[0])
    return f"{said}: {following[0][prefix.end() if prefix else 0 :].strip()}"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
