"""The row selection against its definition, row by row in plain Python."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.swiftkv.rows import Selection, select_rows


@dataclass(frozen=True)
class Request:
    """One row of a batch: tokens brought, tokens already cached, prompt length (0: unknown), flags."""

    tokens: int
    cached: int = 0
    prompt: int = 0
    needs_all: bool = False
    drafts: bool = False

    @property
    def mid_prompt(self) -> bool:
        return self.cached + self.tokens < self.prompt


def _select(requests: list[Request]) -> Selection | None:
    starts = np.concatenate([[0], np.cumsum([r.tokens for r in requests])]).astype(np.int32)
    return select_rows(
        starts,
        np.array([r.cached + r.tokens for r in requests], dtype=np.int32),
        np.array([r.prompt for r in requests]),
        np.array([r.needs_all for r in requests]),
        np.array([r.drafts for r in requests]),
    )


def _defined(requests: list[Request]) -> list[list[int]]:
    """The selected positions of each request, straight from the three rules."""
    present = [r for r in requests if r.tokens]
    idle = all(r.mid_prompt and not r.needs_all and not r.drafts for r in present)
    chosen: list[list[int]] = []
    position = 0
    for request in requests:
        positions = list(range(position, position + request.tokens))
        position += request.tokens
        if idle:
            chosen.append([])
        elif request.needs_all or request.drafts:
            chosen.append(positions)
        else:
            chosen.append(positions[-1:])
    return chosen


requests_of_a_batch = st.lists(
    st.builds(
        Request,
        tokens=st.integers(0, 9),
        cached=st.integers(0, 9),
        prompt=st.one_of(st.just(0), st.integers(1, 25)),
        needs_all=st.booleans(),
        drafts=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(requests_of_a_batch)
def test_selection_equals_its_definition(requests: list[Request]) -> None:
    chosen = _defined(requests)
    flat = [position for positions in chosen for position in positions]
    selection = _select(requests)
    if len(flat) == sum(r.tokens for r in requests):
        assert selection is None
        return
    assert selection is not None
    assert selection.indices.tolist() == flat
    assert selection.query_start.tolist() == [0, *np.cumsum([len(p) for p in chosen]).tolist()]
    assert selection.max_query_len == max(len(p) for p in chosen)
    assert [selection.indices.dtype.name, selection.query_start.dtype.name] == ["int64", "int32"]


@given(requests_of_a_batch)
def test_every_kept_row_ends_its_request(requests: list[Request]) -> None:
    selection = _select(requests)
    if selection is None or not len(selection.indices):
        return
    ends = np.cumsum([r.tokens for r in requests])
    kept = np.diff(selection.query_start)
    for request, end, start, count in zip(requests, ends, selection.query_start[:-1], kept, strict=True):
        assert count <= request.tokens
        assert selection.indices[start : start + count].tolist() == list(range(end - count, end))


def test_a_whole_prompt_keeps_its_last_row() -> None:
    selection = _select([Request(tokens=5, prompt=5)])
    assert selection is not None
    assert selection.indices.tolist() == [4]


def test_a_middle_chunk_alone_keeps_nothing() -> None:
    selection = _select([Request(tokens=5, prompt=9), Request(tokens=3, cached=4, prompt=8)])
    assert selection is not None
    assert selection.indices.tolist() == []
    assert selection.query_start.tolist() == [0, 0, 0]


def test_a_middle_chunk_beside_a_decode_keeps_its_last_row() -> None:
    selection = _select([Request(tokens=1, cached=9, prompt=4), Request(tokens=5, prompt=9)])
    assert selection is not None
    assert selection.indices.tolist() == [0, 5]


def test_prompt_logprobs_keep_every_row_of_their_request_alone() -> None:
    selection = _select([Request(tokens=3, prompt=9, needs_all=True), Request(tokens=4, prompt=4)])
    assert selection is not None
    assert selection.indices.tolist() == [0, 1, 2, 6]


def test_decodes_alone_need_no_gathering() -> None:
    assert _select([Request(tokens=1, cached=7, prompt=4)] * 3) is None


def test_an_unknown_prompt_length_counts_as_finished() -> None:
    selection = _select([Request(tokens=4, prompt=0)])
    assert selection is not None
    assert selection.indices.tolist() == [3]


def test_padding_requests_select_nothing() -> None:
    selection = _select([Request(tokens=4, prompt=4), Request(tokens=0), Request(tokens=0)])
    assert selection is not None
    assert selection.indices.tolist() == [3]
    assert selection.query_start.tolist() == [0, 1, 1, 1]
