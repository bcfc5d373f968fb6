"""Whether an engine serves the model that a run was begun with: what it answers now beside what it answered then.

A server that somebody else runs tells the name of its model and not its weights, and a name may stay while the
weights change. Its greedy answers to the fixed prompts of the probes, with log-probabilities, tell models apart;
the probe ``repeatable`` records them.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from swiftkv_bench.engines.probes.asking import Answer, gap, rounding
from swiftkv_bench.schema.engine import EngineSpec
from swiftkv_bench.schema.manifest import Probe

PROBE = "repeatable"
"""Name of the probe that records the answers."""

_FIELD = "greedy"


def recorded(answers: Sequence[Answer]) -> dict[str, Any]:
    """Answers with finite log-probabilities, as a probe's data hold them; alternatives of none are left out."""
    return {
        _FIELD: [{"tokens": a.tokens, "logprobs": a.logprobs, "tops": [_finite(t) for t in a.tops]} for a in answers]
    }


def another_model(spec: EngineSpec, before: Iterable[Probe], now: Iterable[Probe]) -> str | None:
    """How an arm's engine answers otherwise than it did before, as part of a sentence.

    None where the answers are the same within rounding, and where nothing can be said: none were recorded, because the
    engine does not repeat itself or the run is of an older version.
    """
    then, today = _answers(spec, before), _answers(spec, now)
    if then is None or today is None or len(then) != len(today):
        return None
    found = gap(then, today)
    if found.tokens == 0:
        return "none of its answers is the same" if found.changed == found.answers else None
    if found.within(rounding(spec)):
        return None
    return f"log-probabilities of its greedy answers differ by {found.mean:.2g} nat on average"


def _answers(spec: EngineSpec, probes: Iterable[Probe]) -> list[Answer] | None:
    for probe in probes:
        if (probe.name, probe.arm) == (PROBE, spec.arm) and _FIELD in probe.data:
            return [_answer(value) for value in probe.data[_FIELD]]
    return None


def _answer(value: dict[str, Any]) -> Answer:
    return Answer(tuple(value["tokens"]), tuple(value["logprobs"]), tuple(value["tops"]))


def _finite(top: dict[str, float]) -> dict[str, float]:
    return {token: value for token, value in top.items() if math.isfinite(value)}
