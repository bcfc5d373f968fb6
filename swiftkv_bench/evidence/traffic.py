"""What a trial shows of its traffic: hits in the prefix cache, first tokens by turn, reasoning before answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swiftkv_bench.checks.traffic import hit_share
from swiftkv_bench.metrics import ServerMetrics, TrialMetrics
from swiftkv_bench.schema.perf import RequestTable, TrialRecord


@dataclass(frozen=True)
class Reasoning:
    """What came before the answers.

    Attributes:
        share: of the output tokens; of the chunks where the server does not tell tokens by chunk.
        first_answer_s: mean time from send to the first chunk of the answer itself; None where none came.
        unanswered: finished requests that had reasoning and no answer.
    """

    share: float
    first_answer_s: float | None
    unanswered: int


@dataclass(frozen=True)
class Traffic:
    """Of one trial, or the mean over several.

    Attributes:
        prefix_hits: share of prompt tokens that came from the server's prefix cache; None where it does not tell.
        ttft_of_turn_s: mean for each turn of conversations; empty where requests are on their own, or a turn of a trial
            has no answer.
        reasoning: None where answers have none.
    """

    prefix_hits: float | None = None
    ttft_of_turn_s: tuple[float, ...] = ()
    reasoning: Reasoning | None = None


NOTHING_TOLD = Traffic()


def traffic_of(record: TrialRecord, table: RequestTable, m: TrialMetrics, server: ServerMetrics) -> Traffic:
    """Of one trial."""
    turns = () if record.trial.point.turns is None else _of_turns(table, m)
    return Traffic(hit_share(table, server), turns, _reasoning(table, m))


def over_trials(trials: Sequence[Traffic]) -> Traffic:
    """Means over trials that tell."""
    reasoning = [t.reasoning for t in trials if t.reasoning is not None]
    return Traffic(
        _mean([t.prefix_hits for t in trials]),
        tuple(float(np.mean(turn)) for turn in zip(*(t.ttft_of_turn_s for t in trials), strict=False)),
        Reasoning(
            float(np.mean([r.share for r in reasoning])),
            _mean([r.first_answer_s for r in reasoning]),
            sum(r.unanswered for r in reasoning),
        )
        if reasoning
        else None,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _of_turns(table: RequestTable, m: TrialMetrics) -> tuple[float, ...]:
    if table.turn is None:
        return ()
    turns = [m.per_request.ttft_s[(table.turn == k) & m.per_request.ok] for k in range(int(table.turn.max()) + 1)]
    known = [turn[~np.isnan(turn)] for turn in turns]
    return tuple(float(turn.mean()) for turn in known) if all(map(len, known)) else ()


def _reasoning(table: RequestTable, m: TrialMetrics) -> Reasoning | None:
    leading, ok = table.reasoning_chunks, m.per_request.ok
    if leading is None or not leading[ok].any():
        return None
    chunks, begin = np.diff(table.chunk_start), table.chunk_start[:-1]
    tokens = table.chunk_tokens if (table.chunk_tokens >= 0).all() else np.ones(len(table.chunk_tokens))
    sums = np.concatenate([[0], np.cumsum(tokens)])
    reasoned, whole = (float((sums[begin + n] - sums[begin])[ok].sum()) for n in (leading, chunks))
    answered = ok & (chunks > leading)
    first_s = table.chunk_s[(begin + leading)[answered]] - table.sent_s[answered]
    return Reasoning(reasoned / whole, float(first_s.mean()) if len(first_s) else None, int((ok & ~answered).sum()))
