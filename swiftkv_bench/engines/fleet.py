"""The engines of one run: which are up, in which order they start, and restarts after a crash."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from swiftkv_bench.engines.base import Engine
from swiftkv_bench.engines.resolve import EngineConfig
from swiftkv_bench.errors import EngineError
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.engine import Arm, EngineInfo

RESTARTS = 2
"""How often one arm's engine is started again after it died before the run gives up on it."""


class Fleet:
    """Engines by arm. With `together` all are up from the first use on; otherwise at most one is.

    Engines that come up together start side by side, or with `one_by_one` each when the one before is ready.
    """

    def __init__(
        self,
        configs: Sequence[EngineConfig],
        make: Callable[[EngineConfig], Engine],
        *,
        together: bool,
        observer: Observer,
        one_by_one: bool = False,
    ) -> None:
        self._configs = {c.spec.arm: c for c in configs}
        self._make = make
        self._together = together
        self._one_by_one = one_by_one
        self._observer = observer
        self._running: dict[Arm, Engine] = {}
        self._info: dict[Arm, EngineInfo] = {}
        self._restarts: dict[Arm, int] = {}

    @property
    def infos(self) -> tuple[EngineInfo, ...]:
        """The last thing every engine that ever ran said of itself, in order of the arms."""
        return tuple(self._info[arm] for arm in self._configs if arm in self._info)

    def config(self, arm: Arm) -> EngineConfig:
        """Configuration of an arm."""
        return self._configs[arm]

    def session(self, arm: Arm) -> int | None:
        """Session id of the arm's processes; None when they are not ours or not running."""
        engine = self._running.get(arm)
        return None if engine is None else engine.session

    @property
    def running(self) -> tuple[Arm, ...]:
        """Arms whose engine was started and not ended since."""
        return tuple(self._running)

    def get(self, arm: Arm) -> EngineInfo:
        """A running engine, started now if need be.

        Raises:
            EngineError: it does not start, or died more than `RESTARTS` times.
            InputError: its port is taken.
        """
        if self.alive(arm):
            return self._info[arm]
        if arm in self._running:
            self._count_death(arm)
        if not self._together:
            for other in tuple(self._running):
                self._drop(other)
        wanted = [a for a in self._configs if a not in self._running] if self._together else [arm]
        self._start(wanted)
        return self._info[arm]

    def alive(self, arm: Arm) -> bool:
        """Whether the arm's engine is running now."""
        if arm not in self._running:
            return False
        try:
            self._running[arm].check_alive()
        except EngineError:
            return False
        return True

    def why_ended(self, arm: Arm) -> str | None:
        """Why the arm's own engine has gone, in one sentence; None while it runs."""
        return self._running[arm].why_ended() if arm in self._running else None

    def stop(self) -> None:
        """Ends every engine."""
        for arm in tuple(self._running):
            self._drop(arm)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _count_death(self, arm: Arm) -> None:
        self._restarts[arm] = self._restarts.get(arm, 0) + 1
        try:
            self._running[arm].check_alive()
        except EngineError as e:
            if self._restarts[arm] > RESTARTS:
                raise
            ours = self._configs[arm].spec.url is None
            next_step = "it is started again" if ours else "it is asked once more"
            self._observer.note(f"{str(e).splitlines()[0]}; {next_step}")
        self._drop(arm)

    def _start(self, arms: Sequence[Arm]) -> None:
        for batch in [[arm] for arm in arms] if self._one_by_one else [arms]:
            for arm in batch:
                engine = self._make(self._configs[arm])
                self._running[arm] = engine
                engine.launch()
            for arm in batch:
                self._info[arm] = self._running[arm].wait_ready(self._observer)

    def _drop(self, arm: Arm) -> None:
        self._running.pop(arm).stop()


def must_start_one_by_one(configs: Sequence[EngineConfig], *, shared_accelerator: bool) -> bool:
    """Whether engines would disturb each other's start.

    On a shared accelerator vLLM sizes its K/V cache by what it sees allocated there while it starts, and would count
    another's weights, unless `kv-cache-memory-bytes` gives the size.
    """
    sized = (c.spec.kind != "vllm" or "kv-cache-memory-bytes" in c.spec.args for c in configs)
    return shared_accelerator and not all(sized)
