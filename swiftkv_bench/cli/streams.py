"""Standard output and error of the program: a reader that goes away early ends neither a run nor a verdict."""

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from swiftkv_bench.errors import writing

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Stream(io.FileIO):
    """A stream of the process; once its reader is gone, what is written is dropped."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Bytes written or dropped.

        Raises:
            StorageError: it is a file on a full disk; what follows is dropped.
        """
        try:
            return super().write(data)
        except BrokenPipeError:
            self._drop()
            return super().write(data)
        except OSError:
            with writing(self._drop(), "send the output elsewhere"):
                raise

    def _drop(self) -> Path:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        return Path("standard output" if self.fileno() == 1 else "standard error")


def harden() -> None:
    """Makes `| head -1` harmless, and shows a sign that the terminal lacks as a question mark.

    `compare` exits with its verdict and `perf` measures to its end, whoever still reads: Python's own answer, exit
    code 1, would say that a check failed.
    """
    sys.stdout, sys.stderr = _hardened(sys.stdout, "replace"), _hardened(sys.stderr, "backslashreplace")


def _hardened(stream: TextIO | None, errors: str) -> TextIO:
    if stream is None:  # the caller closed it
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):  # put there by who embeds the program
        return stream
    stream.flush()
    raw = _Stream(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=stream.encoding, errors=errors, line_buffering=stream.line_buffering
    )
