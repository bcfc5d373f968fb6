"""What a request may carry to the logits processors, and what they do with an id that the model does not have."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.v1.sample.logits_processor.interface import BatchUpdate

from swiftkv_bench.swiftkv.admission import FORCED_TOKENS, FULL_DEPTH
from swiftkv_bench.swiftkv.forced import ForcedTokens
from swiftkv_bench.swiftkv.tracker import PromptLogprobsTracker

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


UNKNOWN = SimpleNamespace(model_config=None)


def _params(tokens: Any, max_tokens: int = 1) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, extra_args={FORCED_TOKENS: tokens})


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([True], "holds True, must hold token ids alone"),
        ([-1], "holds -1, must hold token ids alone"),
        ([1.0], r"holds 1\.0, must hold token ids alone"),
        ([2**31], "holds 2147483648, must hold token ids alone"),
        ([[1]], r"holds \[1\], must hold token ids alone"),
        ([], r"is \[\], must be a list of token ids"),
        ("abc", "is 'abc', must be a list of token ids"),
        ({"0": 1}, "must be a list of token ids"),
        ([1, 2], "holds 2 tokens but max_tokens is 1"),
        ([7] * 1_000_000, "holds 1000000 tokens but max_tokens is 1"),
    ],
)
def test_tokens_that_cannot_be_emitted_are_refused_at_admission(tokens: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        ForcedTokens.validate_params(_params(tokens))
    assert len(str(refused.value)) < 200


def _sound(key: str, value: Any) -> bool:
    if key == FULL_DEPTH:
        return type(value) in (int, bool) and value in (0, 1)
    return value is None or (
        type(value) is list and len(value) == 1 and type(value[0]) is int and 0 <= value[0] < 2**31
    )


@pytest.mark.parametrize(("key", "check"), [(FORCED_TOKENS, ForcedTokens), (FULL_DEPTH, PromptLogprobsTracker)])
@given(value=ANYTHING)
def test_admission_takes_what_is_sound_and_refuses_anything_else(key: str, check: Any, value: Any) -> None:
    params = SimpleNamespace(max_tokens=1, extra_args={key: value})
    with nullcontext() if _sound(key, value) else pytest.raises(ValueError, match=key):
        check.validate_params(params)


def test_drafts_are_rows_of_their_requests() -> None:
    # Slot 5 (prompt of 3, forced to 6, 7) has the rows of positions 2, 3, 4; slot 1 decodes freely.
    requests = SimpleNamespace(prompt_len=SimpleNamespace(gpu=torch.tensor([0, 4, 0, 0, 0, 3])))
    processor = ForcedTokens(UNKNOWN, requests)
    assert processor.add_request(5, _params([6, 7], max_tokens=2)) is True
    assert processor.add_request(1, SamplingParams()) is False
    context = SimpleNamespace(
        expanded_idx_mapping=torch.tensor([5, 5, 5, 1]), idx_mapping_np=np.array([5, 1]), pos=torch.tensor([2, 3, 4, 9])
    )
    logits = processor.apply(torch.zeros(4, 8), context)
    assert logits.isfinite().sum(dim=1).tolist() == [1, 1, 8, 8]
    assert logits[:2].argmax(dim=1).tolist() == [6, 7]


@pytest.mark.parametrize("tokens", [[8], [-1], [True], [], "abc", [3, 3]])
def test_what_came_without_a_check_is_not_forced_and_disturbs_no_other_request(tokens: Any) -> None:
    processor = ForcedTokens(UNKNOWN, torch.device("cpu"), False)
    added: list[Any] = [(0, _params(tokens), [1], []), (1, _params([3]), [1], [])]
    processor.update_state(BatchUpdate(batch_size=2, removed=[], added=added, moved=[]))
    logits = processor.apply(torch.zeros(2, 8))
    assert logits[0].tolist() == [0.0] * 8
    assert int(logits[1].argmax()) == 3
    assert logits[1].isinf().sum() == 7


def _engine_of(vocabulary: int) -> Any:
    return SimpleNamespace(model_config=SimpleNamespace(get_vocab_size=lambda: vocabulary))


def test_an_id_that_the_served_model_does_not_have_is_refused_at_admission() -> None:
    served = ForcedTokens(_engine_of(8))
    ForcedTokens.validate_params(_params([7]))
    with pytest.raises(ValueError, match=r"swiftkv_forced_tokens holds 8, but the model has tokens 0 \.\. 7"):
        ForcedTokens.validate_params(_params([8]))
    # Nobody knows which of two engines of one process a request is for.
    processor = ForcedTokens(_engine_of(10))
    ForcedTokens.validate_params(_params([8]))
    del served, processor
    ForcedTokens.validate_params(_params([2**31 - 1]))


def test_a_list_of_tokens_and_a_grammar_are_not_both_obeyed() -> None:
    params = _params([3])
    params.structured_outputs = StructuredOutputsParams(choice=["a"])
    with pytest.raises(ValueError, match="beside structured outputs, and both say which tokens come"):
        ForcedTokens.validate_params(params)


@pytest.mark.parametrize("key", ["swiftkv_forced_token", "swiftkv_mode", "swiftkv_"])
def test_a_key_that_nobody_knows_is_refused_at_admission(key: str) -> None:
    words = f"unknown key '{key}'; known are swiftkv_forced_tokens, swiftkv_full"
    with pytest.raises(ValueError, match=words):
        PromptLogprobsTracker.validate_params(SamplingParams(extra_args={key: 1}))
    PromptLogprobsTracker.validate_params(SamplingParams(extra_args={"other_plugin": 1}))
