"""The error tree and the exit code of each class.

::

    SwiftKVBenchError            never raised itself
    ├── InputError          2    the user's input: flag, suite, profile, run folder, data
    │   └── IncomparableError 2  two runs that must not be compared; names the key
    ├── EngineError         3    an engine or its environment: start, readiness, crash, protocol
    │   ├── ProbeError      3    an engine that works but must not be used as asked
    │   └── ScoringError    3    an answer that no score can be made of; ends its column on its arm
    ├── RegressionError     1    a finished comparison that found a regression or failed check
    └── InconclusiveError   4    a finished comparison that could not decide

``KeyboardInterrupt`` ends with 130. Anything else is a defect of this program and keeps its traceback.
A failed request or trial is a record, not an exception.
"""

from typing import ClassVar

EXIT_OK = 0
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
