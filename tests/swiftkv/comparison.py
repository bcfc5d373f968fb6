"""Answers of engines beside the plain-torch reference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .reference import Reference

__all__ = ["TOLERANCE_NAT", "Comparison", "References"]

TOLERANCE_NAT = 1e-3
"""Largest difference of a log-probability in float32."""


@dataclass(frozen=True)
class Comparison:
    """A run beside its reference: greedy tokens that differ, largest differences of logprob in nat."""

    tokens: int
    mismatches: int
    worst: float
    mean: float
    worst_prompt: float


class References:
    """Reference forwards, each sequence computed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models: dict[str, Reference] = {}
        self._known: dict[tuple[str, tuple[int, ...]], Any] = {}

    def model(self, checkpoint: str) -> Reference:
        """The reference of one of ``engine_runs``' checkpoints."""
        if checkpoint not in self._models:
            self._models[checkpoint] = Reference(self._folder / checkpoint)
        return self._models[checkpoint]

    def logprobs(self, checkpoint: str, token_ids: list[int]) -> Any:
        """As ``Reference.logprobs``."""
        key = (checkpoint, tuple(token_ids))
        if key not in self._known:
            self._known[key] = self.model(checkpoint).logprobs(token_ids)
        return self._known[key]

    def compare(self, checkpoint: str, answers: list[dict[str, Any]]) -> Comparison:
        """Compare greedy answers with the reference forward of ``checkpoint``."""
        differences, prompt_differences, mismatches = [], [0.0], 0
        for answer in answers:
            prompt, tokens = answer["prompt"], answer["tokens"]
            truth = self.logprobs(checkpoint, prompt + tokens)
            for step, (token, logprob) in enumerate(zip(tokens, answer["logprobs"], strict=True)):
                row = truth[len(prompt) - 1 + step]
                mismatches += int(int(row.argmax()) != token)
                differences.append(abs(logprob - float(row[token])))
            for position, logprob in enumerate(answer["prompt_logprobs"] or []):
                prompt_differences.append(abs(logprob - float(truth[position, prompt[position + 1]])))
        mean = sum(differences) / len(differences)
        return Comparison(len(differences), mismatches, max(differences), mean, max(prompt_differences))
