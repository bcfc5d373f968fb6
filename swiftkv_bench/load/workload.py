"""What is sent: prompts of exact token lengths, unique from their first own token on.

Owns lengths and token ids. Their encoding into an HTTP request is `load.request`'s, their times are
`load.arrivals`'.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.texts import Texts, read_prompts
from swiftkv_bench.load.traces import BLOCK_TOKENS, Trace, read_trace
from swiftkv_bench.schema.requests import Int
from swiftkv_bench.schema.traffic import Length, Point

TokenIds = npt.NDArray[np.uint32]
Conversation = list["Prompt"]
"""Its turns in order; one where requests are on their own."""


@dataclass(frozen=True)
class Prompt:
    """One request's input and how much output is asked for."""

    token_ids: TokenIds | None
    """shape (tokens,); None for a prompt that is sent as text."""
    output_tokens: int
    """Tokens asked of the engine."""
    shared_tokens: int = 0
    """How many leading ids are equal in all prompts of the trial, or of its group."""
    texts: tuple[str, ...] = ()
    """The prompt where it is sent as text, in turns: the user's, an answer, the user's, ...; else empty."""
    counted: int = -1
    """Tokens of that text, with special ones that a server adds but for a chat template; -1 where nobody counted."""

    @property
    def tokens(self) -> int:
        """Length in tokens, -1 for text that was not counted."""
        return self.counted if self.token_ids is None else len(self.token_ids)


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
    point: Point, n: int, rng: np.random.Generator, vocabulary: Vocabulary, *, texts: Texts | None = None
) -> list[Conversation]:
    """`n` conversations for a point, most of them of one prompt.

    Random prompts have pairwise different ids at their first own position as far as the vocabulary reaches, so
    that no block of one is a prefix of another and a prefix cache cannot help; the `shared_prefix` share of
    a prompt of mean length is equal in all of a group. Prompts of a file are taken in its order.

    Args:
        rng: the only source of randomness; two trials with the same seed get the same prompts.
        texts: the tokenizer, for prompts as text and for ids of texts; without it texts are sent uncounted.

    Raises:
        InputError: the prompts or trace file cannot be used, or the vocabulary is empty.
    """
    if point.prompts is not None:
        return [[prompt] for prompt in _file_prompts(point, n, rng, texts)]
    drawn = vocabulary
    if point.form.prompt == "text":
        if texts is None:
            raise InputError("prompts as text need a tokenizer; give --tokenizer")
        drawn = Vocabulary(texts.words(vocabulary.ranges))
    if point.turns is not None:
        found = _conversations(point, n, rng, drawn)
    elif point.arrivals.trace is not None:
        trace = read_trace(Path(point.arrivals.trace)).first(n)
        if trace.hash_ids is not None:
            found = [[prompt] for prompt in _hashed_prompts(trace, rng, drawn)]
        else:
            found = [[p] for p in _random_prompts(trace.input_tokens, trace.output_tokens, point, rng, drawn)]
    else:
        inputs, outputs = lengths(point.input_len, n, rng), lengths(point.output_len, n, rng)
        found = [[prompt] for prompt in _random_prompts(inputs, outputs, point, rng, drawn)]
    if point.form.prompt == "text" and texts is not None:
        chat = point.form.endpoint == "chat"
        return [[_as_text(prompt, texts, _cuts(turns) if chat else None) for prompt in turns] for turns in found]
    return found


def lengths(length: Length, n: int, rng: np.random.Generator) -> Int:
    """`n` lengths in tokens; shape (n,).

    Lognormal: exp(N(ln(mean) - sigma^2/2, sigma)), whose expectation is `mean`, rounded and clipped to low ... high.
    Uniform: integers low ... high, both included; without `high`, up to 2 mean - low. Measured: a file's own are taken
    where it is read; without it, the mean.
    """
    if length.distribution in ("fixed", "measured"):
        return np.full(n, round(length.mean), dtype=np.int64)
    if length.distribution == "uniform":
        high = length.high if length.high is not None else round(2 * length.mean) - length.low
        if high < length.low:
            raise InputError(f"a uniform length from {length.low} to {high} is empty; give low below high")
        return rng.integers(length.low, high, n, endpoint=True)
    drawn = rng.lognormal(np.log(length.mean) - length.sigma**2 / 2, length.sigma, n)
    return np.clip(np.rint(drawn), length.low, length.high).astype(np.int64)


def _random_prompts(
    inputs: Int, outputs: Int, point: Point, rng: np.random.Generator, vocabulary: Vocabulary
) -> list[Prompt]:
    size = _checked_size(vocabulary)
    groups = point.prefix_groups
    length = round(point.shared_prefix * float(inputs.mean())) if len(inputs) else 0
    shared = vocabulary.ids(rng.integers(0, size, (groups, length)))
    first = rng.permutation(size)
    member = rng.integers(0, groups, len(inputs)) if groups > 1 else np.zeros(len(inputs), dtype=np.int64)
    prompts = []
    for i, (tokens, output) in enumerate(zip(inputs.tolist(), outputs.tolist(), strict=True)):
        # At least one own token, else two prompts would be equal.
        head = shared[member[i], : max(0, tokens - 1)]
        own = rng.integers(0, size, tokens - len(head))
        own[0] = first[i % size]
        prompts.append(Prompt(np.concatenate([head, vocabulary.ids(own)]), output, len(head)))
    return prompts


def _hashed_prompts(trace: Trace, rng: np.random.Generator, vocabulary: Vocabulary) -> list[Prompt]:
    """Prompts of blocks that are equal where the trace's ids are."""
    size, key = _checked_size(vocabulary), int(rng.integers(0, 2**63))
    blocks: dict[int, TokenIds] = {}
    prompts = []
    for i, ids in enumerate(trace.hash_ids or ()):
        for one in ids:
            if one not in blocks:
                own = np.random.default_rng([key, abs(one), int(one < 0)])
                blocks[one] = vocabulary.ids(own.integers(0, size, BLOCK_TOKENS))
        whole = np.concatenate([blocks[one] for one in ids])
        prompts.append(Prompt(whole[: int(trace.input_tokens[i])], int(trace.output_tokens[i])))
    return prompts


def _conversations(point: Point, n: int, rng: np.random.Generator, vocabulary: Vocabulary) -> list[Conversation]:
    """Turns whose prompts hold all before them: what the user said, and for each answer as many random ids."""
    turns = point.turns.count if point.turns is not None else 1
    inputs, outputs = (lengths(of, n * turns, rng).reshape(n, turns) for of in (point.input_len, point.output_len))
    spent = np.cumsum(inputs + outputs, axis=1)
    whole = _random_prompts(spent[:, -1], outputs[:, -1], point, rng, vocabulary)
    ends = spent - outputs
    found = []
    for prompt, end, output in zip(whole, ends.tolist(), outputs.tolist(), strict=True):
        ids = prompt.token_ids
        shared = prompt.shared_tokens
        found.append(
            [Prompt(None if ids is None else ids[:e], o, min(shared, e - 1)) for e, o in zip(end, output, strict=True)]
        )
    return found


def _cuts(turns: Conversation) -> list[int]:
    """Where the user's and the model's parts of a conversation end, in ids."""
    return [at for turn in turns for at in (turn.tokens, turn.tokens + turn.output_tokens)]


def _as_text(prompt: Prompt, texts: Texts, cuts: Sequence[int] | None) -> Prompt:
    """The same prompt as text: one, or for a chat (with `cuts`) one a turn.

    A completion's text makes room for the special tokens that the server adds; a chat's template comes on top.
    """
    ids = prompt.token_ids if prompt.token_ids is not None else np.empty(0, dtype=np.uint32)
    if cuts is None:
        text = texts.decode(ids[: max(1, len(ids) - texts.special)].tolist())
        return replace(prompt, token_ids=None, texts=(text,), counted=len(texts.encode(text)))
    edges = [0, *(at for at in cuts if at < len(ids)), len(ids)]
    parts = tuple(texts.decode(ids[start:end].tolist()) for start, end in pairwise(edges))
    return replace(prompt, token_ids=None, texts=parts, counted=sum(texts.count(part) for part in parts))


def _file_prompts(point: Point, n: int, rng: np.random.Generator, texts: Texts | None) -> list[Prompt]:
    rows = read_prompts(Path(str(point.prompts)), n)
    chat = point.form.endpoint == "chat"
    if point.output_len.distribution == "measured":
        if texts is None:
            raise InputError(f"the answers of {point.prompts} are counted by a tokenizer; give --tokenizer")
        outputs = [max(1, texts.count(row.answer or "")) for row in rows]
    else:
        outputs = lengths(point.output_len, n, rng).tolist()
    found = []
    for row, output in zip(rows, outputs, strict=True):
        if point.form.prompt == "ids" and texts is not None:
            found.append(Prompt(np.array(texts.encode(row.prompt), dtype=np.uint32), output))
        else:
            counted = -1 if texts is None else texts.count(row.prompt) if chat else len(texts.encode(row.prompt))
            found.append(Prompt(None, output, texts=(row.prompt,), counted=counted))
    return found


def _checked_size(vocabulary: Vocabulary) -> int:
    if vocabulary.size < 2:
        raise InputError(f"the vocabulary has {vocabulary.size} usable token ids; random prompts need at least 2")
    return vocabulary.size
