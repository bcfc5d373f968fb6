"""Another model behind the same address is told from the same one, by what it answers."""

import math

import pytest

from swiftkv_bench.engines.probes import another_model
from swiftkv_bench.engines.probes.asking import Answer
from swiftkv_bench.engines.probes.identity import recorded
from swiftkv_bench.schema.engine import Arm, EngineSpec
from swiftkv_bench.schema.manifest import Probe

SPEC = EngineSpec(arm="baseline", kind="url", model="unnamed model", tokenizer="t", max_model_len=512)


def _probe(*answers: Answer, arm: Arm = "baseline") -> Probe:
    """As a manifest on disk holds it."""
    probe = Probe(name="repeatable", arm=arm, status="pass", detail="", data=recorded(answers))
    return Probe.model_validate_json(probe.model_dump_json())


def _scored(*values: float) -> Answer:
    """Tokens 0, 1, 2, ... with these log-probabilities and no alternatives."""
    names = tuple(f"token_id:{i}" for i in range(len(values)))
    return Answer(names, values, tuple({name: value} for name, value in zip(names, values, strict=True)))


def test_the_same_answers_within_rounding_are_the_same_model() -> None:
    before, now = _probe(_scored(-1.0, -2.0)), _probe(_scored(-1.05, -2.05))
    assert another_model(SPEC, [before], [now]) is None


def test_answers_further_apart_than_rounding_are_another_models() -> None:
    before, now = _probe(_scored(-1.0, -2.0)), _probe(_scored(-1.5, -3.5))
    assert another_model(SPEC, [before], [now]) == (
        "log-probabilities of its greedy answers differ by 1 nat on average"
    )


def test_a_float32_engine_is_held_to_its_rounding() -> None:
    spec = SPEC.model_copy(update={"kind": "vllm", "args": {"dtype": "float32"}})
    before, now = _probe(_scored(-1.0, -2.0)), _probe(_scored(-1.05, -2.05))
    assert another_model(spec, [before], [now]) is not None


def test_without_log_probabilities_a_model_is_another_when_no_answer_is_the_same() -> None:
    a, b, c = (Answer((text,), (), ()) for text in "abc")
    assert another_model(SPEC, [_probe(a, b)], [_probe(a, c)]) is None
    assert another_model(SPEC, [_probe(a, b)], [_probe(b, c)]) == "none of its answers is the same"


@pytest.mark.parametrize(
    "before",
    [
        [],
        [_probe(_scored(-9.0), arm="swiftkv")],
        [Probe(name="repeatable", arm="baseline", status="pass", detail="", data={"equal": 3})],
    ],
    ids=["nothing recorded", "another arm's", "an engine that does not repeat itself, or an older version"],
)
def test_nothing_is_said_where_nothing_can_be(before: list[Probe]) -> None:
    assert another_model(SPEC, before, [_probe(_scored(-1.0))]) is None


def test_alternatives_that_json_cannot_hold_are_left_out() -> None:
    answer = Answer(("a",), (-1.0,), ({"a": -1.0, "b": -math.inf},))
    [kept] = recorded([answer])["greedy"]
    assert kept["tops"] == [{"a": -1.0}]
