"""An engine that somebody else runs: checked for being there, never started or stopped."""

from types import TracebackType
from typing import Self

from swiftkv_bench.engines.process import get_json, served_model, server_version
from swiftkv_bench.errors import EngineError
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.engine import EngineInfo, EngineSpec


class AttachedServer:
    """A server at a URL."""

    def __init__(self, spec: EngineSpec, *, api_key: str | None = None) -> None:
        if spec.url is None:
            raise ValueError("an attached engine needs spec.url")
        self._spec = spec
        self._url = spec.url.rstrip("/").removesuffix("/v1")
        self._api_key = api_key

    @property
    def spec(self) -> EngineSpec:
        """What was asked for."""
        return self._spec

    @property
    def api_key(self) -> str | None:
        """Key to send with requests."""
        return self._api_key

    @property
    def session(self) -> int | None:
        """None: its processes are somebody else's."""
        return None

    def launch(self) -> None:
        """Nothing to start."""

    def wait_ready(self, observer: Observer) -> EngineInfo:
        """Asks the server what it serves.

        Raises:
            EngineError: it does not answer.
        """
        served, context = served_model(self._url, self._api_key)
        return EngineInfo(
            arm=self._spec.arm,
            base_url=self._url,
            served_model=served,
            version=server_version(self._url, self._api_key),
            max_model_len=context,
        )

    def check_alive(self) -> None:
        """Raises EngineError if the server no longer answers."""
        try:
            get_json(f"{self._url}/v1/models", self._api_key)
        except EngineError as e:
            raise EngineError(f"the {self._spec.arm} server at {self._url} has gone: {e}") from e

    def why_ended(self) -> None:
        """Not known of another's server."""

    def stop(self) -> None:
        """Nothing to stop."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
