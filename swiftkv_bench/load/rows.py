"""The rows of measured requests, kept as columns: some 60 bytes a request beside its chunks."""

from array import array
from dataclasses import replace
from typing import Any

import numpy as np

from swiftkv_bench.load import response
from swiftkv_bench.load.response import Outcome, Reply
from swiftkv_bench.schema.requests import STATUS, RequestStatus

_COUNTS = ("http_status", "prompt_tokens", "output_tokens", "cached_tokens", "reasoning_chunks")
_TIMES = ("scheduled_s", "sent_s", "end_s")
EndedAs = tuple[RequestStatus, str] | None
"""What went wrong with a request's connection, if anything."""


class Rows:
    """Rows in the order in which requests ended; each is added once."""

    def __init__(self) -> None:
        self.failed = 0
        self._index = array("q")
        self._times = {name: array("d") for name in _TIMES}
        self._counts = {name: array("i") for name in _COUNTS}
        self._status = array("b")
        self._begin = array("q")
        self._count = array("i")
        self._chunk_s = array("d")
        self._chunk_tokens = array("h")
        self._errors: dict[int, str] = {}
        """By place."""
        self._unread: dict[int, tuple[Reply, EndedAs]] = {}
        """Replies by place that are read after the window."""

    def __len__(self) -> int:
        return len(self._index)

    def add(
        self, index: int, times_s: tuple[float, float, float], reply: Reply, ended_as: EndedAs, max_shapes: int
    ) -> bool:
        """Takes a request that has ended, and tells whether it is good as far as is known; a reply that needs more JSON
        than `max_shapes` events is read later.

        Args:
            index: its number in the schedule.
            times_s: when it was due, sent and ended.
        """
        place = len(self._index)
        self._index.append(index)
        for name, at_s in zip(_TIMES, times_s, strict=True):
            self._times[name].append(at_s)
        for column in (*self._counts.values(), self._status, self._begin, self._count):
            column.append(0)
        outcome = outcome_of(reply, ended_as, max_shapes)
        if outcome is None:
            self._unread[place] = reply, ended_as
        else:
            self._fill(place, outcome)
        failed = ended_as is not None or (outcome is not None and outcome.status != "ok")
        self.failed += failed
        return not failed

    def columns(self, t0_s: float) -> dict[str, Any]:
        """Columns of a `Slice`, by the number of the request; times are from `t0_s` on. Call it once."""
        while self._unread:
            place, (reply, ended_as) = self._unread.popitem()
            outcome = outcome_of(reply, ended_as, None)
            if outcome is not None:
                self._fill(place, outcome)
        order = np.argsort(np.array(self._index, dtype=np.int64))
        chunk_s = np.frombuffer(self._chunk_s) if self._chunk_s else np.empty(0)
        chunk_s -= t0_s
        found: dict[str, Any] = {name: np.array(column)[order] - t0_s for name, column in self._times.items()}
        whole = {**self._counts, "status": self._status, "chunk_begin": self._begin, "chunk_count": self._count}
        for name, numbers in whole.items():
            found[name] = np.array(numbers, dtype=np.int64)[order]
        numbered = ((i, self._errors.get(place)) for i, place in enumerate(order.tolist()))
        found["errors"] = {i: error for i, error in numbered if error is not None}
        return {**found, "chunk_s": chunk_s, "chunk_tokens": np.array(self._chunk_tokens)}

    def _fill(self, place: int, outcome: Outcome) -> None:
        for name in _COUNTS:
            self._counts[name][place] = getattr(outcome, name)
        self._status[place] = STATUS.index(outcome.status)
        if outcome.status != "ok":
            self._errors[place] = outcome.error or ""
        self._begin[place], self._count[place] = len(self._chunk_s), len(outcome.chunk_s)
        if self._chunk_tokens.typecode == "h" and outcome.chunk_tokens.dtype != np.int16:
            self._chunk_tokens = array("i", self._chunk_tokens)
        kind = np.dtype(self._chunk_tokens.typecode)
        self._chunk_s.frombytes(outcome.chunk_s.tobytes())
        self._chunk_tokens.frombytes(outcome.chunk_tokens.astype(kind).tobytes())


def outcome_of(reply: Reply, ended_as: EndedAs, max_shapes: int | None) -> Outcome | None:
    """What a request amounts to, by its reply and by what its connection said; None as in `response.parse`."""
    if ended_as is not None and not reply.parts and reply.before is None:
        return response.failed(*ended_as)
    outcome = response.parse(reply, max_shapes=max_shapes)
    if outcome is not None and ended_as is not None and outcome.status != "http-error":
        status, error = ended_as
        outcome = replace(outcome, status=status, error=error)
    return outcome
