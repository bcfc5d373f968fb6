"""An engine's answer as plain values."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "read_answer"]


@dataclass(frozen=True)
class Answer:
    """One request's greedy answer; logprobs of the chosen tokens, prompt logprobs from position 1 on or None."""

    prompt: list[int]
    tokens: list[int]
    logprobs: list[float]
    prompt_logprobs: list[float] | None


def read_answer(output: Any, prompt: list[int]) -> Answer:
    """vLLM's ``RequestOutput`` for ``prompt``, whose ids it does not hold where they came as embeddings."""
    made, scored = output.outputs[0], None
    tokens = list(made.token_ids)
    if output.prompt_logprobs is not None:
        pairs = zip(output.prompt_logprobs[1:], prompt[1:], strict=True)
        scored = [step[token].logprob for step, token in pairs]
    chosen = [step[token].logprob for step, token in zip(made.logprobs, tokens, strict=True)]
    return Answer(prompt, tokens, chosen, scored)
