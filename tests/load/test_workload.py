"""Prompts: exact lengths, uniqueness, shared prefixes, distributions, files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.workload import Prompt, Vocabulary, build, lengths, read_prompts
from swiftkv_bench.schema.perf import Arrivals, Length, Point

VOCABULARY = Vocabulary(((3, 100), (110, 1000)))
AT_ONCE = Arrivals(process="all-at-once")


def point(input_len: Length | float = 20, output_len: Length | float = 4, **fields: Any) -> Point:
    def as_length(value: Length | float) -> Length:
        return value if isinstance(value, Length) else Length(mean=value)

    return Point.model_validate(
        {"input_len": as_length(input_len), "output_len": as_length(output_len), "arrivals": AT_ONCE, **fields}
    )


def prompts(of: Point, n: int, seed: int = 0) -> list[Prompt]:
    return build(of, n, np.random.default_rng(seed), VOCABULARY)


def ids(prompt: Prompt) -> list[int]:
    assert prompt.token_ids is not None
    return [int(token) for token in prompt.token_ids]


@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 2**32))
def test_prompts_have_exactly_the_length_asked_and_ids_of_the_vocabulary(length: int, n: int, seed: int) -> None:
    found = prompts(point(length, 9), n, seed)
    assert [prompt.tokens for prompt in found] == [length] * n
    assert [prompt.output_tokens for prompt in found] == [9] * n
    allowed = {*range(3, 100), *range(110, 1000)}
    assert all(set(ids(prompt)) <= allowed for prompt in found)


def test_every_id_of_the_vocabulary_is_drawn_equally_often() -> None:
    drawn = np.concatenate([ids(prompt) for prompt in prompts(point(100), 900)])
    counts = np.bincount(drawn, minlength=1000)[[*range(3, 100), *range(110, 1000)]]
    assert stats.chisquare(counts).pvalue > 0.01


def test_prompts_differ_at_their_first_token_as_far_as_the_vocabulary_reaches() -> None:
    found = prompts(point(20), VOCABULARY.size)
    assert len({ids(prompt)[0] for prompt in found}) == VOCABULARY.size


def test_no_block_of_one_prompt_begins_another_beyond_the_vocabulary_either() -> None:
    found = prompts(point(32), 3 * VOCABULARY.size)
    assert len({tuple(ids(prompt)[:16]) for prompt in found}) == len(found)


def test_two_seeds_share_no_prompt_and_one_seed_gives_the_same() -> None:
    first, again, other = (prompts(point(32), 50, seed) for seed in (1, 1, 2))
    assert [ids(p) for p in first] == [ids(p) for p in again]
    assert not {tuple(ids(p)[:16]) for p in first} & {tuple(ids(p)[:16]) for p in other}


@pytest.mark.parametrize(("share", "tokens"), [(0.0, 0), (0.25, 25), (0.5, 50), (0.999, 99)])
def test_the_shared_share_is_equal_in_all_and_the_rest_differs_from_its_first_token(share: float, tokens: int) -> None:
    found = [ids(prompt) for prompt in prompts(point(100, shared_prefix=share), 40)]
    assert len({tuple(one[:tokens]) for one in found}) == 1
    assert len({one[tokens] for one in found}) == 40
    assert {prompt.shared_tokens for prompt in prompts(point(100, shared_prefix=share), 40)} == {tokens}


def test_a_prompt_shorter_than_the_shared_prefix_keeps_a_token_of_its_own() -> None:
    found = prompts(point(Length(distribution="uniform", mean=50, low=1, high=99), shared_prefix=0.9), 40)
    assert all(prompt.shared_tokens < prompt.tokens for prompt in found)
    assert len({tuple(ids(prompt)) for prompt in found}) == 40


def test_lognormal_lengths_have_their_mean_and_spread() -> None:
    found = lengths(Length(distribution="lognormal", mean=2000, sigma=0.5), 50_000, np.random.default_rng(0))
    assert found.mean() == pytest.approx(2000, rel=0.01)
    logs = (np.log(found) - (np.log(2000) - 0.125)) / 0.5
    assert stats.kstest(logs[:5000], stats.norm.cdf).pvalue > 0.01


@given(st.integers(1, 5000), st.floats(0, 2), st.integers(1, 400), st.integers(400, 4000))
def test_lognormal_lengths_are_whole_and_within_their_bounds(mean: int, sigma: float, low: int, high: int) -> None:
    length = Length(distribution="lognormal", mean=mean, sigma=sigma, low=low, high=high)
    found = lengths(length, 200, np.random.default_rng(0))
    assert np.issubdtype(found.dtype, np.integer)
    assert low <= found.min() <= found.max() <= high


def test_uniform_lengths_reach_both_ends_equally_often() -> None:
    length = Length(distribution="uniform", mean=20, low=10)
    found = lengths(length, 42_000, np.random.default_rng(0))
    assert (found.min(), found.max()) == (10, 30)
    assert stats.chisquare(np.bincount(found)[10:]).pvalue > 0.01


def test_an_empty_range_of_lengths_is_an_error() -> None:
    with pytest.raises(InputError, match="a uniform length from 30 to 10 is empty; give low below high"):
        lengths(Length(distribution="uniform", mean=20, low=30), 1, np.random.default_rng(0))


def test_lengths_of_prompts_follow_their_distribution() -> None:
    found = prompts(point(Length(distribution="uniform", mean=6, low=5, high=7), Length(mean=2)), 300)
    assert {prompt.tokens for prompt in found} == {5, 6, 7}


def test_a_prompt_may_hold_any_separator_but_a_line_feed(tmp_path: Path) -> None:
    texts = ["one\u2028two", "three\x85four\x0b", "five"]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}, ensure_ascii=False) + "\n" for text in texts))
    assert read_prompts(path, 3) == texts


def test_a_trace_gives_both_lengths(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    rows = [{"timestamp": i, "input_length": 5 + i, "output_length": 2 + i} for i in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = prompts(point(arrivals=Arrivals(process="trace", trace=str(path))), 3)
    assert [(prompt.tokens, prompt.output_tokens) for prompt in found] == [(5, 2), (6, 3), (7, 4)]


def test_texts_come_from_a_file_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "one", "id": 7}\n\n{"prompt": "zwei \u00fc"}\n{"prompt": "three"}\n')
    of = point(output_len=6, prompts=str(path))
    found = prompts(of, 2)
    assert [(p.text, p.token_ids, p.tokens, p.output_tokens) for p in found] == [
        ("one", None, -1, 6),
        ("zwei \u00fc", None, -1, 6),
    ]
    tokenised = build(of, 2, np.random.default_rng(0), VOCABULARY, tokenise=lambda text: list(text.encode()))
    assert [ids(prompt) for prompt in tokenised] == [list(b"one"), list("zwei \u00fc".encode())]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\n', r"p.jsonl has 1 prompts, 2 are asked for, and a repeated prompt would be served from"),
        ('{"prompt": "a"}\n{"text": "b"}\n', r"p.jsonl:2 is no prompt \(KeyError\('prompt'\)\); each line needs"),
        ("[" * 100_000 + "\n{}\n", r"p.jsonl:1 is no prompt \(RecursionError"),
        ('{"prompt": "a"}\n\noops\n', r"p.jsonl:3 is no prompt \(JSONDecodeError"),
        ('{"prompt": ""}\n{"prompt": "a"}\n', r"p.jsonl:1 has a `prompt` that is empty or no text; mend or delete"),
        ('{"prompt": 5}\n{"prompt": "a"}\n', r"p.jsonl:1 has a `prompt` that is empty or no text"),
    ],
)
def test_a_bad_file_of_prompts_is_one_sentence_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        prompts(point(prompts=str(path)), 2)
    assert "\n" not in str(raised.value)


def test_a_file_of_prompts_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the prompts .*; give a JSONL file with `prompt` on each line"):
        prompts(point(prompts=str(tmp_path / "none.jsonl")), 1)


def test_a_vocabulary_without_ids_is_an_error() -> None:
    with pytest.raises(InputError, match="the vocabulary has 1 usable token ids; random prompts need at least 2"):
        build(point(), 1, np.random.default_rng(0), Vocabulary(((4, 5),)))
