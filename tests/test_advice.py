"""What a run that is not complete is told: true for what ended it."""

from typing import get_args

import pytest

from swiftkv_bench import advice, errors
from swiftkv_bench.advice import STEPS, cause_of, next_step, of_column, of_trial
from swiftkv_bench.schema.accuracy import NO_DATA
from swiftkv_bench.schema.manifest import Cause, RunPlan
from swiftkv_bench.schema.perf import Arrivals
from tests.synthetic import manifest, point, trial_record

CAUSES: dict[type[BaseException], Cause] = {
    KeyboardInterrupt: "interrupted",
    errors.StorageError: "disk",
    errors.EngineError: "engine",
    errors.ProbeError: "probe",
    errors.ScoringError: "answer",
    errors.InputError: "refused",
    errors.IncomparableError: "refused",
}
GOES_ON: dict[Cause, tuple[bool, str]] = {
    "interrupted": (True, "nothing else is needed"),
    "disk": (True, "room"),
    "engine": (True, "mend"),
    "refused": (False, "refused"),
    "probe": (True, "Mend"),
    "answer": (True, "log"),
    "trials": (True, "Mend"),
    "budget": (True, "--budget"),
}
"""Whether the same command does something, and a word of what must come first."""


def test_every_cause_has_its_step_and_every_class_its_cause() -> None:
    assert STEPS.keys() == GOES_ON.keys() == set(get_args(Cause))
    assert {kind: cause_of(kind.__new__(kind)) for kind in CAUSES} == CAUSES


@pytest.mark.parametrize("cause", get_args(Cause))
def test_the_same_command_is_advised_only_where_it_goes_on(cause: Cause) -> None:
    goes_on, first = GOES_ON[cause]
    assert ("same command is refused" in STEPS[cause]) != goes_on
    assert first in STEPS[cause] or cause == "interrupted"
    found = manifest("r", RunPlan()).model_copy(update={"status": "incomplete", "causes": (cause,)})
    assert next_step(found) == STEPS[cause]


def test_several_causes_are_all_told_and_an_older_run_has_none() -> None:
    found = manifest("r", RunPlan()).model_copy(update={"status": "incomplete", "causes": ("trials", "budget")})
    assert next_step(found) == f"{STEPS['trials']} {STEPS['budget']}"
    assert next_step(found.model_copy(update={"causes": ()})) == advice.NO_STEP
    assert next_step(found.model_copy(update={"status": "running"})) == advice.KILLED


@pytest.mark.parametrize(
    ("status", "reason", "cause"),
    [
        ("interrupted", "stopped by the user", "interrupted"),
        ("failed", "no request succeeded", "trials"),
        ("failed", "the probe `context length` failed: 1 token served", "probe"),
    ],
)
def test_a_trial_is_told_what_helps_it(status: str, reason: str, cause: Cause) -> None:
    record = trial_record(point(8, Arrivals(process="poisson", rate=1.0), 1))
    assert of_trial(record.model_copy(update={"status": status, "reason": reason})) == STEPS[cause]


@pytest.mark.parametrize(
    ("status", "reason", "step"),
    [
        ("not run", f"{NO_DATA}: no folder", advice.DATA),
        ("not run", "the probe `right answers` failed: wrong", STEPS["probe"]),
        ("not run", "the engine has no exact way to score texts", STEPS["probe"]),
        ("incomplete", "document 3 of task t: no number", advice.ASKED),
        ("incomplete", None, advice.ASKED),
    ],
)
def test_a_column_is_told_what_helps_it(status: str, reason: str | None, step: str) -> None:
    assert of_column(status, reason) == step
