"""How probes ask: fixed random prompts, greedy answers with log-probabilities, and how far two answers are apart."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swiftkv_bench.engines.client import Client, RefusedError
from swiftkv_bench.engines.models import vocabulary
from swiftkv_bench.engines.probes.metrics_page import Page
from swiftkv_bench.errors import EngineError
from swiftkv_bench.schema.engine import EngineInfo, EngineSpec

OUTPUT_TOKENS = 8
TOP = 5
"""Alternatives asked for at every token, so that two engines that choose otherwise can be compared."""

PROMPT_TOKENS = (16, 130, 300)
"""Around and above the 128-token cache block of vLLM's CPU engine; blocks are 16 tokens on GPUs."""

LONG_PROMPT_TOKENS = 8400
"""Above the prefill chunk of vLLM's server on a GPU (8,192 tokens), taken where the chunk is not known."""

SCORED_LOGITS = 1 << 26
"""Logits that a request for prompt logprobs may make an engine hold at once, for no more than a probe.

vLLM has a vocabulary's worth of them for every token of a prompt chunk, in 16 bits and twice in 32, beside the memory
that it planned for: 0.7 GB here. 4,200 tokens of Llama 3's vocabulary take 5 GB, and ended an engine on a full card.
"""

_SERVER = "name an OpenAI-compatible server"
_SEED = 20241203


def scored_tokens(vocabulary: int) -> int:
    """Length of the longest prompt whose log-probabilities a probe asks for: 523 tokens of Llama 3's vocabulary."""
    return SCORED_LOGITS // vocabulary


@dataclass(frozen=True)
class Answer:
    """Greedy tokens as the server names them, the log-probability of each, and the best alternatives'."""

    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    tops: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Gap:
    """How far answers are apart, in nat, at the tokens where both continue the same text.

    Attributes:
        tokens: log-probabilities compared.
        changed: answers of which a token differs.
    """

    mean: float
    worst: float
    tokens: int
    answers: int
    changed: int

    def within(self, limit: "Limit") -> bool:
        """Whether mean and largest difference are rounding."""
        return self.mean <= limit.mean and self.worst <= limit.worst


@dataclass(frozen=True)
class Limit:
    """The largest differences that count as rounding, in nat."""

    mean: float
    worst: float

    def at_least(self, noise: Gap, factor: float = 4.0) -> "Limit":
        """The same, raised to what was seen between two answers that must be equal."""
        return Limit(max(self.mean, factor * noise.mean), max(self.worst, factor * noise.worst))


class Asking:
    """One engine under test.

    Attributes:
        arm: its role.
        prompts: random token ids, the same for every engine of a vocabulary; short ones first.
        long_prompt: longer than a prefill chunk, where the context allows.
        vocabulary: number of token ids.
    """

    def __init__(self, client: Client, spec: EngineSpec, info: EngineInfo) -> None:
        self.client, self.spec, self.info = client, spec, info
        self.arm = spec.arm
        size = None if spec.architecture is None else spec.architecture.get("vocab_size")
        ranges = vocabulary(spec.tokenizer, size if isinstance(size, int) else None)
        self._ids = np.concatenate([np.arange(low, high) for low, high in ranges])
        self.vocabulary = size if isinstance(size, int) else int(self._ids.max()) + 1
        self._draw = np.random.default_rng(_SEED)
        room = min(spec.max_model_len, info.max_model_len or spec.max_model_len) - 2 * OUTPUT_TOKENS
        self.prompts = [self.draw(min(length, room)) for length in PROMPT_TOKENS]
        self.long_prompt = self.draw(min(self._long(), room))
        # Cache salts of another session with the same server must not meet ours.
        self._session = secrets.token_hex(4)
        self._takes_salts = True

    def draw(self, length: int) -> list[int]:
        """Further random token ids."""
        return [int(i) for i in self._draw.choice(self._ids, size=max(1, length))]

    def _long(self) -> int:
        chunk = self.spec.args.get("max-num-batched-tokens")
        try:
            return LONG_PROMPT_TOKENS if chunk is None else int(chunk) + 100
        except ValueError:
            return LONG_PROMPT_TOKENS

    def page(self) -> Page:
        """The server's metrics now."""
        try:
            return Page.parse(self.client.get("/metrics"))
        except RefusedError:
            return Page(())

    def greedy(
        self, prompts: Sequence[list[int]], *, salt: str, tokens: int = OUTPUT_TOKENS, full: bool = False
    ) -> list[Answer]:
        """Each prompt's greedy answer, one after the other.

        Args:
            salt: requests with different salts share no cached prefix.
            full: at full depth, which an engine with the SwiftKV plug-in takes as a request's own switch.

        Raises:
            EngineError: the engine refuses a plain request or cannot be reached.
        """
        return [self._ask(prompt, salt, tokens, full)[0] for prompt in prompts]

    def together(self, prompts: Sequence[list[int]], *, salt: str, full: bool = False) -> list[Answer]:
        """The same in one request, so that they share batches: short ones decode while long ones are computed."""
        return self._ask(list(prompts), salt, OUTPUT_TOKENS, full)

    def complete(self, body: dict[str, Any], salt: str) -> list[dict[str, Any]]:
        """The choices of the server's answer to a completion request, in order; one a prompt.

        Raises:
            EngineError: the engine refuses, cannot be reached, or answers something else.
        """
        prompt = body["prompt"]
        prompts = len(prompt) if prompt and isinstance(prompt[0], list) else 1
        answer = self._post(body, salt)
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise EngineError(
                f"{self.client.base_url}/v1/completions answered no choices: {str(answer)[:80]}; {_SERVER}"
            )
        if len(choices) != prompts:
            raise EngineError(
                f"{self.client.base_url}/v1/completions answered {len(choices)} choices to {prompts} prompts; {_SERVER}"
            )
        return sorted(choices, key=_index)

    def _post(self, body: dict[str, Any], salt: str) -> Any:
        body = {"model": self.info.served_model, "temperature": 0.0, "ignore_eos": True, **body}
        if self._takes_salts:
            try:
                return self.client.post("/v1/completions", {**body, "cache_salt": f"probe-{self._session}-{salt}"})
            except RefusedError as e:
                if "salt" not in str(e):
                    raise
                self._takes_salts = False
        return self.client.post("/v1/completions", body)

    def _ask(self, prompt: list[int] | list[list[int]], salt: str, tokens: int, full: bool) -> list[Answer]:
        body: dict[str, Any] = {
            "prompt": prompt, "max_tokens": tokens, "logprobs": TOP, "return_tokens_as_token_ids": True,
        }  # fmt: skip
        if full:
            body["vllm_xargs"] = {"swiftkv_full": 1}
        return [_answer(choice) for choice in self.complete(body, salt)]


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index", 0)
    return index if isinstance(index, int) else 0


def _answer(choice: dict[str, Any]) -> Answer:
    """One choice; without log-probabilities its text stands for its tokens.

    Raises:
        EngineError: the choice is not that of a completion.
    """
    try:
        logprobs = choice.get("logprobs") or {}
        if not logprobs.get("tokens"):
            return Answer((str(choice["text"]),), (), ())
        values = tuple(float("nan") if v is None else float(v) for v in logprobs["token_logprobs"])
        tops = tuple({str(k): float(v) for k, v in (top or {}).items()} for top in logprobs.get("top_logprobs") or ())
        return Answer(tuple(str(token) for token in logprobs["tokens"]), values, tops)
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise EngineError(f"the answer to a completion request has an unknown form ({e!r}); {_SERVER}") from e


def gap(first: Sequence[Answer], second: Sequence[Answer]) -> Gap:
    """How far two series of answers to the same prompts are apart; a value that is not a number is infinitely far."""
    gaps: list[float] = []
    changed = 0
    for a, b in zip(first, second, strict=True):
        changed += a.tokens != b.tokens
        for i, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=False)):
            if i < len(a.logprobs) and i < len(b.logprobs):
                gaps.append(max(abs(_logprob(a, i, token) - _logprob(b, i, token)) for token in (x, y)))
            if x != y:
                break
    finite = np.nan_to_num(np.array(gaps or [0.0]), nan=np.inf, posinf=np.inf)
    return Gap(float(finite.mean()), float(finite.max()), len(gaps), len(first), changed)


def _logprob(answer: Answer, i: int, token: str) -> float:
    """Log-probability of a token at place i; one that is not among the alternatives counts as the least of them."""
    if token == answer.tokens[i]:
        return answer.logprobs[i]
    top = answer.tops[i] if i < len(answer.tops) else {}
    return top.get(token, min([answer.logprobs[i], *top.values()]))


def rounding(spec: EngineSpec) -> Limit:
    """What an engine's arithmetic may do to log-probabilities.

    In float32 sums change in their last digits. In 16 bits logits of 16 to 32 are 0.125 apart, and a step of one
    logit moves a log-probability by as much.
    """
    architecture = spec.architecture or {}
    dtype = str(spec.args.get("dtype") or architecture.get("dtype") or architecture.get("torch_dtype") or "bfloat16")
    if dtype in ("auto", "None"):
        dtype = str(architecture.get("dtype") or architecture.get("torch_dtype") or "bfloat16")
    return Limit(0.002, 0.01) if dtype.removeprefix("torch.") in ("float32", "float") else Limit(0.06, 0.4)
