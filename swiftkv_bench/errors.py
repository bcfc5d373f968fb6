"""The error tree and the exit code of each class.

::

    SwiftKVBenchError            never raised itself
    ├── InputError          2    the user's input: flag, suite, profile, run folder, data
    │   └── IncomparableError 2  two runs that must not be compared; names the key
    ├── StorageError        3    a file that cannot be written, for the disk is full or broken
    ├── EngineError         3    an engine or its environment: start, readiness, crash, protocol
    │   ├── ProbeError      3    an engine that works but must not be used as asked
    │   └── ScoringError    3    an answer that no score can be made of; ends its column on its arm
    ├── RegressionError     1    a finished comparison that found a regression or failed check
    └── InconclusiveError   4    a finished comparison that could not decide

``KeyboardInterrupt`` ends with 130. Anything else is a defect of this program, keeps its traceback and ends with 70.
A failed request or trial is a record, not an exception.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple

EXIT_OK = 0
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130


class SwiftKVBenchError(Exception):
    """A condition the user can mend. The message says what, where, the value found and the repair.

    Attributes:
        exit_code: what the process exits with when this reaches the command line.
    """

    exit_code: ClassVar[int] = 3


class InputError(SwiftKVBenchError):
    """The user's input cannot be used."""

    exit_code: ClassVar[int] = 2


class IncomparableError(InputError):
    """Two runs differ in a key that a comparison must hold fixed.

    Attributes:
        key: the name of the key, as ``--allow`` takes it.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class StorageError(SwiftKVBenchError):
    """A file cannot be written, and another name for it would not help: the disk is full or broken."""


class EngineError(SwiftKVBenchError):
    """An engine could not be started, reached or kept alive."""

    exit_code: ClassVar[int] = 3


class ProbeError(EngineError):
    """An engine answered a probe in a way that forbids using it as asked."""


class ScoringError(EngineError):
    """An item has no answer, or one that holds no number, or the task's own code makes none of it."""


class RegressionError(SwiftKVBenchError):
    """A comparison finished and found a regression, or a check failed."""

    exit_code: ClassVar[int] = 1


class InconclusiveError(SwiftKVBenchError):
    """A comparison finished and its data cannot decide."""

    exit_code: ClassVar[int] = 4


_DISK = {
    errno.ENOSPC: "free space there",
    errno.EDQUOT: "free space within the quota there",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EIO: "look after the device, which fails",
}
"""What helps against a disk that takes no more."""


class Repair(NamedTuple):
    """What to do about a file that has to be where it is."""

    allow: str
    """Where nothing may be written."""
    then: str
    """What holds once it is mended."""


@contextmanager
def writing(path: Path, repair: str | Repair) -> Iterator[None]:
    """Makes one sentence of the system's refusal to write below `path`.

    Args:
        repair: what else to do, such as naming another place; a `Repair` where there is no other place.

    Raises:
        StorageError: the disk is full or broken.
        InputError: nothing may be written there.
    """
    try:
        yield
    except OSError as e:
        where, why = e.filename or path, e.strerror or " ".join(str(e).split()) or type(e).__name__
        allow, then = (repair.allow, f"; {repair.then}") if isinstance(repair, Repair) else (repair, "")
        if (mend := _DISK.get(e.errno or 0)) is None:
            raise InputError(f"cannot write {where}: {why}; {allow}{then}") from e
        raise StorageError(f"cannot write {where}: {why}; {mend}{then or f', or {allow}'}") from e
