"""The rows of measured requests, filled as these end, and their columns."""

from array import array
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from swiftkv_bench.load import response
from swiftkv_bench.load.response import Outcome, Reply
from swiftkv_bench.schema.requests import STATUS, RequestStatus

_NO_TIMES = np.empty(0)
_NO_TOKENS = np.empty(0, dtype=np.int16)
EndedAs = tuple[RequestStatus, str] | None
"""What went wrong with a request's connection, if anything."""


@dataclass(slots=True)
class Row:
    """One measured request that has ended."""

    scheduled_s: float
    sent_s: float
    end_s: float
    outcome: Outcome | None = None
    """Without its chunks, which lie with those of all rows; None: not parsed yet."""
    begin: int = 0
    """Where its chunks begin."""
    count: int = 0
    """How many there are."""
    reply: Reply | None = None
    ended_as: EndedAs = None


class Rows:
    """All rows of a client, by the number of the request. Chunks are held once, in the order in which rows ended."""

    def __init__(self) -> None:
        self.failed = 0
        self._rows: dict[int, Row] = {}
        self._chunk_s = array("d")
        self._chunk_tokens = array("h")

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, index: int, row: Row, reply: Reply, ended_as: EndedAs, max_shapes: int) -> None:
        """Takes a request that has ended; a reply that needs more JSON than `max_shapes` events is read later."""
        self._rows[index] = row
        outcome = outcome_of(reply, ended_as, max_shapes)
        if outcome is None:
            row.reply, row.ended_as = reply, ended_as
        else:
            self._fill(row, outcome)
        self.failed += ended_as is not None or (outcome is not None and outcome.status != "ok")

    def columns(self, t0_s: float) -> dict[str, Any]:
        """Columns of a `Slice`, by the number of the request; times are from `t0_s` on. Call it once."""
        rows = [self._rows[index] for index in sorted(self._rows)]
        for row in rows:
            if row.reply is not None:
                self._fill(row, outcome_of(row.reply, row.ended_as, None))
                row.reply = None
        outcomes = [row.outcome or response.failed("cancelled", "it was never sent") for row in rows]
        chunk_s = np.frombuffer(self._chunk_s) if self._chunk_s else np.empty(0)
        chunk_s -= t0_s
        found: dict[str, Any] = {
            "scheduled_s": np.array([row.scheduled_s for row in rows]) - t0_s,
            "sent_s": np.array([row.sent_s for row in rows]) - t0_s,
            "end_s": np.array([row.end_s for row in rows]) - t0_s,
            "status": _ints([STATUS.index(outcome.status) for outcome in outcomes]),
            "errors": {i: outcome.error or "" for i, outcome in enumerate(outcomes) if outcome.status != "ok"},
            "chunk_begin": _ints([row.begin for row in rows]),
            "chunk_count": _ints([row.count for row in rows]),
            "chunk_s": chunk_s,
            "chunk_tokens": np.array(self._chunk_tokens, copy=False),
        }
        for name in ("http_status", "prompt_tokens", "output_tokens", "cached_tokens"):
            found[name] = _ints([getattr(outcome, name) for outcome in outcomes])
        return found

    def _fill(self, row: Row, outcome: Outcome | None) -> None:
        if outcome is None:
            return
        row.begin, row.count = len(self._chunk_s), len(outcome.chunk_s)
        if self._chunk_tokens.typecode == "h" and outcome.chunk_tokens.dtype != np.int16:
            self._chunk_tokens = array("i", self._chunk_tokens)
        kind = np.dtype(self._chunk_tokens.typecode)
        self._chunk_s.frombytes(outcome.chunk_s.tobytes())
        self._chunk_tokens.frombytes(outcome.chunk_tokens.astype(kind).tobytes())
        row.outcome = replace(outcome, chunk_s=_NO_TIMES, chunk_tokens=_NO_TOKENS)


def outcome_of(reply: Reply, ended_as: EndedAs, max_shapes: int | None) -> Outcome | None:
    """What a request amounts to, by its reply and by what its connection said; None as in `response.parse`."""
    if ended_as is not None and not reply.parts and reply.before is None:
        return response.failed(*ended_as)
    outcome = response.parse(reply, max_shapes=max_shapes)
    if outcome is not None and ended_as is not None and outcome.status != "http-error":
        status, error = ended_as
        outcome = replace(outcome, status=status, error=error)
    return outcome


def _ints(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, dtype=np.int64)
