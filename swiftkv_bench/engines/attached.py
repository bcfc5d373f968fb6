"""An engine that somebody else runs: checked for being there, never started or stopped."""

from types import TracebackType
from typing import Self

from swiftkv_bench.access import OPEN, Access
from swiftkv_bench.engines.client import Client, LostError, RefusedError
from swiftkv_bench.engines.served import asked_model, server_version
from swiftkv_bench.errors import EngineError
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.engine import BASELINES, UNNAMED, EngineInfo, EngineSpec

TIMEOUT_S = 10.0


def names_served(url: str, access: Access, named: str | None, flag: str, likely: str | None) -> tuple[str, ...]:
    """What the model that would be asked is called there: its id, its root, aliases; empty where nobody answers.

    Raises:
        InputError: it does not serve the model that was named, or several and none was.
    """
    try:
        with Client(_base(url), access, timeout_s=TIMEOUT_S, patient=False) as client:
            served = asked_model(client, named, flag, likely)
    except EngineError:
        return ()
    return tuple(dict.fromkeys((served.name, *served.names)))


def _base(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")


class AttachedServer:
    """A server at a URL."""

    def __init__(self, spec: EngineSpec, *, access: Access = OPEN, named: str | None = None) -> None:
        """
        Args:
            named: the model that the user named, which alone is asked; None: none was.
        """
        if spec.url is None:
            raise ValueError("an attached engine needs spec.url")
        self._spec = spec
        self._url = _base(spec.url)
        self._access = access
        self._named = named

    @property
    def spec(self) -> EngineSpec:
        """What was asked for."""
        return self._spec

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
            InputError: it does not serve the model that was named, or several and none was.
        """
        likely = None if self._spec.model == UNNAMED else self._spec.model
        flag = "--baseline-model" if self._spec.arm in BASELINES else "--swiftkv-model"
        with self._client() as client:
            try:
                served = asked_model(client, self._named, flag, likely)
            except LostError as e:
                raise EngineError(f"cannot reach the {self._spec.arm} server: {e}") from e
            version = server_version(client)
        return EngineInfo(
            arm=self._spec.arm,
            base_url=self._url,
            served_model=served.name,
            version=version,
            max_model_len=served.max_model_len,
        )

    def check_alive(self) -> None:
        """Raises EngineError if the server no longer answers."""
        with self._client() as client:
            try:
                client.get("/v1/models")
            except RefusedError:
                # It answers; what it lists was asked when it was attached to.
                return
            except EngineError as e:
                raise EngineError(f"the {self._spec.arm} server at {self._url} has gone: {e}") from e

    def _client(self) -> Client:
        return Client(self._url, self._access, timeout_s=TIMEOUT_S, patient=False)

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
