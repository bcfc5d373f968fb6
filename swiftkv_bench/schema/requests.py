"""The raw record of the requests of a trial: arrays, one row a request, and the arrival time of every chunk.

Apart from `schema.perf` so that client processes need not load pydantic.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
SmallInt = npt.NDArray[np.signedinteger[Any]]
"""Any signed integer type: at one value a token, int16 keeps a million requests in memory."""


RequestStatus = Literal[
    "ok", "http-error", "connect-error", "reset", "stalled", "truncated", "malformed", "cancelled", "engine-error"
]
"""`ok`: finished as the protocol says. `truncated`: the stream ended without its end marker. `malformed`: a
chunk that is no JSON. `stalled`: idle timeout. `cancelled`: the run was stopped first. `engine-error`: HTTP 200, then
an error in the body."""

STATUS: tuple[RequestStatus, ...] = (
    "ok", "http-error", "connect-error", "reset", "stalled", "truncated", "malformed", "cancelled", "engine-error",
)  # fmt: skip
"""Order of the codes in `RequestTable.status`; only ever appended to."""


@dataclass(frozen=True)
class RequestTable:
    """Raw record of the measured requests of a trial, in order of schedule.

    All times are seconds on one `perf_counter` axis with 0 at the start of the arrival window. `n`
    requests, `m` chunks with content. Not-a-number and -1 stand for "not there" in arrays only.
    """

    scheduled_s: Float
    """shape (n,): when the schedule wanted it sent; closed loop: when it was sent."""
    sent_s: Float
    """shape (n,): when its bytes were handed to the kernel; NaN if it never was."""
    end_s: Float
    """shape (n,): when the response ended or failed; NaN if never."""
    status: Int
    """shape (n,): index into `STATUS`."""
    http_status: Int
    """shape (n,): HTTP status, -1 if no response."""
    prompt_tokens_asked: Int
    """shape (n,): prompt length sent, in token ids."""
    output_tokens_asked: Int
    """shape (n,): max_tokens sent."""
    prompt_tokens: Int
    """shape (n,): as the server's `usage` says, -1 if it did not."""
    output_tokens: Int
    """shape (n,): as the server's `usage` says, -1 if it did not."""
    cached_tokens: Int
    """shape (n,): prompt tokens served from the prefix cache as `usage` says, -1 if it did not."""
    chunk_start: Int
    """shape (n + 1,): chunks of request i are `chunk_start[i]:chunk_start[i + 1]`."""
    chunk_s: Float
    """shape (m,): when the bytes of a chunk with content arrived (the read that completed it)."""
    chunk_tokens: SmallInt
    """shape (m,): tokens in the chunk where the server tells (running usage, token ids or logprobs), else -1."""
    errors: dict[int, str]
    """request index -> one sentence, for every request whose status is not `ok`."""
    reasoning_chunks: Int | None = None
    """shape (n,): leading chunks that are reasoning and no answer; None in records of versions that did not tell."""
    turn: Int | None = None
    """shape (n,): number of the turn in its conversation, from 0; None in records of versions without turns."""

    def __len__(self) -> int:
        return len(self.scheduled_s)

    @classmethod
    def empty(cls) -> "RequestTable":
        """The table of a trial in which nothing was sent."""
        none, no_count = np.zeros(0), np.zeros(0, dtype=np.int64)
        return cls(
            scheduled_s=none, sent_s=none, end_s=none, status=no_count, http_status=no_count,
            prompt_tokens_asked=no_count, output_tokens_asked=no_count, prompt_tokens=no_count,
            output_tokens=no_count, cached_tokens=no_count, chunk_start=np.zeros(1, dtype=np.int64), chunk_s=none,
            chunk_tokens=np.zeros(0, dtype=np.int16), errors={},
        )  # fmt: skip
