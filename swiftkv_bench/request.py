"""What a user asks for, checked whole and resolved into engines and a plan before anything starts."""

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftkv_bench import notation, plan, provenance
from swiftkv_bench.accuracy import suites
from swiftkv_bench.accuracy.run import Prepared
from swiftkv_bench.engines.fleet import must_start_one_by_one
from swiftkv_bench.engines.models import vocabulary
from swiftkv_bench.engines.profiles import WITH_GPU, WITHOUT_GPU, load_profile
from swiftkv_bench.engines.resolve import EngineConfig, EngineOptions, resolve_engines
from swiftkv_bench.errors import InputError
from swiftkv_bench.feasibility import check_point
from swiftkv_bench.schema.accuracy import AccuracyPlan
from swiftkv_bench.schema.engine import Arm, PerfDefaults, Profile
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.schema.perf import Arrivals, AutoRates, Length, PerfPlan, PerfSuite
from swiftkv_bench.schema.yaml_file import read_yaml
from swiftkv_bench.store import data_dir
from swiftkv_bench.telemetry.cards import engine_cards, share_a_card

_LEAST_BATCH = 8
"""Requests of the first batch of a search for capacity."""

ARMS: dict[str, tuple[Arm, ...]] = {
    "both": ("baseline", "swiftkv"),
    "all": ("baseline", "swiftkv", "swiftkv-full"),
}


@dataclass(frozen=True)
class LoadRequest:
    """Load points as asked for; None takes the profile's or the suite's value."""

    suite: str | None = None
    input_len: tuple[str, ...] = ()
    output_len: str | None = None
    rate: tuple[str, ...] = ()
    concurrency: tuple[int, ...] = ()
    arrivals: str = "poisson"
    burstiness: float = 1.0
    trace: Path | None = None
    requests: int | None = None
    duration_s: float | None = None
    repeats: int | None = None
    warmup_requests: int = 1
    shared_prefix: float = 0.0
    prompts: Path | None = None
    workers: int = 1
    stop_within: float | None = None
    """Known share of the ratio at which a point needs no further repeat; None repeats as asked."""
    slo: str | None = None


@dataclass(frozen=True)
class RunRequest:
    """A run that can start: every input checked, nothing started."""

    profile: Profile
    engines: tuple[EngineConfig, ...]
    plan: RunPlan
    together: bool
    accuracy: Prepared | None = None
    workers: int = 1
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


def perf_plan(
    load: LoadRequest, profile: Profile, engines: Sequence[EngineConfig], *, seed: int, together: bool
) -> PerfPlan:
    """The trials asked for.

    Raises:
        InputError: a value cannot be used, or a prompt and its answer do not fit a model's context.
    """
    suite = None if load.suite is None else load_perf_suite(load.suite)
    if "auto" in load.rate:
        return _automatic(load, profile, engines, suite, seed=seed, together=together)
    points = plan.points_of(_grids(load, profile.perf, suite))
    context = min(config.spec.max_model_len for config in engines)
    for point in points:
        check_point(point, context, load.workers)
    planned = plan.plan_perf(
        points,
        [config.spec.arm for config in engines],
        repeats=load.repeats or (suite.repeats if suite else profile.perf.repeats),
        seed=seed,
        together=together,
        suite=suite.name if suite else None,
    )
    return planned.model_copy(update={"stop_within": load.stop_within})


def _automatic(
    load: LoadRequest,
    profile: Profile,
    engines: Sequence[EngineConfig],
    suite: PerfSuite | None,
    *,
    seed: int,
    together: bool,
) -> PerfPlan:
    """A plan without trials: rates are found while it runs."""
    if len(load.rate) > 1 or load.concurrency or load.trace is not None:
        raise InputError("--rate auto finds the rates itself; leave out other rates, --concurrency and --trace")
    if load.duration_s is not None:
        raise InputError("--rate auto sends batches of known size; give --requests instead of --duration")
    _arrivals(dataclasses.replace(load, rate=("1",)))
    at_once = dataclasses.replace(load, rate=("inf",))
    points = list({p.input_len: p for p in plan.points_of(_grids(at_once, profile.perf, suite))}.values())
    context = min(config.spec.max_model_len for config in engines)
    requests = load.requests or max(point.requests or 0 for point in points) or profile.perf.requests
    for point in points:
        check_point(point.model_copy(update={"requests": requests}), context, load.workers)
    objective = None if load.slo is None else notation.parse_objective(load.slo)
    auto = AutoRates.model_validate(
        {
            "points": [p.model_copy(update={"requests": max(_LEAST_BATCH, requests // 4)}) for p in points],
            "requests": requests,
            "process": load.arrivals,
            "burstiness": load.burstiness,
            "objective": load.slo,
            "share": 0.9 if objective is None else objective.share,
            "arms": [config.spec.arm for config in engines],
            "repeats": load.repeats or (suite.repeats if suite else profile.perf.repeats),
            "together": together,
        }
    )
    name = suite.name if suite else None
    return PerfPlan(suite=name, seed=seed, trials=(), auto=auto, stop_within=load.stop_within)


def load_perf_suite(name: str) -> PerfSuite:
    """A shipped grid by name, or the user's own by the path of its YAML file.

    Raises:
        InputError: there is none, or the file does not say what a suite may say.
    """
    folder = data_dir("suites") / "perf"
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise InputError(f"--suite {name} is unknown; one of {known}, or a YAML file")
    return read_yaml(path, PerfSuite, "a load suite")


def _grids(load: LoadRequest, defaults: PerfDefaults, suite: PerfSuite | None) -> list[plan.Grid]:
    if load.duration_s is not None and load.requests is not None:
        raise InputError("--requests and --duration exclude each other; give one")
    if load.duration_s is not None and not 0 < load.duration_s < math.inf:
        raise InputError(f"--duration {load.duration_s:g} is no time; give seconds above 0")
    if load.prompts is not None and not load.prompts.is_file():
        raise InputError(f"--prompts {load.prompts} is not there; give a JSONL file")
    if not 0 <= load.shared_prefix < 1:
        raise InputError(f"--shared-prefix {load.shared_prefix:g} is no share; give 0 or more and below 1")
    bases = plan.grids_of_suite(suite) if suite else [_default_grid(defaults, load)]
    asked: dict[str, Any] = {"shared_prefix": load.shared_prefix}
    if load.input_len:
        lengths = tuple(notation.parse_length(text, "--input-len") for text in load.input_len)
        if {length for base in bases for length in base.input_len}.issuperset(lengths):
            bases = plan.of_lengths(bases, lengths)
        else:
            asked["input_len"] = lengths
    if load.output_len:
        asked["output_len"] = notation.parse_length(load.output_len, "--output-len")
    if arrivals := _arrivals(load):
        asked["arrivals"] = arrivals
    if load.requests is not None or load.duration_s is not None:
        asked |= {"requests": load.requests, "duration_s": load.duration_s, "total_prompt_tokens": None}
    if load.prompts:
        asked["prompts"] = str(load.prompts)
    return [dataclasses.replace(base, **asked) for base in bases]


def _default_grid(defaults: PerfDefaults, load: LoadRequest) -> plan.Grid:
    return plan.Grid(
        input_len=tuple(Length(mean=n) for n in defaults.input_len),
        output_len=Length(mean=defaults.output_len),
        arrivals=tuple(plan.arrivals_at(rate) for rate in defaults.rate),
        requests=defaults.requests,
        duration_s=None,
        warmup_requests=load.warmup_requests,
    )


def _arrivals(load: LoadRequest) -> tuple[Arrivals, ...]:
    if load.arrivals not in ("poisson", "constant", "gamma"):
        raise InputError(f"--arrivals {load.arrivals} is unknown; write poisson, constant or gamma")
    if not 0 < load.burstiness < math.inf:
        raise InputError(f"--burstiness {load.burstiness:g} is not above 0 and finite; 1 is Poisson, less is burstier")
    found = [
        plan.arrivals_at(notation.parse_rate(text, "--rate"), load.arrivals, load.burstiness) for text in load.rate
    ]
    found += [Arrivals(process="closed-loop", concurrency=n) for n in load.concurrency]
    if load.trace is not None:
        if not load.trace.is_file():
            raise InputError(f"--trace {load.trace} is not there; give a JSONL file")
        found.append(Arrivals(process="trace", trace=str(load.trace)))
    return tuple(found)


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
