"""Request bodies that carry everything a client can put into this package's hands, and the answer each must get."""

import http.client
import itertools
import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

__all__ = ["assert_nothing_ends", "bodies"]

VOCABULARY = 512
"""Of the default ``CheckpointSpec``; its tokenizer knows 258 of them."""

GOOD_TOKENS: tuple[Any, ...] = ([0], [7, 7, 300], [511], [258, 511, 0, 1])
BAD_TOKENS: tuple[Any, ...] = (
    [512], [513, 1], [2**31 - 1], [2**31], [2**63], [-1], [3, -512], [1.5], [3.0], ["7"], ["x"], [], "", "abc", 7, 0.5,
    -1, [7, "a"], [1e308], [[1]], {"0": 1}, [None],
)  # fmt: skip
GOOD_SWITCHES: tuple[Any, ...] = (0, 1)
BAD_SWITCHES: tuple[Any, ...] = (2, -1, 0.5, 1e9, "1", "yes", "", [1], [], [0, 1], {"on": 1}, 10**30)
UNKNOWN_KEYS = ("swiftkv_forced_token", "swiftkv_mode", "swiftkv_", "swiftkv_full ", "swiftkv_prompt_logprobs")


@dataclass(frozen=True)
class Sent:
    """One body.

    Attributes:
        fails: words that HTTP 400 must say; an empty string for 400 in vLLM's words; None when it must be answered.
    """

    body: dict[str, Any]
    fails: str | None


def bodies() -> Iterator[Sent]:
    """A few hundred, the same at every call."""
    draw = random.Random(17)
    surroundings = list(_surroundings())
    for number, tokens in enumerate((*GOOD_TOKENS, *BAD_TOKENS)):
        good = number < len(GOOD_TOKENS)
        for surrounding in surroundings if good else draw.sample(surroundings, 6):
            count = len(tokens) if isinstance(tokens, list) and tokens else 1
            fails = "beside structured outputs" if "structured_outputs" in surrounding else None
            yield _body({"swiftkv_forced_tokens": tokens}, fails if good else "", surrounding | {"max_tokens": count})
    for tokens, more in itertools.product(GOOD_TOKENS, (-1, 1, 50)):
        fails = f"holds {len(tokens)} tokens but max_tokens is"
        if len(tokens) + more > 0:
            yield _body({"swiftkv_forced_tokens": tokens}, fails, {"max_tokens": len(tokens) + more})
    yield _body(
        {"swiftkv_forced_tokens": [7] * 1_000_000}, "holds 1000000 tokens but max_tokens is 1", {"max_tokens": 1}
    )
    for number, switch in enumerate((*GOOD_SWITCHES, *BAD_SWITCHES)):
        good = number < len(GOOD_SWITCHES)
        for surrounding in surroundings if good else draw.sample(surroundings, 6):
            yield _body({"swiftkv_full": switch}, None if good else "", surrounding)
    for key in UNKNOWN_KEYS:
        for surrounding in draw.sample(surroundings, 6):
            yield _body({key: draw.choice((0, 1, "x", [1, 2]))}, "unknown key", surrounding)
    for tokens, switch in itertools.product(GOOD_TOKENS, GOOD_SWITCHES):
        given = {"swiftkv_forced_tokens": tokens, "swiftkv_full": switch, "somebody_elses": "x"}
        yield _body(given, None, {"max_tokens": len(tokens), "logprobs": 1})
    for token in (512, 600, 2**31 - 1):
        words = f"swiftkv_forced_tokens holds {token}, but the model has tokens 0 .. 511"
        yield _body({"swiftkv_forced_tokens": [token]}, words, {"max_tokens": 1})


def _surroundings() -> Iterator[dict[str, Any]]:
    """What else a request may ask for, alone and beside a prompt that comes in chunks."""
    further: tuple[dict[str, Any], ...] = (
        {}, {"logprobs": 1}, {"echo": True, "logprobs": 0}, {"n": 2, "temperature": 1.0}, {"prompt_logprobs": 1},
        {"logit_bias": {"7": 100}}, {"allowed_token_ids": [1, 2]}, {"min_tokens": 1}, {"stop": ["a"]},
        {"ignore_eos": True}, {"structured_outputs": {"choice": ["red", "green"]}}, {"top_k": 1, "top_p": 0.5},
        {"repetition_penalty": 2.0},
    )  # fmt: skip
    for more, length in itertools.product(further, (3, 300)):
        yield {"prompt": [index % 256 for index in range(length)], "max_tokens": 3, "temperature": 0.0} | more


def _body(xargs: dict[str, Any], fails: str | None, more: dict[str, Any]) -> Sent:
    plain = {"model": "swiftkv", "prompt": [1, 2, 3], "temperature": 0.0, "max_tokens": 3}
    return Sent(plain | more | {"vllm_xargs": xargs}, fails)


class _Client:
    """Sends bodies over one connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=120)

    def send(self, body: dict[str, Any]) -> tuple[int, str]:
        """(HTTP status, text of the answer)."""
        self._connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def good(self) -> tuple[int, list[str]]:
        """Status and tokens of a request as anybody else sends it."""
        plain = {"model": "swiftkv", "prompt": [5, 6, 7], "temperature": 0.0, "max_tokens": 2, "logprobs": 0}
        status, text = self.send(plain | {"return_tokens_as_token_ids": True})
        return status, json.loads(text)["choices"][0]["logprobs"]["tokens"] if status == 200 else []


def assert_nothing_ends(url: str, *, every: int, accepted: int) -> None:
    """Send bodies; each gets its answer, and a good request behind each ``every`` of them the same tokens.

    Args:
        accepted: of the bodies that must be answered, one in so many is sent; of those that must be refused, all.
    """
    chosen = [sent for sent in bodies() if sent.fails is not None] + [s for s in bodies() if s.fails is None][
        ::accepted
    ]
    wrong = []
    with closing(_Client(url)) as client:
        before = client.good()
        assert before[0] == 200
        for count, sent in enumerate(chosen, 1):
            status, text = client.send(sent.body)
            expected = 200 if sent.fails is None else 400
            if status != expected or (sent.fails or "") not in text:
                wrong.append(f"{status} instead of {expected} for {str(sent.body)[:200]}: {text[:300]}")
            if count % every == 0:
                assert client.good() == before, f"after {str(sent.body)[:300]}: {text[:300]}"
        assert client.good() == before
    assert wrong == []
    assert len(chosen) > 250
