"""Texts as the tokenizer of a model sees them."""

import pytest

from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.verify import is_same_text
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.embedded.vocabulary import task_words


@pytest.fixture(scope="module")
def prompter(tmp_path_factory: pytest.TempPathFactory) -> Prompter:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, tokenizer_json(task_words()), 16384)
    return Prompter(str(folder))


def test_every_special_token_is_left_out_named_or_not(prompter: Prompter) -> None:
    text = "<|begin_of_text|>The<|start_header_id|> answer<|end_header_id|> is B<|eot_id|>"
    assert prompter.without_special(text) == "The answer is B"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The answer is B", "The answer is B<|eot_id|>", True),
        ("The answer is B", "The answer is C", False),
        ("Zürich", "Zurich", False),
        ("a\N{REPLACEMENT CHARACTER}b", "ab", True),
        ("a亀b", "a\N{REPLACEMENT CHARACTER}<|eot_id|>\N{REPLACEMENT CHARACTER}b", True),
        ("a\N{REPLACEMENT CHARACTER}b", "a\N{REPLACEMENT CHARACTER}c", False),
    ],
)
def test_two_decodings_of_the_same_tokens_are_the_same_text(
    one: str, other: str, same: bool, prompter: Prompter
) -> None:
    assert is_same_text(one, other, prompter) is same
