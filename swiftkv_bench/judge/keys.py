"""What two runs must have in common before their figures may be compared, and what else is known to differ."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from swiftkv_bench.errors import IncomparableError, InputError
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.policy import suggestion
from swiftkv_bench.schema.base import Record
from swiftkv_bench.schema.engine import Arm, EngineSpec
from swiftkv_bench.schema.manifest import Machine

_UNSET = "not set"


class KeyCheck(Record):
    """One thing that a comparison holds fixed, or that is known to differ."""

    key: str = Field(description="name, as --allow takes it")
    reference: str = Field(description="value on the reference side")
    candidate: str = Field(description="value on the candidate side")
    status: Literal["equal", "allowed", "variable", "noted"] = Field(
        description="equal; differs and --allow was given; differs and the policy names it as the variable; "
        "differs and need not be equal (package versions, commit)"
    )


def check_keys(
    reference: Evidence, candidate: Evidence, *, allow: Sequence[str], variables: Sequence[str]
) -> tuple[KeyCheck, ...]:
    """Every key of two runs.

    `allow` and `variables` name keys that may differ; a key's first part stands for all below it (`engine` for
    `engine.max-num-seqs`).

    Raises:
        IncomparableError: a key differs and may not.
        InputError: `allow` or `variables` names something that is no key.
    """
    held, noted = _held(reference, candidate), _noted(reference, candidate)
    known = {part for key in held for part in (key, key.split(".")[0])} | {"engine", "suite", "slo"}
    for name in allow:
        if name not in known:
            raise InputError(
                f"--allow {name} is no key of this comparison{suggestion(name, known)}; keys are "
                f"{', '.join(sorted(known))}"
            )
    for name in variables:
        if name.split(".")[0] not in known | {"model", "hardware"}:
            raise InputError(
                f"the policy's variables: {name} is no key of a comparison{suggestion(name, known)}; keys are "
                f"{', '.join(sorted(known))}"
            )
    checks = []
    for key, (a, b) in held.items():
        if a == b:
            checks.append(KeyCheck(key=key, reference=a, candidate=b, status="equal"))
        elif _named(key, allow):
            checks.append(KeyCheck(key=key, reference=a, candidate=b, status="allowed"))
        elif _named(key, variables):
            checks.append(KeyCheck(key=key, reference=a, candidate=b, status="variable"))
        else:
            raise IncomparableError(
                key,
                f"{key} differs: {a} in {reference.side.label} and {b} in {candidate.side.label}, so a difference in "
                f"figures would not be the engine's; give --allow {key} if it is what you compare",
            )
    differing = {key: pair for key, pair in noted.items() if pair[0] != pair[1]}
    return (*checks, *(KeyCheck(key=k, reference=a, candidate=b, status="noted") for k, (a, b) in differing.items()))


def same_model(reference: Evidence, candidate: Evidence, arm: Arm) -> bool:
    """Both runs served the same weights on that arm."""
    specs = [side.spec(arm) for side in (reference, candidate)]
    return specs[0] is not None and specs[1] is not None and _model(specs[0]) == _model(specs[1])


def same_engine(reference: Evidence, candidate: Evidence, arm: Arm) -> bool:
    """Model, settings and every known version of what serves the arm are the same in both runs."""
    specs = [side.spec(arm) for side in (reference, candidate)]
    if specs[0] is None or specs[1] is None or not same_model(reference, candidate, arm):
        return False
    versions = [side.side.engine_versions.get(arm) for side in (reference, candidate)]
    packages = [
        {name: v for name, v in side.side.packages.items() if name != "swiftkv-bench"}
        for side in (reference, candidate)
    ]
    return _settings(specs[0]) == _settings(specs[1]) and versions[0] == versions[1] and packages[0] == packages[1]


def _named(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _held(reference: Evidence, candidate: Evidence) -> dict[str, tuple[str, str]]:
    """Key -> value on either side."""
    found = {}
    plans = [side.manifest.plan.accuracy for side in (reference, candidate)]
    if plans[0] is not None and plans[1] is not None:
        a, b = (f"{plan.suite} {plan.suite_hash}" for plan in plans if plan is not None)
        found["suite"] = (a, b)
    arms = [arm for arm in reference.arms if arm in candidate.arms]
    for arm in arms:
        pair = [spec for spec in (reference.spec(arm), candidate.spec(arm)) if spec is not None]
        found[f"model.{arm}"] = (_model(pair[0]), _model(pair[1]))
    a, b = (_hardware(side.manifest.machine) for side in (reference, candidate))
    found["hardware"] = (a, b)
    found |= _engine_keys(reference, candidate, arms)
    objectives = [side.objective for side in (reference, candidate)]
    if objectives[0] is not None and objectives[1] is not None:
        found["slo"] = (objectives[0].text, objectives[1].text)
    return found


def _engine_keys(reference: Evidence, candidate: Evidence, arms: Sequence[Arm]) -> dict[str, tuple[str, str]]:
    """`engine.<setting>`: the value, or both arms' values where they are not the same."""
    out = {}
    settings = [{arm: _settings(side.spec(arm)) for arm in arms} for side in (reference, candidate)]
    names = {name: None for side in settings for of_arm in side.values() for name in of_arm}
    for name in names:
        a, b = (_by_arm({arm: of_arm.get(name, _UNSET) for arm, of_arm in side.items()}) for side in settings)
        out[f"engine.{name}"] = (a, b)
    return out


def _by_arm(values: Mapping[Arm, str]) -> str:
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{arm} {value}" for arm, value in values.items())


def _settings(spec: EngineSpec | None) -> dict[str, str]:
    if spec is None:
        return {}
    found = {"kind": spec.kind, "max-model-len": str(spec.max_model_len)}
    found |= {name: str(value) for name, value in spec.args.items()}
    return found | {f"env:{name}": value for name, value in spec.env.items()}


def _noted(reference: Evidence, candidate: Evidence) -> dict[str, tuple[str, str]]:
    """What may differ, for it is what a comparison is made for, and must be seen."""
    sides = [reference.side, candidate.side]
    names = {name: None for side in sides for name in side.packages}
    found = {f"package.{n}": (sides[0].packages.get(n, _UNSET), sides[1].packages.get(n, _UNSET)) for n in names}
    for arm in reference.arms:
        versions = [side.engine_versions.get(arm, "unknown") for side in sides]
        found[f"engine-version.{arm}"] = (versions[0], versions[1])
    commits = [_UNSET if s.git is None else f"{s.git.commit[:12]}{'+' if s.git.dirty else ''}" for s in sides]
    found["commit"] = (commits[0], commits[1])
    found["harness"] = (sides[0].harness_version, sides[1].harness_version)
    found["profile"] = (sides[0].profile, sides[1].profile)
    return found


def _model(spec: EngineSpec) -> str:
    """By content where it is known; else by the last part of its name, so that a mirror is the same model."""
    name = spec.model.rstrip("/").rsplit("/", 1)[-1]
    parts = [name if spec.model_config_hash is None else spec.model_config_hash]
    return " ".join([*parts, *([spec.revision] if spec.revision is not None else [])])


def _hardware(machine: Machine) -> str:
    gpus = ", ".join(gpu.name for gpu in machine.accelerators) or "no GPU"
    return f"{machine.cpu or 'unknown CPU'}, {machine.logical_cpus} processors, {gpus}"
