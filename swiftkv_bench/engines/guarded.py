"""A command that cannot outlive this process: it runs below two guards, see `guard`."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from swiftkv_bench.engines import guard

END_S = guard.GRACE_S + guard.KILL_S + 5
"""An orderly end may take so long."""


class Guarded:
    """The guards of one command and all that it starts."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | None = None,
    ) -> None:
        """Starts it in a session of its own; streams and environment as for `subprocess.Popen`."""
        # Without -I and -S the guard would read the engine's PYTHONPATH and sitecustomize.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, *command],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=env,
            start_new_session=True,
        )
        self._code: int | None = None

    @property
    def session(self) -> int:
        """Session id of the guards and all below them."""
        return self._process.pid

    @property
    def stderr(self) -> IO[Any]:
        """What the command says, if it was started with a pipe."""
        if self._process.stderr is None:
            raise RuntimeError("the command was started without a pipe")
        return self._process.stderr

    def exit_code(self, patience_s: float = 0.0) -> int | None:
        """Exit code of the command, None while it runs; once there is one, nothing below the guards is alive."""
        if self._code is None:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(patience_s)
                guard.end_session(self.session)
                self._code = code
        return self._code

    def stop(self) -> None:
        """Ends the command and all that it started, in an orderly way if it can; safe to call twice."""
        stdin = self._process.stdin
        with suppress(OSError):  # the guard has ended
            if stdin is not None and self.exit_code() is None:
                stdin.write(guard.STOP)
                stdin.flush()
        if self.exit_code(END_S) is None:
            self._process.kill()
            self.exit_code(END_S)
        with suppress(OSError):
            if stdin is not None:
                stdin.close()
        if self._process.stderr is not None:
            self._process.stderr.close()
