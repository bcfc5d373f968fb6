"""What is sent: prompts of exact token lengths, unique from their first own token on.

Owns lengths and token ids. Their encoding into an HTTP request is `load.request`'s, their times are
`load.arrivals`'.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.arrivals import read_trace
from swiftkv_bench.schema.perf import Int, Length, Point

TokenIds = npt.NDArray[np.uint32]
Tokenise = Callable[[str], Sequence[int]]
"""Text to token ids, as the engine's tokenizer would give them for a prompt."""


@dataclass(frozen=True)
class Prompt:
    """One request's input and how much output is asked for."""

    token_ids: TokenIds | None
    """shape (tokens,); None for a prompt that is sent as text."""
    output_tokens: int
    """Tokens asked of the engine."""
    shared_tokens: int = 0
    """How many leading ids are equal in all prompts of the trial."""
    text: str | None = None
    """The prompt where it is sent as text; None when ids are sent."""

    @property
    def tokens(self) -> int:
        """Length in tokens, -1 for text that was not tokenised."""
        return -1 if self.token_ids is None else len(self.token_ids)


@dataclass(frozen=True)
class Vocabulary:
    """Token ids that random prompts are drawn from: half-open ranges without special tokens."""

    ranges: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """How many ids there are."""
        return sum(high - low for low, high in self.ranges)

    def ids(self, index: Int) -> TokenIds:
        """The ids at positions 0 ... size - 1 of the ranges laid end to end; same shape as `index`."""
        lengths = np.array([high - low for low, high in self.ranges])
        ends = np.cumsum(lengths)
        which = np.searchsorted(ends, index, side="right")
        shift = np.array([low for low, _ in self.ranges]) - (ends - lengths)
        return np.asarray(index + shift[which], dtype=np.uint32)


def build(
    point: Point, n: int, rng: np.random.Generator, vocabulary: Vocabulary, *, tokenise: Tokenise | None = None
) -> list[Prompt]:
    """`n` prompts for a point.

    Random prompts have pairwise different ids at their first own position as far as the vocabulary reaches, so
    that no block of one is a prefix of another and a prefix cache cannot help; the `shared_prefix` share of
    a prompt of mean length is equal in all of them. Text prompts are taken in the order of the file.

    Args:
        rng: the only source of randomness; two trials with the same seed get the same prompts.
        tokenise: turns text prompts into ids; without it they are sent as text.

    Raises:
        InputError: the prompts or trace file cannot be used, or the vocabulary is empty.
    """
    if point.prompts is not None:
        outputs = lengths(point.output_len, n, rng)
        texts = read_prompts(Path(point.prompts), n)
        return [_text_prompt(text, int(m), tokenise) for text, m in zip(texts, outputs, strict=True)]
    if point.arrivals.process == "trace" and point.arrivals.trace is not None:
        trace = read_trace(Path(point.arrivals.trace))
        inputs, outputs = trace.input_tokens[:n], trace.output_tokens[:n]
    else:
        inputs, outputs = lengths(point.input_len, n, rng), lengths(point.output_len, n, rng)
    return _random_prompts(inputs, outputs, point.shared_prefix, rng, vocabulary)


def lengths(length: Length, n: int, rng: np.random.Generator) -> Int:
    """`n` lengths in tokens; shape (n,).

    Lognormal: exp(N(ln(mean) - sigma^2/2, sigma)), whose expectation is `mean`, rounded and clipped to
    low ... high. Uniform: integers low ... high, both included; without `high`, up to 2 mean - low.
    """
    if length.distribution == "fixed":
        return np.full(n, round(length.mean), dtype=np.int64)
    if length.distribution == "uniform":
        high = length.high if length.high is not None else round(2 * length.mean) - length.low
        if high < length.low:
            raise InputError(f"a uniform length from {length.low} to {high} is empty; give low below high")
        return rng.integers(length.low, high, n, endpoint=True)
    drawn = rng.lognormal(np.log(length.mean) - length.sigma**2 / 2, length.sigma, n)
    return np.clip(np.rint(drawn), length.low, length.high).astype(np.int64)


def _random_prompts(
    inputs: Int, outputs: Int, shared_prefix: float, rng: np.random.Generator, vocabulary: Vocabulary
) -> list[Prompt]:
    size = vocabulary.size
    if size < 2:
        raise InputError(f"the vocabulary has {size} usable token ids; random prompts need at least 2")
    shared = vocabulary.ids(rng.integers(0, size, round(shared_prefix * float(inputs.mean())) if len(inputs) else 0))
    first = rng.permutation(size)
    prompts = []
    for i, (tokens, output) in enumerate(zip(inputs.tolist(), outputs.tolist(), strict=True)):
        # At least one own token, else two prompts would be equal.
        head = shared[: max(0, tokens - 1)]
        own = rng.integers(0, size, tokens - len(head))
        own[0] = first[i % size]
        prompts.append(Prompt(np.concatenate([head, vocabulary.ids(own)]), output, len(head)))
    return prompts


def _text_prompt(text: str, output_tokens: int, tokenise: Tokenise | None) -> Prompt:
    if tokenise is None:
        return Prompt(None, output_tokens, text=text)
    return Prompt(np.array(tokenise(text), dtype=np.uint32), output_tokens)


def read_prompts(path: Path, n: int) -> list[str]:
    """The first `n` prompts of a JSONL file. Lines end at line feeds alone: a prompt may hold other separators.

    Raises:
        InputError: the file cannot be read, has fewer, or a line is no prompt; the message names it.
    """
    try:
        lines = [(i, line) for i, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1) if line.strip()]
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"cannot read the prompts {path}: {e}; give a JSONL file with `prompt` on each line") from e
    if len(lines) < n:
        raise InputError(
            f"{path} has {len(lines)} prompts, {n} are asked for, and a repeated prompt would be served from the "
            "prefix cache; lower --requests or give more prompts"
        )
    return [_prompt_of(line, f"{path}:{number}") for number, line in lines[:n]]


def _prompt_of(line: str, where: str) -> str:
    try:
        prompt = json.loads(line)["prompt"]
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise InputError(f"{where} is no prompt ({e!r}); each line needs an object with `prompt`") from e
    if not isinstance(prompt, str) or not prompt:
        raise InputError(f"{where} has a `prompt` that is empty or no text; mend or delete the line")
    return prompt
