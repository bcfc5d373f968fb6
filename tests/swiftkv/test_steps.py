"""Steps of padded batches: a full CUDA graph pads the query offsets, and no per-request array with them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.swiftkv.steps import Step, take_step

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=6)


def _step(lengths: list[int], padding: int, needs_all: list[bool] | None = None, skips: bool = True) -> Step:
    requests = len(lengths)
    return take_step(
        np.cumsum([0, *lengths, *[0] * padding]),
        np.array([length > 1 for length in lengths]),
        np.array(lengths),
        np.array(lengths),
        np.array(needs_all or [False] * requests),
        skips=skips,
    )


@given(LENGTHS, st.integers(0, 5))
def test_padding_adds_no_tokens_and_no_rows(lengths: list[int], padding: int) -> None:
    padded = _step(lengths, padding)
    prompt = sum(length for length in lengths if length > 1)
    assert (padded.tokens, padded.prompt_tokens) == (sum(lengths), prompt)
    assert padded.second_half_tokens == len(lengths)
    if padded.selection is not None:
        assert padded.selection.indices.tolist() == (np.cumsum(lengths) - 1).tolist()
        assert len(padded.selection.query_start) == len(lengths) + padding + 1


def test_decodes_in_a_padded_graph_run_as_they_are() -> None:
    assert _step([1, 1, 1], padding=5).selection is None


def test_a_padded_request_that_needs_all_rows_keeps_them() -> None:
    selection = _step([3, 4], padding=2, needs_all=[True, False]).selection
    assert selection is not None
    assert selection.indices.tolist() == [0, 1, 2, 6]


def test_drafts_keep_all_their_rows() -> None:
    step = take_step(
        np.array([0, 4, 9, 9]),
        np.array([False, True]),
        np.array([20, 5]),
        np.array([10, 5]),
        np.array([False, False]),
        np.array([True, False]),
        skips=True,
    )
    assert step.selection is not None
    assert step.selection.indices.tolist() == [0, 1, 2, 3, 8]


def test_nothing_is_left_out_where_rows_may_not_be() -> None:
    assert _step([5, 3], padding=1, skips=False) == Step(8, 8, None)
