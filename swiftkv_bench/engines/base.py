"""The seam between the harness and an inference engine: start it, address it, stop it."""

from types import TracebackType
from typing import Protocol, Self

from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.engine import EngineInfo, EngineSpec


class Engine(Protocol):
    """An OpenAI-compatible server that one arm's requests go to. A context manager that always stops."""

    @property
    def spec(self) -> EngineSpec:
        """What was asked for, resolved."""

    @property
    def session(self) -> int | None:
        """Session id of all its processes; None when it is not ours or not launched."""

    def launch(self) -> None:
        """Begins to start and returns at once, so that several engines can start side by side.

        Raises:
            InputError: the port is in use or the interpreter is not there.
        """

    def wait_ready(self, observer: Observer) -> EngineInfo:
        """Blocks until the server answers.

        Raises:
            EngineError: it ended or did not answer in time; the message holds the end of its log.
        """

    def check_alive(self) -> None:
        """Raises EngineError, with the cause and the end of its log, if the engine has gone."""

    def why_ended(self) -> str | None:
        """One sentence with the cause, once the engine has gone; None while it runs, or when it is not ours."""

    def stop(self) -> None:
        """Ends the engine and everything it started; safe to call twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
