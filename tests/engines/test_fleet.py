"""Which engines come up in which order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from swiftkv_bench.engines.fleet import Fleet, must_start_one_by_one
from swiftkv_bench.engines.resolve import EngineConfig
from swiftkv_bench.observer import Observer, Silent
from swiftkv_bench.schema.engine import Arm, EngineInfo, EngineSpec, OptionValue


@dataclass
class _Recorded:
    """An engine that only writes down what is asked of it."""

    spec: EngineSpec
    happened: list[str]
    base_url: str = field(default="http://127.0.0.1:1", init=False)

    def launch(self) -> None:
        self.happened.append(f"launch {self.spec.arm}")

    def wait_ready(self, observer: Observer) -> EngineInfo:
        self.happened.append(f"ready {self.spec.arm}")
        return EngineInfo(arm=self.spec.arm, base_url=self.base_url, served_model=self.spec.arm)

    def check_alive(self) -> None:
        """Always alive."""

    def why_ended(self) -> str | None:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def session(self) -> int | None:
        return None

    def stop(self) -> None:
        self.happened.append(f"stop {self.spec.arm}")


def _order(args: Mapping[str, OptionValue], *, shared_accelerator: bool, together: bool = True) -> list[str]:
    arms: tuple[Arm, ...] = ("baseline", "swiftkv")
    configs = [
        EngineConfig(
            EngineSpec(arm=arm, kind="vllm", model="m", tokenizer="m", args=dict(args), max_model_len=10), {}, 1.0
        )
        for arm in arms
    ]
    happened: list[str] = []
    with Fleet(
        configs,
        lambda config: _Recorded(config.spec, happened),
        together=together,
        observer=Silent(),
        one_by_one=must_start_one_by_one(configs, shared_accelerator=shared_accelerator),
    ) as fleet:
        fleet.get("baseline")
        fleet.get("swiftkv")
    return happened


SIDE_BY_SIDE = ["launch baseline", "launch swiftkv", "ready baseline", "ready swiftkv", "stop baseline", "stop swiftkv"]
ONE_BY_ONE = ["launch baseline", "ready baseline", "launch swiftkv", "ready swiftkv", "stop baseline", "stop swiftkv"]


def test_engines_start_side_by_side_without_an_accelerator() -> None:
    assert _order({}, shared_accelerator=False) == SIDE_BY_SIDE


def test_engines_that_measure_free_memory_start_one_by_one_on_a_shared_accelerator() -> None:
    assert _order({}, shared_accelerator=True) == ONE_BY_ONE


def test_engines_of_given_cache_size_start_side_by_side_on_a_shared_accelerator() -> None:
    assert _order({"kv-cache-memory-bytes": 1 << 30}, shared_accelerator=True) == SIDE_BY_SIDE


def test_in_turn_one_engine_stops_before_the_next_starts() -> None:
    order = _order({}, shared_accelerator=False, together=False)
    assert order.index("stop baseline") < order.index("launch swiftkv")
