"""The rows of measured requests, while they are filled and as columns."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from swiftkv_bench.load import response
from swiftkv_bench.load.response import Outcome, Reply
from swiftkv_bench.schema.requests import STATUS, RequestStatus


@dataclass(slots=True)
class Row:
    """One measured request that has ended."""

    scheduled_s: float
    sent_s: float
    end_s: float
    outcome: Outcome | None
    """None: not parsed yet."""
    reply: Reply | None = None
    ended_as: tuple[RequestStatus, str] | None = None
    """What went wrong with the connection, if anything."""


def outcome_of(reply: Reply, ended_as: tuple[RequestStatus, str] | None, max_shapes: int | None) -> Outcome | None:
    """What a request amounts to, by its reply and by what its connection said; None as in `response.parse`."""
    if ended_as is not None and not reply.parts and reply.before is None:
        return response.failed(*ended_as)
    outcome = response.parse(reply, max_shapes=max_shapes)
    if outcome is not None and ended_as is not None and outcome.status != "http-error":
        status, error = ended_as
        outcome = replace(outcome, status=status, error=error)
    return outcome


def columns(rows: list[Row], t0_s: float) -> dict[str, Any]:
    """Columns of a `Slice`; takes the rows apart as it goes, so that chunks are held once."""
    outcomes = []
    for row in rows:
        outcome = row.outcome
        if outcome is None and row.reply is not None:
            outcome = outcome_of(row.reply, row.ended_as, None)
            row.reply = None
        outcomes.append(outcome or response.failed("cancelled", "it was never sent"))
        row.outcome = None
    counts = ints([len(outcome.chunk_s) for outcome in outcomes])
    wide = any(outcome.chunk_tokens.dtype != np.int16 for outcome in outcomes)
    chunk_s = np.empty(int(counts.sum()))
    chunk_tokens = np.empty(len(chunk_s), dtype=np.int32 if wide else np.int16)
    found: dict[str, Any] = {
        "scheduled_s": np.array([row.scheduled_s for row in rows]) - t0_s,
        "sent_s": np.array([row.sent_s for row in rows]) - t0_s,
        "end_s": np.array([row.end_s for row in rows]) - t0_s,
        "status": ints([STATUS.index(outcome.status) for outcome in outcomes]),
        "errors": {i: outcome.error or "" for i, outcome in enumerate(outcomes) if outcome.status != "ok"},
        "chunk_count": counts,
    }
    for name in ("http_status", "prompt_tokens", "output_tokens", "cached_tokens"):
        found[name] = ints([getattr(outcome, name) for outcome in outcomes])
    at = 0
    outcomes.reverse()
    while outcomes:
        outcome = outcomes.pop()
        end = at + len(outcome.chunk_s)
        chunk_s[at:end] = outcome.chunk_s
        chunk_tokens[at:end] = outcome.chunk_tokens
        at = end
    chunk_s -= t0_s
    return {**found, "chunk_s": chunk_s, "chunk_tokens": chunk_tokens}


def ints(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """As a column."""
    return np.array(values, dtype=np.int64)
