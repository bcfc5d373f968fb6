"""Findings about the answers of a column, and how findings are put together."""

import numpy as np
import pytest

from swiftkv_bench.checks import (
    Finding,
    check_answers,
    check_chance,
    check_margin,
    check_reached,
    check_unparsed,
    merge,
)  # fmt: skip
from swiftkv_bench.stats.items import compare_items, score


def test_cut_prompts_and_unfinished_answers_are_counted() -> None:
    found = check_answers("gsm8k", "swiftkv", n=100, truncated=2, unfinished=3)
    assert [(f.code, f.severity, f.column, f.arm) for f in found] == [
        ("truncated-prompts", "warning", "gsm8k", "swiftkv"),
        ("unfinished-answers", "note", "gsm8k", "swiftkv"),
    ]
    assert check_answers("gsm8k", "swiftkv", n=100, truncated=0, unfinished=0) == []


@pytest.mark.parametrize(("unparsed", "reference", "found"), [(5, 5, False), (5, 4, True), (4, 8, False)])
def test_a_rise_of_unparsed_answers_by_a_point_is_a_warning(unparsed: int, reference: int, found: bool) -> None:
    assert (check_unparsed("gsm8k", "swiftkv", 100, unparsed, reference) is not None) == found


def test_chance_level_is_when_no_arm_is_better_than_guessing() -> None:
    guess = score(np.array([1.0] * 25 + [0.0] * 75), ["t"] * 100)
    able = score(np.array([1.0] * 60 + [0.0] * 40), ["t"] * 100)
    assert check_chance("arc", 0.25, [guess, guess]) is not None
    assert check_chance("arc", 0.25, [able, guess]) is None
    assert check_chance("gsm8k", None, [guess]) is None


def test_a_margin_within_the_noise_is_refused() -> None:
    rng = np.random.default_rng(0)
    first, again = rng.integers(0, 2, (2, 100)).astype(float)
    noise = compare_items(first, again, ["t"] * 100)
    assert check_margin("arc", noise, 0.025) is not None
    assert check_margin("arc", noise, 0.5) is None


def test_findings_alike_become_one_that_counts_its_trials_worst_first() -> None:
    note = Finding("a", "note", "first", "next", point="p", arm="baseline")
    other = Finding("a", "note", "second", "next", point="p", arm="swiftkv")
    bad = Finding("b", "invalid", "bad", "next", point="p", arm="baseline")
    assert merge([note, note, other, bad]) == (
        bad,
        Finding("a", "note", "first", "next", point="p", arm="baseline", trials=2),
        other,
    )


def test_a_column_that_is_not_complete_says_why() -> None:
    assert check_reached("arc", "baseline", "complete", None) is None
    found = [check_reached("arc", "baseline", status, "data not present") for status in ("not run", "incomplete")]
    assert [(f.severity, f.message) for f in found if f is not None] == [
        ("note", "Not run: data not present."),
        ("warning", "Incomplete: data not present."),
    ]
