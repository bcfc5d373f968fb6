"""How far two answers are apart, and what counts as rounding."""

import math

import pytest

from swiftkv_bench.engines.probes.asking import Answer, Gap, Limit, gap, rounding
from swiftkv_bench.schema.engine import EngineSpec, OptionValue


def _answer(tokens: str, logprobs: list[float], tops: list[dict[str, float]] | None = None) -> Answer:
    return Answer(tuple(tokens), tuple(logprobs), tuple(tops or [{} for _ in tokens]))


def test_equal_answers_have_no_gap() -> None:
    one = _answer("ab", [-1.0, -2.0])
    assert gap([one], [one]) == Gap(mean=0.0, worst=0.0, tokens=2, answers=1, changed=0)


def test_a_gap_is_mean_and_largest_over_all_tokens() -> None:
    found = gap([_answer("ab", [-1.0, -2.0])], [_answer("ab", [-1.25, -1.25])])
    assert found == Gap(mean=0.5, worst=0.75, tokens=2, answers=1, changed=0)


def test_after_a_token_that_differs_the_texts_are_no_longer_the_same() -> None:
    # At the first token both alternatives are known to both sides: 0.1 apart for each.
    one = _answer("ax", [-1.0, -9.0], [{"b": -1.2}, {}])
    other = _answer("bx", [-1.1, -1.0], [{"a": -1.1}, {}])
    found = gap([one], [other])
    assert (found.tokens, found.changed) == (1, 1)
    assert found.worst == pytest.approx(0.1)


def test_a_token_unknown_to_the_other_side_counts_as_its_least_likely_alternative() -> None:
    one = _answer("a", [-0.5], [{"c": -4.0}])
    other = _answer("b", [-0.5], [{"a": -0.6}])
    assert gap([one], [other]).worst == pytest.approx(3.5)


def test_a_value_that_is_no_number_is_infinitely_far() -> None:
    assert gap([_answer("a", [math.nan])], [_answer("a", [-1.0])]).worst == math.inf


def test_noise_raises_a_limit_and_never_lowers_it() -> None:
    noise = Gap(mean=0.1, worst=0.05, tokens=9, answers=1, changed=0)
    assert Limit(0.06, 0.4).at_least(noise) == Limit(0.4, 0.4)


@pytest.mark.parametrize(
    ("args", "dtype", "worst"),
    [
        ({"dtype": "float32"}, "bfloat16", 0.01),
        ({}, "float32", 0.01),
        ({"dtype": "auto"}, "float32", 0.01),
        ({"dtype": "bfloat16"}, "float32", 0.4),
        ({}, None, 0.4),
    ],
)
def test_rounding_is_that_of_the_type_the_engine_computes_in(
    args: dict[str, OptionValue], dtype: str | None, worst: float
) -> None:
    spec = EngineSpec(
        arm="swiftkv", kind="vllm", model="m", tokenizer="m", max_model_len=8, args=args,
        architecture={"torch_dtype": dtype},
    )  # fmt: skip
    assert rounding(spec).worst == worst
