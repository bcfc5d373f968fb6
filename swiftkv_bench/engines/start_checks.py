"""Why engines would not start or not do what is asked, known from files, options and the machine before one starts.

What an engine itself can do is decided in ``swiftkv.limits``; here it is filled in for every arm, and the cards and the
memory of the machine are held beside what the arms need.
"""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from swiftkv_bench import provenance
from swiftkv_bench.engines.engine_facts import config_of, facts_of, options_of
from swiftkv_bench.engines.memory import Hardware, machine_refusals, need_of
from swiftkv_bench.engines.resolve import MODES, EngineConfig
from swiftkv_bench.errors import EngineError, InputError
from swiftkv_bench.schema.engine import EngineSpec
from swiftkv_bench.swiftkv.facts import Facts
from swiftkv_bench.swiftkv.families import FAMILIES, is_swiftkv
from swiftkv_bench.swiftkv.limits import refusals
from swiftkv_bench.swiftkv.versions import Runner, default_runner, untested
from swiftkv_bench.units import counted, size

__all__ = ["ArmCheck", "check_start", "start_checks", "summary"]


_OWN = {
    "host": "leave it out",
    "max-model-len": "give it by --max-model-len",
    "model": "give it by --baseline-model or --swiftkv-model",
    "port": "give it by --baseline-port or --swiftkv-port",
    "served-model-name": "leave it out",
    "tokenizer": "give it by --tokenizer",
}
"""Options of an engine that the harness gives and needs to know, each with the way to say it."""


@dataclass(frozen=True)
class ArmCheck:
    """What is known of one arm before it starts.

    Attributes:
        refusals: sentences, each a reason why it would not start or not do what is asked.
        unknown: why its model could not be looked at; None when it was.
        untested: that its vLLM, model runner and device were never tested together with SwiftKV; None when they
            were, or there is no such vLLM on this machine.
    """

    arm: str
    refusals: tuple[str, ...]
    unknown: str | None = None
    untested: str | None = None


def start_checks(configs: Sequence[EngineConfig], *, together: bool, hardware: Hardware | None) -> tuple[ArmCheck, ...]:
    """Checks of every arm; one whose engine is not ours to start has no reason to be refused.

    Args:
        together: whether all are up at once.
        hardware: of the machine that they will start on; None when it is another than this, or not known.

    Raises:
        InputError: an option's value cannot be read.
    """
    found = [_arm(config.spec, here=hardware is not None) for config in configs]
    if hardware is None:
        return tuple(found)
    machine = machine_refusals([config.spec for config in configs], hardware, together=together)
    return tuple(replace(check, refusals=(*check.refusals, *machine.get(check.arm, ()))) for check in found)


def check_start(configs: Sequence[EngineConfig], *, together: bool, hardware: Hardware | None) -> None:
    """Refuse a run of which an engine would not start; see ``start_checks``.

    Raises:
        InputError: the first reason, with its arm.
    """
    for check in start_checks(configs, together=together, hardware=hardware):
        if check.refusals:
            raise InputError(f"{check.arm}: {check.refusals[0]}")


def summary(spec: EngineSpec) -> str:
    """What an engine would be asked to serve, in a line."""
    options = options_of(spec)
    config, need = config_of(spec, options) or {}, need_of(spec)
    form = facts_of(spec, spec.env, v2_runner=True).form
    parts = [f"{config.get('num_hidden_layers')} layers of {config.get('model_type')}"]
    if is_swiftkv(config):
        parts[0] += f", {config.get('num_key_value_layers')} with own K/V"
    if form.method is not None:
        parts.append(f"{form.method} by {form.scale}")
    if need is not None:
        parts.append(f"weights of {size(int(need.weight_bytes))}")
        if need.cache_bytes:
            parts.append(f"{size(int(need.cache_bytes))} of K/V for {spec.max_model_len:,} tokens")
        parts.append(f"at least {size(int(need.rank_bytes))} on each of {counted(need.ranks, 'rank')}")
    return ", ".join(parts)


def _arm(spec: EngineSpec, *, here: bool) -> ArmCheck:
    if spec.kind != "vllm":
        why = "a server of somebody else's" if spec.kind == "url" else "the fake engine"
        return ArmCheck(spec.arm, (), f"not checked: {why}")
    env = {**os.environ, **spec.env}
    try:
        facts = facts_of(spec, env, _takes_v2(spec, env, here=here))
    except EngineError as e:
        return ArmCheck(spec.arm, (str(e),))
    known = config_of(spec, options_of(spec)) is not None
    unknown = f"config.json of {spec.model} is not on this machine: only options were checked"
    refused = (*_purpose(spec, facts, known), *refusals(facts))
    return ArmCheck(spec.arm, refused, None if known else unknown, _untested(spec, "V2" if facts.v2_runner else "V1"))


def _untested(spec: EngineSpec, runner: Runner) -> str | None:
    release = provenance.engine_release(spec.python)
    if release is None or spec.arm not in MODES:
        return None
    return untested(release, runner, "CUDA" if provenance.accelerators() else "CPU")


def _purpose(spec: EngineSpec, facts: Facts, known: bool) -> list[str]:
    """What a benchmark needs of an engine that another use may not."""
    options = options_of(spec)
    found = [
        f"--{name} is {options[name]!r} among the engine's options, where the harness does not see it; {way}"
        for name, way in _OWN.items()
        if name in options
    ]
    if facts.runner_type == "pooling":
        found.append("--runner is 'pooling', which writes no text; drop it, or give 'generate'")
    if known and spec.arm in MODES and not facts.swiftkv:
        types = ", ".join(family.swiftkv_type for family in FAMILIES.values())
        found.append(
            f"config.json: model_type is {facts.config.get('model_type')!r}, no SwiftKV model ({types}); give one with"
            " --swiftkv-model, or make one with `swiftkv-bench distill`"
        )
    return found


def _takes_v2(spec: EngineSpec, env: Mapping[str, str], *, here: bool) -> bool:
    """Whether vLLM takes its V2 runner; a machine that is not this one is taken to have Triton."""
    chosen = env.get("VLLM_USE_V2_MODEL_RUNNER")
    if chosen is not None:
        return chosen.strip().lower() in ("1", "true")
    triton = not here or spec.python is not None or importlib.util.find_spec("triton") is not None
    return default_runner(provenance.engine_release(spec.python), triton=triton) == "V2"
