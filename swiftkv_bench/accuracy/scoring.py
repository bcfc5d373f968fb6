"""Exact answers from an engine that may skip layers: which requests to send, and how to read what comes back.

A continuation's log-likelihood is a sum of next-token log-probabilities, and every way of getting these here
makes the engine compute the row they come from as it computes a row it samples from:

``choice tokens``
    All continuations of a context are one token long: one request with ``logprob_token_ids`` (vLLM 0.32), or one
    request a choice with ``allowed_token_ids``. Raw log-probabilities, taken before logits processors.
``forced decode``
    The engine is told which tokens to emit (``vllm_xargs``, read by a logits processor that this package
    installs into vLLM) and reports each one's raw log-probability. Uses the prefix cache.
``prompt logprobs``
    The server scores the prompt's own tokens. A skipping engine does not compute those rows unless it takes
    care to; used only where the honesty probe passed. vLLM does not read the prefix cache for such requests.
``one-token requests``
    One request a token; exact wherever `choice tokens` is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from swiftkv_bench.accuracy.generation import valid_text
from swiftkv_bench.accuracy.items import Continuation, Generation, Question
from swiftkv_bench.errors import EngineError, ProbeError, ScoringError
from swiftkv_bench.load.events import FINISHED
from swiftkv_bench.schema.accuracy import ScoringMethod

COMPLETIONS = "/v1/completions"
FORCED_TOKENS = "swiftkv_forced_tokens"
"""Name under ``vllm_xargs`` of the tokens to emit."""

MAX_LOGPROB_TOKEN_IDS = 128
"""vLLM's bound on ``logprob_token_ids``."""

LONG_CONTINUATION_TOKENS = 128
"""Above it a text is scored in one pass where the engine's prompt logprobs are honest."""

Answer = list[Any]
"""Of a generation [text, finish reason]; of a continuation [[log-probability, is argmax], ...], one a token."""


@dataclass(frozen=True)
class Request:
    """One request: its body, and how its response is read.

    Attributes:
        read: raises EngineError if the response is impossible, ScoringError if a log-probability is not finite.
    """

    body: dict[str, Any]
    read: Callable[[Any], Answer]


@dataclass(frozen=True)
class Script:
    """What answers the questions of one item.

    No request waits for another's answer, so all may be under way at once: a batch computes a beginning that its
    requests share once, and larger batches are fewer steps of the engine.

    Attributes:
        combine: answers to the requests, in order, to answers to the questions, in order.
    """

    requests: Sequence[Request]
    method: ScoringMethod
    combine: Callable[[Sequence[Answer]], list[Answer]] = list


@dataclass(frozen=True)
class Abilities:
    """What the probes found an engine able to do exactly.

    Attributes:
        token_choice: how next-token log-probabilities of given tokens are had; None if in no way.
        forced_decode: emits given tokens.
        prompt_logprobs: passed the honesty probe.
    """

    token_choice: str | None
    forced_decode: bool = False
    prompt_logprobs: bool = False

    def continuation_method(self) -> ScoringMethod:
        """How continuations of more than one token are scored.

        Raises:
            ProbeError: there is no exact way.
        """
        if self.forced_decode:
            return "forced decode"
        if self.prompt_logprobs:
            return "prompt logprobs"
        if self.token_choice is not None:
            return "one-token requests"
        raise ProbeError(
            "the engine has no exact way to score a given text: its prompt logprobs failed the honesty probe and it "
            "knows neither logprob_token_ids nor allowed_token_ids; use vLLM 0.26 or newer, or leave the column out"
        )


def write_script(questions: Sequence[Question], abilities: Abilities) -> Script:
    """The requests that answer all questions of one item.

    Raises:
        ProbeError: the engine has no exact way.
    """
    generations = [q for q in questions if isinstance(q, Generation)]
    if generations:
        return Script([Request(generation_body(q), read_generation) for q in generations], "generation")
    continuations = [q for q in questions if isinstance(q, Continuation)]
    if abilities.token_choice is not None and all(len(c.tokens) == 1 for c in continuations):
        return _next_tokens(continuations, abilities.token_choice, "choice tokens")
    method = abilities.continuation_method()
    if abilities.prompt_logprobs and any(len(c.tokens) > LONG_CONTINUATION_TOKENS for c in continuations):
        # One pass over a long text instead of one step of the engine a token.
        method = "prompt logprobs"
    if method == "one-token requests":
        return _next_tokens(continuations, str(abilities.token_choice), method)
    body, read = (
        (forced_body, read_forced) if method == "forced decode" else (prompt_logprobs_body, read_prompt_logprobs)
    )
    distinct = list(dict.fromkeys(continuations))
    requests = [Request(body(c), partial(read, tokens=c.tokens)) for c in distinct]

    def combine(answers: Sequence[Answer]) -> list[Answer]:
        found = dict(zip(distinct, answers, strict=True))
        return [found[c] for c in continuations]

    return Script(requests, method, combine)


def loglikelihood(answer: Answer) -> tuple[float, bool]:
    """(log-likelihood, is greedy) of a continuation, as lm-eval wants it.

    Formula: the sum of the tokens' log-probabilities; greedy iff every token is the argmax.

    Raises:
        ScoringError: a log-probability is not finite.
    """
    return math.fsum(_finite(logprob) for logprob, _ in answer), all(is_argmax for _, is_argmax in answer)


def generation_body(question: Generation) -> dict[str, Any]:
    """Request of a generation, greedy unless it says otherwise; everything a server's defaults could change is said."""
    return {
        "prompt": list(question.prompt),
        "max_tokens": question.max_tokens,
        "temperature": 0.0,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "stop": list(question.stop),
        # So that stop strings which are special tokens can match; lm-eval does the same.
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
        **dict(question.sampling),
    }


def read_generation(response: Any) -> Answer:
    """[text, finish reason] of a completion.

    Raises:
        EngineError: one of them is missing.
        ScoringError: the engine did not finish it.
    """
    choice = _choice(response)
    missing = [key for key in ("text", "finish_reason") if key not in choice]
    if missing:
        raise EngineError(f"the engine's answer lacks {' and '.join(missing)}: {str(choice)[:120]}; answers need both")
    if choice["finish_reason"] not in FINISHED:
        raise ScoringError(f"the engine ended the answer with finish_reason {choice['finish_reason']!r}")
    return [valid_text(choice["text"]), choice["finish_reason"]]


def token_choice_body(context: Sequence[int], tokens: Sequence[int], way: str) -> dict[str, Any]:
    """Request for the next-token log-probabilities of `tokens`; of its one token for `allowed_token_ids`."""
    return {
        "prompt": list(context),
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": len(tokens),
        "return_tokens_as_token_ids": True,
        way: list(tokens),
    }


def read_token_choice(response: Any, tokens: Sequence[int]) -> Answer:
    """[[log-probability, is argmax], ...] of `tokens`.

    With `allowed_token_ids` the given token is emitted whatever it is; it is the argmax iff nothing else is listed
    beside it as the most probable token.
    """
    logprobs = _field(_choice(response), "logprobs")
    listed = {_token_id(text): _number(value) for text, value in logprobs["top_logprobs"][0].items()}
    emitted = _token_id(logprobs["tokens"][0])
    try:
        if len(tokens) == 1:
            best = max(listed.values())
            return [[_finite(listed[tokens[0]]), emitted == tokens[0] and listed[tokens[0]] >= best]]
        return [[_finite(listed[token]), emitted == token] for token in tokens]
    except KeyError as e:
        raise EngineError(f"the engine was asked for the log-probability of token {e} and did not give it") from e


def forced_body(question: Continuation) -> dict[str, Any]:
    """Request that makes the engine emit a continuation."""
    return {
        "prompt": list(question.context),
        "max_tokens": len(question.tokens),
        "temperature": 0.0,
        "logprobs": 1,
        "ignore_eos": True,
        "return_tokens_as_token_ids": True,
        "vllm_xargs": {FORCED_TOKENS: list(question.tokens)},
    }


def read_forced(response: Any, tokens: Sequence[int]) -> Answer:
    """[[log-probability, is argmax], ...] of the emitted tokens.

    Raises:
        EngineError: the engine emitted others than it was told.
    """
    logprobs = _field(_choice(response), "logprobs")
    emitted = [_token_id(text) for text in logprobs["tokens"]]
    if emitted != list(tokens):
        raise EngineError("the engine did not emit the tokens it was told to; forced decode cannot be used on it")
    return [
        [_finite(value), value >= max(map(_number, top.values()))]
        for value, top in zip(logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    ]


def prompt_logprobs_body(question: Continuation) -> dict[str, Any]:
    """Request for the log-probabilities of the prompt's own tokens."""
    return {
        "prompt": [*question.context, *question.tokens],
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 0,
    }


def read_prompt_logprobs(response: Any, tokens: Sequence[int]) -> Answer:
    """[[log-probability, is argmax], ...] of the prompt's last tokens."""
    rows = _field(_choice(response), "prompt_logprobs")[-len(tokens) :]
    entries = [_field(row, str(token)) for row, token in zip(rows, tokens, strict=True)]
    return [[_finite(entry["logprob"]), entry["rank"] == 1] for entry in entries]


def _next_tokens(continuations: Sequence[Continuation], way: str, method: ScoringMethod) -> Script:
    """Next-token log-probabilities after every distinct prefix: what continuations share is asked once."""
    wanted: dict[tuple[int, ...], dict[int, None]] = {}
    for c in continuations:
        for i, token in enumerate(c.tokens):
            wanted.setdefault(c.context + c.tokens[:i], {})[token] = None
    width = 1 if way == "allowed_token_ids" else MAX_LOGPROB_TOKEN_IDS
    asked = [
        (prefix, tuple(tokens)[start : start + width])
        for prefix, tokens in wanted.items()
        for start in range(0, len(tokens), width)
    ]

    def combine(answers: Sequence[Answer]) -> list[Answer]:
        found = {
            (prefix, token): value
            for (prefix, tokens), answer in zip(asked, answers, strict=True)
            for token, value in zip(tokens, answer, strict=True)
        }
        return [[found[c.context + c.tokens[:i], token] for i, token in enumerate(c.tokens)] for c in continuations]

    requests = [Request(token_choice_body(p, t, way), partial(read_token_choice, tokens=t)) for p, t in asked]
    return Script(requests, method, combine)


def _choice(response: Any) -> dict[str, Any]:
    try:
        choice = response["choices"][0]
    except (KeyError, IndexError, TypeError) as e:
        raise EngineError(f"the engine's answer has no choices: {str(response)[:120]}") from e
    if not isinstance(choice, dict):
        raise EngineError(f"the engine's answer has a choice that is no object: {str(choice)[:120]}")
    return choice


def _field(value: Any, name: str) -> Any:
    """A field that must be there and hold something."""
    found = value.get(name) if isinstance(value, dict) else None
    if not found:
        raise EngineError(f"the engine was asked for {name} and gave none; this needs vLLM 0.26 or newer")
    return found


def _number(value: float | None) -> float:
    """A log-probability; NaN where a server wrote null for one that JSON cannot hold."""
    return math.nan if value is None else value


def _finite(value: float | None) -> float:
    """A log-probability of a row that the engine computed."""
    if not math.isfinite(number := _number(value)):
        raise ScoringError("the engine returned a log-probability that is not finite; it did not compute that row")
    return number


def _token_id(text: str) -> int:
    """Token id of `token_id:<n>`; -1 for anything else."""
    head, _, number = text.partition("token_id:")
    return int(number) if not head and number.isdigit() else -1
