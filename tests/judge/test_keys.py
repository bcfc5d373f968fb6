"""What two runs must have in common, refused by name."""

from pathlib import Path
from typing import Any

import pytest

from swiftkv_bench.errors import IncomparableError, InputError
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.schema.manifest import Machine, Manifest
from swiftkv_bench.store import Run
from tests.judge.planted import answered, compared, loaded, right

SCORES: Any = {("gsm8k", "baseline", 0): right(200, 150), ("gsm8k", "swiftkv", 0): right(200, 150)}
OTHER_MACHINE = Machine(platform="Linux x86_64", cpu="Imaginary 9001", logical_cpus=64, memory_bytes=2**38)


def _with_engines(run: Run, **changes: Any) -> dict[str, Any]:
    found: Manifest = run.manifest
    return {"engines": tuple(spec.model_copy(update=changes) for spec in found.engines)}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return answered(tmp_path / "a", SCORES)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"suite_hash": "other"}, "suite"),
        ({"machine": OTHER_MACHINE}, "hardware"),
        ({"engine": {"model": "meta-llama/Llama-3.2-1B-Instruct"}}, "model.baseline"),
        ({"engine": {"args": {"max-num-batched-tokens": 8192, "no-enable-prefix-caching": True}}},
         "engine.max-num-batched-tokens"),
        ({"engine": {"args": {"max-num-batched-tokens": 2048}}}, "engine.no-enable-prefix-caching"),
        ({"engine": {"max_model_len": 1000}}, "engine.max-model-len"),
        ({"engine": {"kind": "vllm"}}, "engine.kind"),
    ],
)  # fmt: skip
def test_a_key_that_differs_is_refused_by_name_and_allowed_by_name(
    run: Run, tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    engine = changes.pop("engine", None) if "engine" in changes else None
    more = changes if engine is None else _with_engines(run, **engine)
    other = answered(tmp_path / "b", SCORES, **more)
    with pytest.raises(IncomparableError, match=f"--allow {key}") as caught:
        compared(run, other)
    assert caught.value.key == key
    allowed = compared(run, other, allow=(key.split(".")[0],))
    assert {k.key for k in allowed.keys if k.status == "allowed"} >= {key}


def test_an_engine_setting_named_as_the_variable_may_differ(run: Run, tmp_path: Path) -> None:
    other = answered(tmp_path / "b", SCORES, **_with_engines(run, max_model_len=1000))
    found = compared(run, other, Policy(variables=("engine.max-model-len",)))
    assert [(k.key, k.reference, k.candidate) for k in found.keys if k.status == "variable"] == [
        ("engine.max-model-len", "40000", "1000")
    ]


def test_a_mirror_of_the_same_model_is_the_same_model(run: Run, tmp_path: Path) -> None:
    engines = tuple(spec.model_copy(update={"model": f"/mirror/{spec.model}"}) for spec in run.manifest.engines)
    compared(run, answered(tmp_path / "b", SCORES, engines=engines))


def test_versions_may_differ_and_are_noted(run: Run, tmp_path: Path) -> None:
    other = answered(tmp_path / "b", SCORES, packages={"vllm": "0.33.0", "torch": "2.13.0", "lm_eval": "0.4.13"})
    noted = {k.key: (k.reference, k.candidate) for k in compared(run, other).keys if k.status == "noted"}
    assert noted == {"package.vllm": ("0.32.0", "0.33.0")}


def test_an_unknown_key_to_allow_is_an_error(run: Run) -> None:
    with pytest.raises(InputError, match="--allow moon is no key"):
        compared(run, run, allow=("moon",))


def test_runs_of_different_kinds_have_nothing_in_common(run: Run, tmp_path: Path) -> None:
    load = loaded(tmp_path / "b", {"baseline": [0.1, 0.1], "swiftkv": [0.1, 0.1]})
    with pytest.raises(InputError, match="no accuracy column and no load point in common"):
        compared(run, load)
