"""The tracker follows requests through batch rows as vLLM's own processors do."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.sample.logits_processor.interface import BatchUpdate, MoveDirectionality

from swiftkv_bench.swiftkv.tracker import PromptLogprobsTracker, tracker_of

ROWS = 6


def _vllm_config(model_type: str = "llama_swiftkv", v2: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        use_v2_model_runner=v2,
        model_config=SimpleNamespace(hf_config=SimpleNamespace(model_type=model_type)),
        scheduler_config=SimpleNamespace(max_num_seqs=ROWS),
        compilation_config=SimpleNamespace(static_forward_context={}),
    )


def _params(prompt_logprobs: int | None) -> SamplingParams:
    return SamplingParams(prompt_logprobs=prompt_logprobs)


def _known(tracker: PromptLogprobsTracker) -> tuple[Any, Any]:
    """(needs all rows, prompt length) of every row, as steps show them: each row brings as many tokens as it can."""
    return tracker._needs_all[:ROWS], tracker._prompt_lens[:ROWS]


def _batch(lengths: list[int], padding: int = 0) -> SimpleNamespace:
    """``CommonAttentionMetadata`` of prompts computed whole; ``padding`` requests follow, as in a full graph."""
    starts = np.cumsum([0, *lengths, *[0] * padding]).astype(np.int32)
    return SimpleNamespace(
        query_start_loc_cpu=torch.from_numpy(starts),
        seq_lens_cpu_upper_bound=torch.tensor([*lengths, *[0] * padding]),
        is_prefilling=torch.tensor([True] * len(lengths)),
    )


@st.composite
def batch_updates(draw: st.DrawFn) -> BatchUpdate:
    """Removals, additions into other rows, then moves, in the order vLLM applies them."""
    rows = draw(st.permutations(range(ROWS)))
    cut = draw(st.integers(0, ROWS))
    removed, free = rows[:cut], rows[cut:]
    added: list[Any] = [
        (row, _params(draw(st.sampled_from([None, 0, 3]))), [1] * draw(st.integers(1, 9)), [])
        for row in free[: draw(st.integers(0, len(free)))]
    ]
    pairs = st.tuples(st.integers(0, ROWS - 1), st.integers(0, ROWS - 1)).filter(lambda pair: pair[0] != pair[1])
    moved = [(*pair, draw(st.sampled_from(list(MoveDirectionality)))) for pair in draw(st.lists(pairs, max_size=3))]
    return BatchUpdate(batch_size=ROWS, removed=removed, added=added, moved=moved)


@given(st.lists(st.none() | batch_updates(), max_size=6))
def test_rows_equal_those_of_vllms_own_bookkeeping(updates: list[BatchUpdate | None]) -> None:
    tracker = PromptLogprobsTracker(_vllm_config())
    expected: dict[int, tuple[bool, int]] = {}

    def state(params: Any, prompt: Any, _output: Any) -> tuple[bool, int]:
        return params.prompt_logprobs is not None, len(prompt)

    for update in updates:
        tracker.update_state(update)
        process_dict_updates(expected, update, state)
    needs_all, prompt_lens = _known(tracker)
    absent = (False, 0)
    assert list(zip(needs_all.tolist(), prompt_lens.tolist(), strict=True)) == [
        expected.get(row, absent) for row in range(ROWS)
    ]
    assert tracker.steps == len(updates)


@pytest.mark.parametrize(("asked", "needs"), [(None, False), (0, True), (1, True), (-1, True)])
def test_any_number_of_prompt_logprobs_needs_all_rows(asked: int | None, needs: bool) -> None:
    tracker = PromptLogprobsTracker(_vllm_config())
    tracker.update_state(BatchUpdate(batch_size=1, removed=[], added=[(0, _params(asked), [1, 2], [])], moved=[]))
    assert _known(tracker)[0][:1].tolist() == [needs]


@pytest.mark.parametrize(
    ("asked", "needs"), [(None, False), ({}, False), ({"swiftkv_full": 0}, False), ({"swiftkv_full": 1}, True)]
)
def test_a_request_may_ask_for_full_depth(asked: dict[str, Any] | None, needs: bool) -> None:
    tracker = PromptLogprobsTracker(_vllm_config())
    params = SamplingParams(extra_args=asked)
    PromptLogprobsTracker.validate_params(params)
    tracker.update_state(BatchUpdate(batch_size=1, removed=[], added=[(0, params, [1, 2], [])], moved=[]))
    assert _known(tracker)[0][:1].tolist() == [needs]


def test_full_depth_is_on_or_off() -> None:
    with pytest.raises(ValueError, match="swiftkv_full is 'yes', must be 1"):
        PromptLogprobsTracker.validate_params(SamplingParams(extra_args={"swiftkv_full": "yes"}))


def test_a_prompt_of_embeddings_has_an_unknown_length() -> None:
    tracker = PromptLogprobsTracker(_vllm_config())
    tracker.update_state(BatchUpdate(batch_size=1, removed=[], added=[(0, _params(None), None, [])], moved=[]))
    assert _known(tracker)[1][:1].tolist() == [0]


@pytest.mark.parametrize("padding", [0, 3])
def test_a_step_keeps_what_its_requests_need(padding: int) -> None:
    tracker = PromptLogprobsTracker(_vllm_config())
    added: list[Any] = [(0, _params(None), [1] * 3, []), (1, _params(0), [1] * 2, []), (2, _params(None), [1], [])]
    tracker.update_state(BatchUpdate(batch_size=3, removed=[], added=added, moved=[]))
    step = tracker.step(_batch([3, 2, 1], padding), skips=True)
    assert step.selection is not None
    assert step.selection.indices.tolist() == [2, 3, 4, 5]
    assert (step.tokens, step.prompt_tokens, step.second_half_tokens) == (6, 6, 4)
    assert tracker.step(_batch([3, 2, 1], padding), skips=False).second_half_tokens == 6


def test_under_the_v2_runner_nothing_is_tracked() -> None:
    config = _vllm_config(v2=True)
    tracker = PromptLogprobsTracker(config)
    assert tracker.add_request(0, _params(0)) is False
    assert tracker_of(config) is None


def test_an_engine_finds_its_own_tracker() -> None:
    one, other = _vllm_config(), _vllm_config()
    trackers = PromptLogprobsTracker(one), PromptLogprobsTracker(other)
    assert (tracker_of(one), tracker_of(other)) == trackers


def test_an_engine_of_another_model_keeps_nothing() -> None:
    config = _vllm_config("llama")
    tracker = PromptLogprobsTracker(config)
    tracker.update_state(BatchUpdate(batch_size=1, removed=[], added=[(0, _params(0), [1], [])], moved=[]))
    assert tracker_of(config) is None
    assert tracker.steps == 0


def test_an_engine_that_is_gone_leaves_no_tracker() -> None:
    config = _vllm_config()
    tracker: PromptLogprobsTracker | None = PromptLogprobsTracker(config)
    assert tracker_of(config) is tracker
    tracker = None
    assert tracker_of(config) is None
