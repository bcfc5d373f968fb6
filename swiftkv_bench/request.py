"""What a user asks for, checked whole and resolved into engines and a plan before anything starts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftkv_bench import provenance
from swiftkv_bench.accuracy import suites
from swiftkv_bench.accuracy.run import Prepared
from swiftkv_bench.engines.fleet import must_start_one_by_one
from swiftkv_bench.engines.models import vocabulary
from swiftkv_bench.engines.profiles import WITH_GPU, WITHOUT_GPU, load_profile
from swiftkv_bench.engines.resolve import EngineConfig, EngineOptions, resolve_engines
from swiftkv_bench.errors import InputError
from swiftkv_bench.load.driver import REQUEST_TIMEOUT_S
from swiftkv_bench.schema.accuracy import AccuracyPlan
from swiftkv_bench.schema.engine import Arm, Profile
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.telemetry.cards import engine_cards, share_a_card

ARMS: dict[str, tuple[Arm, ...]] = {
    "both": ("baseline", "swiftkv"),
    "all": ("baseline", "swiftkv", "swiftkv-full"),
}


@dataclass(frozen=True)
class RunRequest:
    """A run that can start: every input checked, nothing started."""

    profile: Profile
    engines: tuple[EngineConfig, ...]
    plan: RunPlan
    together: bool
    accuracy: Prepared | None = None
    workers: int = 1
    request_timeout_s: float = REQUEST_TIMEOUT_S
    """A request of the load that takes longer has stalled."""
    self_test: bool = True
    """Measure the client on the fake engine before the engines start."""
    slo: str | None = None
    """Latency targets of goodput as typed; None counts none."""
    budget_s: float | None = None
    """Seconds from the start of the run after which no further trial is begun; None has no limit."""

    @property
    def one_by_one(self) -> bool:
        """Whether engines that are up at once start one after the other."""
        return start_one_by_one(self.engines)


def start_one_by_one(engines: Sequence[EngineConfig]) -> bool:
    """Whether engines that are up at once start one after the other, because they share a card of this machine."""
    cards = [engine_cards({**os.environ, **c.spec.env}, c.spec.args) for c in engines]
    shared = bool(provenance.accelerators()) and share_a_card(cards)
    return must_start_one_by_one(engines, shared_accelerator=shared)


def choose_profile(name: str | None) -> tuple[Profile, str]:
    """The named profile, or the one for this machine, and a sentence that says which and why.

    Raises:
        InputError: there is none of that name.
    """
    if name is not None:
        return load_profile(name), f"profile {name}"
    gpus = provenance.accelerators()
    if gpus:
        return load_profile(WITH_GPU), f"profile {WITH_GPU}, because this machine has a GPU ({gpus[0].name})"
    return load_profile(WITHOUT_GPU), f"profile {WITHOUT_GPU}, because this machine has no GPU"


def engines_for(
    profile: Profile, arms: str, options: EngineOptions, cache: Path, *, repeat_baseline: bool = False
) -> tuple[EngineConfig, ...]:
    """Resolved engines of the arms; `repeat_baseline` adds a second engine of the baseline's.

    Raises:
        InputError: the arms are unknown, or an engine cannot be configured as asked.
    """
    if arms not in ARMS:
        raise InputError(f"--arms {arms} is unknown; write {' or '.join(ARMS)}")
    again: tuple[Arm, ...] = ("baseline-repeat",) if repeat_baseline else ()
    return resolve_engines(profile, (*ARMS[arms], *again), options, cache)


def check_tokenizers(request: RunRequest) -> None:
    """Reads the tokenizers that prompts of load are drawn from, which may come from the hub.

    Raises:
        InputError: one cannot be read.
    """
    if request.plan.perf is not None:
        for name in dict.fromkeys(config.spec.tokenizer for config in request.engines):
            vocabulary(name)


@dataclass(frozen=True)
class AccuracyRequest:
    """Accuracy columns as asked for; None takes the profile's value."""

    suites: tuple[str, ...] = ()
    limit: int | None = None
    repeat_baseline: bool = False
    stop_when_decided: bool = False


def accuracy_plan(
    accuracy: AccuracyRequest, profile: Profile, engines: Sequence[EngineConfig], *, seed: int
) -> AccuracyPlan:
    """The items asked for.

    Raises:
        InputError: a suite or column is unknown, or the profile has no weights to score.
    """
    defaults = profile.accuracy
    if defaults is None:
        raise InputError(f"profile {profile.name} has no weights, so it has no accuracy; run `swiftkv-bench perf`")
    suite = suites.select_columns(accuracy.suites, defaults.suite)
    return suites.plan_accuracy(
        suite,
        [config.spec.arm for config in engines],
        file=suites.selected_file(accuracy.suites, defaults.suite),
        limit=defaults.limit if accuracy.limit is None else accuracy.limit,
        seed=seed,
        repeat_baseline=accuracy.repeat_baseline,
        stop_when_decided=accuracy.stop_when_decided,
    )
