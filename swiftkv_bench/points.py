"""From the load that a user asks for to the points of a plan: options that contradict each other, files, lengths.

`LoadRequest` has a field for each flag of the same name; None is a flag that was not given.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from swiftkv_bench import notation, plan, redaction
from swiftkv_bench.engines.models import tokenizer_file
from swiftkv_bench.engines.resolve import EngineConfig
from swiftkv_bench.errors import InputError
from swiftkv_bench.feasibility import check_point
from swiftkv_bench.load.texts import Texts, load_texts, read_prompt_file
from swiftkv_bench.load.traces import Trace, read_trace
from swiftkv_bench.schema.engine import PerfDefaults, Profile
from swiftkv_bench.schema.perf import PROCESSES, Arrivals, AutoRates, Length, PerfPlan, PerfSuite
from swiftkv_bench.schema.traffic import RequestForm, Turns
from swiftkv_bench.schema.yaml_file import read_yaml
from swiftkv_bench.store import data_dir

_LEAST_BATCH = 8
"""Requests of the first batch of a search for capacity."""
_RATE_PROCESSES = tuple(name for name, process in PROCESSES.items() if process.gaps is not None)


@dataclass(frozen=True)
class LoadRequest:
    """Load as asked for; None takes the profile's or the suite's value."""

    suite: str | None = None
    input_len: tuple[str, ...] = ()
    output_len: str | None = None
    rate: tuple[str, ...] = ()
    concurrency: tuple[int, ...] = ()
    arrivals: str | None = None
    burstiness: float | None = None
    ramp_up: str | None = None
    trace: Path | None = None
    speedup: float | None = None
    requests: int | None = None
    duration: float | None = None
    repeats: int | None = None
    warmup: int | None = None
    shared_prefix: float | None = None
    prefix_groups: int | None = None
    turns: int | None = None
    think_time: str | None = None
    prompts: Path | None = None
    prompt_as: str | None = None
    endpoint: str = "completions"
    ignore_eos: bool = True
    extra_body: str | None = None
    workers: int = 1
    stop_when_ratio_within: str | None = None
    slo: str | None = None

    def given(self, name: str) -> bool:
        """Whether the flag of this name was given."""
        return getattr(self, name) not in (None, ())


_EXCLUDE = (
    ("requests", "duration", "both set the size of a point"),
    ("trace", "suite", "a trace has lengths and times of its own"),
    ("trace", "prompts", "a trace has lengths of its own"),
    ("trace", "input_len", "the trace has lengths of its own"),
    ("trace", "output_len", "the trace has lengths of its own"),
    ("trace", "rate", "the trace has times of its own; --speedup plays it faster"),
    ("trace", "arrivals", "the trace has times of its own"),
    ("trace", "burstiness", "the trace has times of its own"),
    ("trace", "ramp_up", "the trace has times of its own"),
    ("trace", "turns", "the requests of a trace are on their own"),
    ("trace", "shared_prefix", "hash_ids of the trace say what is shared"),
    ("prompts", "suite", "the file has lengths of its own"),
    ("prompts", "input_len", "the file has lengths of its own"),
    ("prompts", "shared_prefix", "the prompts are those of the file"),
    ("prompts", "turns", "the prompts of a file are on their own"),
    ("prompts", "duration", "the file has so many prompts as it has; --requests takes fewer"),
    ("turns", "shared_prefix", "each turn shares what was said before"),
    ("turns", "suite", "a suite has requests on their own"),
)  # fmt: skip
"""Flags that contradict each other, and why."""
_NEED = (
    ("speedup", "trace"),
    ("think_time", "turns"),
    ("prefix_groups", "shared_prefix"),
)
"""Flags that say nothing without another."""


def perf_plan(
    load: LoadRequest, profile: Profile, engines: Sequence[EngineConfig], *, seed: int, together: bool
) -> PerfPlan:
    """The trials asked for.

    Raises:
        InputError: a value cannot be used, or a prompt and its answer do not fit a model's context.
    """
    _refuse_contradictions(load)
    suite = None if load.suite is None else load_perf_suite(load.suite)
    if "auto" in load.rate:
        return _automatic(load, profile, engines, suite, seed=seed, together=together)
    points = plan.points_of(_grids(load, profile.perf, suite, engines))
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
    return planned.model_copy(update={"stop_within": _stop_within(load)})


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


def _refuse_contradictions(load: LoadRequest) -> None:
    for one, other, why in _EXCLUDE:
        if load.given(one) and load.given(other):
            raise InputError(f"{_flag(one)} and {_flag(other)} exclude each other: {why}; give one of them")
    for one, other in _NEED:
        if load.given(one) and not load.given(other):
            raise InputError(f"{_flag(one)} says nothing without {_flag(other)}; add it, or leave {_flag(one)} out")
    for name in ("burstiness", "speedup"):
        value = getattr(load, name)
        if value is not None and not 0 < value < math.inf:
            more = "; 1 is Poisson, less is burstier" if name == "burstiness" else ""
            raise InputError(f"{_flag(name)} {value:g} is not above 0 and finite{more}")
    if load.arrivals is not None and load.arrivals not in _RATE_PROCESSES:
        raise InputError(f"--arrivals {load.arrivals} is unknown; write {', '.join(_RATE_PROCESSES)}")
    if load.burstiness is not None and load.arrivals not in (None, "gamma"):
        raise InputError(f"--burstiness shapes gamma arrivals, not {load.arrivals}; write --arrivals gamma")
    if load.duration is not None and not 0 < load.duration < math.inf:
        raise InputError(f"--duration {load.duration:g} is no time; give seconds above 0")
    if load.shared_prefix is not None and not 0 <= load.shared_prefix < 1:
        raise InputError(f"--shared-prefix {load.shared_prefix:g} is no share; give 0 or more and below 1")
    if load.turns is not None and load.turns < 2:
        raise InputError(f"--turns {load.turns} is no conversation; give 2 or more, or leave it out")
    for name in ("trace", "prompts"):
        path = getattr(load, name)
        if path is not None and not path.is_file():
            raise InputError(f"{_flag(name)} {path} is not there; give a file")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


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
    if len(load.rate) > 1 or load.concurrency:
        raise InputError("--rate auto finds the rates itself; leave out other rates, --concurrency and --trace")
    if load.ramp_up is not None:
        raise InputError("--rate auto begins each rate at once; leave out --ramp-up, or give the rates")
    if load.duration is not None:
        raise InputError("--rate auto sends batches of known size; give --requests instead of --duration")
    at_once = replace(load, rate=("inf",), arrivals=None, burstiness=None)
    points = list({p.input_len: p for p in plan.points_of(_grids(at_once, profile.perf, suite, engines))}.values())
    context = min(config.spec.max_model_len for config in engines)
    requests = load.requests or max(point.requests or 0 for point in points) or profile.perf.requests
    for point in points:
        check_point(point.model_copy(update={"requests": requests}), context, load.workers)
    objective = None if load.slo is None else notation.parse_objective(load.slo)
    process, burstiness = _process(load)
    auto = AutoRates.model_validate(
        {
            "points": [p.model_copy(update={"requests": max(_LEAST_BATCH, requests // 4)}) for p in points],
            "requests": requests,
            "process": process,
            "burstiness": burstiness,
            "objective": load.slo,
            "share": 0.9 if objective is None else objective.share,
            "arms": [config.spec.arm for config in engines],
            "repeats": load.repeats or (suite.repeats if suite else profile.perf.repeats),
            "together": together,
        }
    )
    name = suite.name if suite else None
    return PerfPlan(suite=name, seed=seed, trials=(), auto=auto, stop_within=_stop_within(load))


def _stop_within(load: LoadRequest) -> float | None:
    text = load.stop_when_ratio_within
    return None if text is None else notation.parse_share(text, "--stop-when-ratio-within")


def _grids(
    load: LoadRequest, defaults: PerfDefaults, suite: PerfSuite | None, engines: Sequence[EngineConfig]
) -> list[plan.Grid]:
    bases = plan.grids_of_suite(suite) if suite else [_default_grid(defaults)]
    asked: dict[str, Any] = {}
    if load.input_len:
        lengths = tuple(notation.parse_length(text, "--input-len") for text in load.input_len)
        if {length for base in bases for length in base.input_len}.issuperset(lengths):
            bases = plan.of_lengths(bases, lengths)
        else:
            asked["input_len"] = lengths
    if load.output_len:
        asked["output_len"] = notation.parse_length(load.output_len, "--output-len")
    if load.warmup is not None:
        asked["warmup_requests"] = load.warmup
    if load.requests is not None or load.duration is not None:
        asked |= {"requests": load.requests, "duration_s": load.duration, "total_prompt_tokens": None}
    asked["rest"] = {"form": _form(load)}
    if load.trace is not None:
        asked |= _of_trace(load.trace, load, asked["rest"])
    if load.prompts is not None:
        asked |= _of_prompts(load.prompts, load, asked["rest"], engines)
    grids = [replace(base, **asked, arrivals=_arrivals(load, base.arrivals)) for base in bases]
    return [replace(grid, rest={**grid.rest, **_shared(grid, load)}) for grid in grids]


def _default_grid(defaults: PerfDefaults) -> plan.Grid:
    return plan.Grid(
        input_len=tuple(Length(mean=n) for n in defaults.input_len),
        output_len=Length(mean=defaults.output_len),
        arrivals=tuple(plan.arrivals_at(rate) for rate in defaults.rate),
        requests=defaults.requests,
        duration_s=None,
        warmup_requests=1,
    )


def _process(load: LoadRequest) -> tuple[str, float]:
    """A burstiness alone means gamma arrivals, as it says nothing else."""
    if load.burstiness is not None:
        return "gamma", load.burstiness
    return load.arrivals or "poisson", 1.0


def _arrivals(load: LoadRequest, usual: tuple[Arrivals, ...]) -> tuple[Arrivals, ...]:
    """Rates or a trace, each under every cap where --concurrency is given as well; else closed loops.

    Args:
        usual: those of the profile or the suite, taken where no rate is given, in the shape that is asked for.
    """
    shape = [name for name in ("arrivals", "burstiness", "ramp_up") if load.given(name)]
    if load.trace is not None:
        found = [_replay(load.trace, load)]
    elif load.rate:
        found = [_shaped(plan.arrivals_at(notation.parse_rate(text, "--rate")), load) for text in load.rate]
    elif load.concurrency and not shape:
        return tuple(Arrivals(process="closed-loop", concurrency=n) for n in load.concurrency)
    else:
        found = [_shaped(a, load) for a in usual]
    if shape and not any(a.rate for a in found):
        raise InputError(f"{_flag(shape[0])} says how requests of a rate come; give a finite --rate")
    if not load.concurrency:
        return tuple(found)
    if not all(PROCESSES[a.process].paced for a in found):
        raise InputError("--rate inf with --concurrency is a closed loop; leave out --rate inf")
    return tuple(a.model_copy(update={"concurrency": n}) for a in found for n in load.concurrency)


def _replay(path: Path, load: LoadRequest) -> Arrivals:
    wanted, speedup = _wanted(path, load), load.speedup or 1.0
    if not len(wanted):
        raise InputError("the first request of the file comes after --duration; give more seconds")
    left_out = f", {wanted.left_out} unanswered left out" if wanted.left_out else ""
    return Arrivals(
        process="trace",
        trace=str(path),
        trace_format=f"{wanted.format}, {wanted.unit}{left_out}",
        speedup=speedup,
        span_s=float(wanted.at_s[-1]) / speedup,
    )


def _shaped(arrivals: Arrivals, load: LoadRequest) -> Arrivals:
    """A rate in the process and with the ramp-up asked for; what has no rate as it is."""
    if arrivals.rate is None:
        return arrivals
    if load.arrivals is not None or load.burstiness is not None:
        arrivals = plan.arrivals_at(arrivals.rate, *_process(load))
    ramp_up_s = 0.0 if load.ramp_up is None else notation.parse_duration(load.ramp_up, "--ramp-up")
    return arrivals.model_copy(update={"ramp_up_s": ramp_up_s})


def _form(load: LoadRequest) -> RequestForm:
    if load.endpoint not in ("completions", "chat"):
        raise InputError(f"--endpoint {load.endpoint} is unknown; write completions or chat")
    if load.prompt_as not in (None, "ids", "text"):
        raise InputError(f"--prompt-as {load.prompt_as} is unknown; write ids or text")
    chat = load.endpoint == "chat"
    if chat and load.prompt_as == "ids":
        raise InputError("--endpoint chat takes text, not token ids; leave out --prompt-as ids")
    as_text = chat or load.prompt_as == "text" or (load.prompts is not None and load.prompt_as is None)
    return RequestForm.model_validate(
        {
            "endpoint": load.endpoint,
            "prompt": "text" if as_text else "ids",
            "ignore_eos": load.ignore_eos,
            "extra_body": "" if load.extra_body is None else _body(load.extra_body),
        }
    )


_OURS = ("prompt", "messages", "model", "stream", "max_tokens", "max_completion_tokens", "n")
"""Fields of a request that the measurement rests on."""


def _body(text: str) -> str:
    """The JSON object of --extra-body, in one way of writing."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as e:
        raise InputError(f"--extra-body is no JSON at column {e.colno} ({e.msg}); give an object") from e
    except RecursionError as e:
        raise InputError("--extra-body nests too deep; give an object") from e
    if not isinstance(value, dict):
        raise InputError('--extra-body is no JSON object; write {"top_p": 0.9}')
    for name in value:
        if name in _OURS:
            raise InputError(f"--extra-body may not hold `{name}`, which the plan sets; use the option for it")
        if redaction.is_secret(name):
            raise InputError(f"--extra-body holds `{name}`, a secret that would be recorded; use OPENAI_API_KEY")
    return json.dumps(value, sort_keys=True)


def _of_trace(path: Path, load: LoadRequest, rest: dict[str, Any]) -> dict[str, Any]:
    """Lengths, size and hits as the file has them: one point, of every request unless fewer were asked for."""
    wanted = _wanted(path, load)
    hits = wanted.expected_hits
    return {
        "input_len": (_measured(wanted.input_tokens),),
        "output_len": _measured(wanted.output_tokens),
        "requests": None if load.duration is not None else load.requests or len(wanted),
        "total_prompt_tokens": None,
        "rest": rest | {"file_hash": _digest(path)} | ({} if hits is None else {"expected_hits": hits}),
    }


def _wanted(path: Path, load: LoadRequest) -> Trace:
    """The requests of a trace that are measured."""
    trace = read_trace(path)
    if load.duration is not None:
        return trace.first(int((trace.at_s / (load.speedup or 1.0) < load.duration).sum()))
    return trace if load.requests is None else trace.first(load.requests)


def _of_prompts(path: Path, load: LoadRequest, rest: dict[str, Any], engines: Sequence[EngineConfig]) -> dict[str, Any]:
    """Lengths as the file has them, in tokens of the engines' tokenizer."""
    file = read_prompt_file(path)
    texts, chat = texts_of(engines), load.endpoint == "chat"
    rows = file.rows[: load.requests]
    counted = [texts.count(row.prompt) if chat else len(texts.encode(row.prompt)) for row in rows]
    found: dict[str, Any] = {
        "input_len": (_measured(np.array(counted)),),
        "requests": None if load.duration is not None else load.requests or len(file.rows),
        "total_prompt_tokens": None,
        "rest": rest | {"prompts": str(path), "file_hash": _digest(path)},
    }
    if file.answered and load.output_len is None:
        found["output_len"] = _measured(np.array([max(1, texts.count(row.answer or "")) for row in rows]))
    return found


def _digest(path: Path) -> str:
    """What tells two files of one name apart."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _measured(tokens: Any) -> Length:
    """A length as a file has it: mean at four digits, smallest and largest."""
    if not len(tokens):
        raise InputError("the first request of the file comes after --duration; give more seconds")
    mean = float(f"{float(np.mean(tokens)):.4g}") if np.ptp(tokens) else float(tokens[0])
    return Length(distribution="measured", mean=mean, low=int(np.min(tokens)), high=int(np.max(tokens)))


def _shared(grid: plan.Grid, load: LoadRequest) -> dict[str, Any]:
    """What prompts share with each other, and the share of tokens that a prefix cache can then serve."""
    if load.turns is not None:
        think_s = 0.0 if load.think_time is None else notation.parse_duration(load.think_time, "--think-time", least=0)
        inputs, outputs = grid.input_len[0].mean, grid.output_len.mean
        sent = [(k + 1) * inputs + k * outputs for k in range(load.turns)]
        return {"turns": Turns(count=load.turns, think_s=think_s), "expected_hits": sum(sent[:-1]) / sum(sent)}
    share = load.shared_prefix
    if not share:
        return {}
    groups = load.prefix_groups or 1
    if grid.requests is not None and groups > grid.requests:
        raise InputError(f"--prefix-groups {groups} is above the {grid.requests} requests of a point; lower it")
    found: dict[str, Any] = {"shared_prefix": share}
    if load.prefix_groups is not None:
        n = grid.requests or (grid.duration_s or 0.0) * (grid.arrivals[0].rate or 1.0)
        # The first prompt of each group finds nothing; groups are drawn, so some may be empty.
        met = groups * (1 - (1 - 1 / groups) ** n)
        found |= {"prefix_groups": groups, "expected_hits": share * (1 - met / max(1.0, n))}
    return found


def texts_of(engines: Sequence[EngineConfig]) -> Texts:
    """The tokenizer that texts are counted with: the first arm's.

    Raises:
        InputError: it cannot be read.
    """
    return load_texts(tokenizer_file(engines[0].spec.tokenizer))
