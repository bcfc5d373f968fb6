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
from swiftkv_bench.load.texts import Texts, load_texts, read_prompt_file, read_prompts
from swiftkv_bench.load.workload import Prompt, Vocabulary, build, lengths
from swiftkv_bench.schema.perf import Arrivals, Length, Point
from swiftkv_bench.schema.traffic import RequestForm
from tests.byte_tokenizer import write_byte_tokenizer

VOCABULARY = Vocabulary(((3, 100), (110, 1000)))
AT_ONCE = Arrivals(process="all-at-once")


def point(input_len: Length | float = 20, output_len: Length | float = 4, **fields: Any) -> Point:
    def as_length(value: Length | float) -> Length:
        return value if isinstance(value, Length) else Length(mean=value)

    return Point.model_validate(
        {"input_len": as_length(input_len), "output_len": as_length(output_len), "arrivals": AT_ONCE, **fields}
    )


def prompts(of: Point, n: int, seed: int = 0) -> list[Prompt]:
    return [turns[0] for turns in build(of, n, np.random.default_rng(seed), VOCABULARY)]


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
    assert [row.prompt for row in read_prompts(path, 3)] == texts


def test_a_trace_gives_both_lengths(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    rows = [{"timestamp": i, "input_length": 5 + i, "output_length": 2 + i} for i in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = prompts(point(arrivals=Arrivals(process="trace", trace=str(path))), 3)
    assert [(prompt.tokens, prompt.output_tokens) for prompt in found] == [(5, 2), (6, 3), (7, 4)]


def test_blocks_of_a_trace_are_equal_where_its_ids_are(tmp_path: Path) -> None:
    lengths_and_ids = [(1000, [7, 8]), (1100, [7, 8, 9]), (600, [8, 7])]
    path = tmp_path / "trace.jsonl"
    rows = [
        {"timestamp": i, "input_length": n, "output_length": 2, "hash_ids": of}
        for i, (n, of) in enumerate(lengths_and_ids)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    of = point(arrivals=Arrivals(process="trace", trace=str(path)))
    one, two, three = (ids(prompt) for prompt in prompts(of, 3))
    assert (len(one), len(two), len(three)) == (1000, 1100, 600)
    assert one == two[:1000]
    assert three[:88] == one[512:600]
    assert three[512:] == one[:88]
    other = ids(prompts(of, 1, seed=1)[0])
    assert other[:16] != one[:16]


def test_prompts_of_a_group_begin_alike_and_those_of_two_do_not() -> None:
    found = [ids(prompt) for prompt in prompts(point(100, shared_prefix=0.5, prefix_groups=3), 60)]
    assert len({tuple(one[:50]) for one in found}) == 3
    assert len({one[50] for one in found}) == 60


def conversations(of: Point, n: int, **more: Any) -> list[list[Prompt]]:
    return build(of, n, np.random.default_rng(0), VOCABULARY, **more)


def test_each_turn_holds_what_came_before_and_as_many_ids_as_were_answered() -> None:
    found = conversations(point(10, 4, turns={"count": 3}), 2)
    assert [[prompt.tokens for prompt in turns] for turns in found] == [[10, 24, 38]] * 2
    assert [[prompt.output_tokens for prompt in turns] for turns in found] == [[4, 4, 4]] * 2
    for first, second, third in found:
        assert ids(second)[:10] == ids(first)
        assert ids(third)[:24] == ids(second)
    assert ids(found[0][0])[0] != ids(found[1][0])[0]


def test_a_chat_is_told_in_turns_of_user_and_assistant(texts: Texts) -> None:
    of = point(10, 4, turns={"count": 2}, form={"endpoint": "chat", "prompt": "text"})
    ((first, second),) = conversations(of, 1, texts=texts)
    assert [len(part) for part in first.texts] == [10]
    assert [len(part) for part in second.texts] == [10, 4, 10]
    assert second.texts[0] == first.texts[0]
    assert (first.tokens, second.tokens) == (10, 24)


@given(st.integers(1, 200), st.integers(0, 2**32))
def test_a_text_has_the_tokens_asked_for(texts: Texts, length: int, seed: int) -> None:
    of = point(length, form={"prompt": "text"})
    ((prompt,),) = build(of, 1, np.random.default_rng(seed), VOCABULARY, texts=texts)
    assert prompt.token_ids is None
    assert prompt.tokens == length == len(prompt.texts[0])
    assert prompt.texts[0].isprintable()


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    return load_texts(write_byte_tokenizer(tmp_path_factory.mktemp("bytes")) / "tokenizer.json")


def write(path: Path, text: str) -> Point:
    path.write_text(text)
    return point(output_len=6, prompts=str(path), form={"prompt": "text"})


def test_texts_come_from_a_file_in_its_order(tmp_path: Path, texts: Texts) -> None:
    of = write(tmp_path / "p.jsonl", '{"prompt": "one", "id": 7}\n\n{"prompt": "zwei \u00fc"}\n{"prompt": "three"}\n')
    found = prompts(of, 2)
    assert [(p.texts, p.token_ids, p.tokens, p.output_tokens) for p in found] == [
        (("one",), None, -1, 6),
        (("zwei \u00fc",), None, -1, 6),
    ]
    assert [turns[0].tokens for turns in conversations(of, 2, texts=texts)] == [3, 7]
    as_ids = conversations(of.model_copy(update={"form": RequestForm()}), 2, texts=texts)
    assert [ids(turns[0]) for turns in as_ids] == [list(b"one"), list("zwei \u00fc".encode())]


SHAREGPT = [
    {"id": "a", "conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "because"}]},
    {"id": "b", "conversations": [{"from": "gpt", "value": "no question"}, {"from": "human", "value": "?"}]},
    {"id": "c", "conversations": [{"from": "human", "value": "alone"}]},
    {"id": "d", "conversations": [{"from": "user", "value": "how"}, {"from": "assistant", "value": "so"},
                                  {"from": "user", "value": "thanks"}]},
]  # fmt: skip


def test_sharegpt_gives_first_questions_and_the_lengths_of_their_answers(tmp_path: Path, texts: Texts) -> None:
    path = tmp_path / "sharegpt.json"
    path.write_text(json.dumps(SHAREGPT))
    file = read_prompt_file(path)
    assert (file.format, file.answered, file.left_out) == ("ShareGPT", True, 2)
    output = Length(distribution="measured", mean=4.5)
    of = point(output_len=output, prompts=str(path), form={"prompt": "text"})
    found = [turns[0] for turns in conversations(of, 2, texts=texts)]
    assert [(p.texts, p.tokens, p.output_tokens) for p in found] == [(("why?",), 4, 7), (("how",), 3, 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\n', r"p.jsonl has 1 prompts, 2 are asked for, and a repeated prompt would be served from"),
        ('{"prompt": "a"}\n{"text": "b"}\n', r"p.jsonl:2:1 has no `prompt`; give JSON lines with `prompt`, or"),
        ('{"a":' * 100_000 + "\n{}\n", r"p.jsonl:1:1 is no prompt \(it nests too deep\)"),
        ('{"prompt": ' + "1" * 5000 + "}\n", r"p.jsonl:1:1 is no prompt \(it has a number of too many digits\); give"),
        ("[" * 100_000 + "\n{}\n", r"p.jsonl:1:1 is no prompt \(it nests too deep\)"),
        ('{"prompt": "a"}\n\noops\n', r"p.jsonl:3:1 is no JSON \(.*\); give JSON lines with `prompt`"),
        ('{"prompt": ""}\n{"prompt": "a"}\n', r"p.jsonl:1:1 has a `prompt` that is empty or no text; mend or delete"),
        ('{"prompt": 5}\n{"prompt": "a"}\n', r"p.jsonl:1:1 has a `prompt` that is empty or no text"),
        ("\n", r"p.jsonl has no prompts; give JSON lines"),
        ('[{"id": 1},\n {oops]', r"p.jsonl:2:3 is no JSON"),
        ('[{"id": 1}]', r"p.jsonl: conversation 1 has no `conversations`; give JSON lines with `prompt`, or ShareGPT"),
        ('[{"conversations": [{"from": 1}]}]', r"p.jsonl: conversation 1 has a turn without `from` and `value`"),
    ],
)
def test_a_bad_file_of_prompts_is_one_sentence_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    of = write(tmp_path / "p.jsonl", text)
    with pytest.raises(InputError, match=message) as raised:
        prompts(of, 2)
    assert "\n" not in str(raised.value)


def test_a_file_of_prompts_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the prompts .*; give JSON lines with `prompt`, or ShareGPT's"):
        prompts(point(prompts=str(tmp_path / "none.jsonl")), 1)


def test_a_vocabulary_without_ids_is_an_error() -> None:
    with pytest.raises(InputError, match="the vocabulary has 1 usable token ids; random prompts need at least 2"):
        build(point(), 1, np.random.default_rng(0), Vocabulary(((4, 5),)))
