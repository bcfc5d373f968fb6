"""What an engine can score exactly, found by asking it; chief of all, whether its prompt logprobs are honest.

An engine that skips layers for prompt tokens may return finite, plausible, meaningless prompt logprobs. A
next-token log-probability cannot be wrong that way, because the engine samples from that row; so the two are
compared on the same tokens.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from swiftkv_bench.accuracy.items import Continuation
from swiftkv_bench.accuracy.scoring import (
    COMPLETIONS,
    Abilities,
    Answer,
    forced_body,
    prompt_logprobs_body,
    read_forced,
    read_prompt_logprobs,
    read_token_choice,
    token_choice_body,
)
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.engines.client import Client, LostError
from swiftkv_bench.engines.probes.asking import scored_tokens
from swiftkv_bench.errors import EngineError
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Probe

TOLERANCE_NAT = 0.05
"""Mean difference allowed between two ways to the same log-probabilities: rounding of bfloat16."""

LARGEST_NAT = 0.4
"""Largest single difference allowed: bfloat16 logits from 16 to 32 are 0.125 apart, so two ways may differ by a few
steps at one token; an engine that skipped layers for the rows is off by nats on average."""

LONG_PROMPT_TOKENS = 4200
"""Above the prefill chunk of a CPU engine (4,096 tokens) and of most configured servers (2,048)."""

SHORT_PROMPTS_TOKENS = (16, 130, 300)
SCORED_TOKENS = 3
_SEED = 20241203


def probe_abilities(client: Client, target: Target, arm: Arm, *, vocabulary: int) -> tuple[Abilities, list[Probe]]:
    """Finds the exact ways of scoring an engine has.

    Args:
        vocabulary: number of token ids that prompts of the probe are drawn from.

    Raises:
        LostError: the engine cannot be reached.
    """
    questions = list(_questions(target.max_model_len, vocabulary))
    way, truth, choice_probe = _probe_token_choice(client, target, arm, questions)
    if way is None:
        return Abilities(None), [choice_probe]
    forced = _compare(client, target, arm, "forced decode", questions, truth)
    # Long prompts only where the way will be used: a whole vocabulary for each of their tokens can end an engine.
    longest = scored_tokens(vocabulary) if forced.status == "pass" else target.max_model_len
    asked = [(q, t) for q, t in zip(questions, truth, strict=True) if len(q.context) <= longest]
    honest = _compare(client, target, arm, "prompt logprobs", *zip(*asked, strict=True))
    abilities = Abilities(way, forced.status == "pass", honest.status == "pass")
    return abilities, [choice_probe, forced, honest]


def _questions(max_model_len: int, vocabulary: int) -> Iterator[Continuation]:
    """Random contexts with random continuations; the last is longer than a prefill chunk where the context allows."""
    generator = np.random.default_rng(_SEED)
    room = max_model_len - SCORED_TOKENS - 1
    for length in (*SHORT_PROMPTS_TOKENS, LONG_PROMPT_TOKENS):
        ids = generator.integers(0, vocabulary, min(length, room) + SCORED_TOKENS).tolist()
        yield Continuation(tuple(ids[:-SCORED_TOKENS]), tuple(ids[-SCORED_TOKENS:]))


def _probe_token_choice(
    client: Client, target: Target, arm: Arm, questions: Sequence[Continuation]
) -> tuple[str | None, list[Answer], Probe]:
    """The way to next-token log-probabilities, these for every token of the questions, and the probe's outcome.

    `allowed_token_ids` counts only if it reports what the model said and not what was left after masking: a token
    that is the only one allowed must not have probability 1.
    """
    reasons = []
    for way in ("logprob_token_ids", "allowed_token_ids"):
        try:
            truth = [_next_tokens(client, target, q, way) for q in questions]
        except LostError:
            raise
        except EngineError as e:
            reasons.append(f"{way}: {e}")
            continue
        if all(value > -1e-6 for answer in truth for value, _ in answer):
            reasons.append(f"{way}: log-probabilities are taken after masking")
            continue
        detail = f"next-token log-probabilities of given tokens by {way}"
        return way, truth, Probe(name="token choice", arm=arm, status="pass", detail=detail, data={"way": way})
    detail = "no way to the log-probability of a given next token: " + "; ".join(reasons)
    return None, [], Probe(name="token choice", arm=arm, status="fail", detail=detail)


def _next_tokens(client: Client, target: Target, question: Continuation, way: str) -> Answer:
    answer: Answer = []
    for i, token in enumerate(question.tokens):
        body = token_choice_body(question.context + question.tokens[:i], [token], way)
        answer += read_token_choice(_post(client, target, body), [token])
    return answer


def _compare(
    client: Client, target: Target, arm: Arm, name: str, questions: Sequence[Continuation], truth: Sequence[Answer]
) -> Probe:
    gaps: list[float] = []
    for question, expected in zip(questions, truth, strict=True):
        try:
            found = _ask(client, target, name, question)
        except LostError:
            raise
        except EngineError as e:
            return Probe(name=name, arm=arm, status="fail", detail=f"{name}: {e}")
        gaps += [abs(a - b) for (a, _), (b, _) in zip(found, expected, strict=True)]
    # A value that is no number is infinitely far from any.
    worst, mean = (float(f(np.nan_to_num(gaps, nan=np.inf))) for f in (np.max, np.mean))
    passed = mean <= TOLERANCE_NAT and worst <= LARGEST_NAT
    detail = (
        f"{name} and next-token log-probabilities of {len(gaps)} tokens after prompts of up to "
        f"{max(len(q.context) for q in questions)} tokens differ by {mean:.2g} nat on average and {worst:.2g} at most "
        f"({'within' if passed else 'above'} {TOLERANCE_NAT} and {LARGEST_NAT})"
    )
    data = {
        "largest_difference_nat": worst if np.isfinite(worst) else None,
        "mean_difference_nat": mean if np.isfinite(mean) else None,
        "tolerance_nat": TOLERANCE_NAT,
    }
    return Probe(name=name, arm=arm, status="pass" if passed else "fail", detail=detail, data=data)


def _ask(client: Client, target: Target, name: str, question: Continuation) -> Answer:
    if name == "forced decode":
        return read_forced(_post(client, target, forced_body(question)), question.tokens)
    return read_prompt_logprobs(_post(client, target, prompt_logprobs_body(question)), question.tokens)


def _post(client: Client, target: Target, body: dict[str, Any]) -> Any:
    return client.post(COMPLETIONS, {"model": target.served_model, **body})
