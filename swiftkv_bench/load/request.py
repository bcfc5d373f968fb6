"""The bytes of a request, made before the window opens."""

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.target import SALT_HEX, Target

if TYPE_CHECKING:
    # Client processes use requests and not prompts.
    from swiftkv_bench.load.workload import Prompt


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, ready to be written to a socket."""

    data: bytes
    """Head and body."""
    own_start: int
    """Where the ids that no other prompt of the trial shares begin in `data`; equals `own_end` for text."""
    own_end: int
    """Where they end."""
    prompt_tokens: int
    """Length of the prompt, -1 for text that was not tokenised."""
    output_tokens: int
    """Tokens asked of the engine."""
    salt_end: int = 0
    """Where the cache salt ends in `data`; 0 where there is none."""

    def rotated(self, by: int) -> "Request":
        """The same request, equal in length and unknown to a prefix cache: with the salt of round `by`, or without a
        salt with its own ids rotated by `by` places.

        Load beyond the measured requests is made of these, so it needs no tokens drawn during a measurement.
        """
        if by == 0:
            return self
        if self.salt_end:
            number = b"%08x" % (by % 2**32)
            return replace(self, data=self.data[: self.salt_end - 8] + number + self.data[self.salt_end :])
        ids = self.data[self.own_start : self.own_end].split(b",")
        if len(ids) < 2:
            return self
        by %= len(ids)
        own = b",".join(ids[by:] + ids[:by])
        return replace(self, data=self.data[: self.own_start] + own + self.data[self.own_end :])


def encode(prompt: "Prompt", target: Target) -> Request:
    """The request for one prompt.

    The engine is asked to ignore end-of-text unless the target says otherwise, so that both arms generate
    `output_tokens`; greedy, streamed, with usage. `min_tokens` is left out: with `ignore_eos` it changes nothing but
    adds a logits processor to the engine.

    Raises:
        InputError: token ids for a chat endpoint, which takes text only.
    """
    fields = _fields(prompt, target)
    if prompt.token_ids is None or target.api == "chat":
        payload = json.dumps({**_text(prompt, target), **fields}, separators=(",", ":")).encode()
        return _with_head(payload, target, prompt)
    ids = [b"%d" % i for i in prompt.token_ids.tolist()]
    opening = b'{"prompt":['
    shared = b"".join(i + b"," for i in ids[: prompt.shared_tokens])
    own = b",".join(ids[prompt.shared_tokens :])
    start = len(opening) + len(shared)
    payload = opening + shared + own + b"]," + json.dumps(fields, separators=(",", ":")).encode()[1:]
    return _with_head(payload, target, prompt, (start, start + len(own)))


def _fields(prompt: "Prompt", target: Target) -> dict[str, Any]:
    """Everything of a body but the prompt. The salt stands last, where `Request` finds it."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    body: dict[str, Any] = {
        "model": target.model,
        "max_tokens": prompt.output_tokens,
        "temperature": 0.0,
        "ignore_eos": True if target.ignore_eos else None,
        "stream": True,
        "stream_options": options if target.usage_per_chunk else {"include_usage": True},
        **target.extra_body,
    }
    if target.cache_salt is not None and target.salted:
        body["cache_salt"] = target.cache_salt.ljust(SALT_HEX, "0")
    return {name: value for name, value in body.items() if value is not None}


def _text(prompt: "Prompt", target: Target) -> dict[str, Any]:
    if not prompt.texts:
        raise InputError("the chat endpoint takes text, not token ids; send text with --tokenizer, or --prompts")
    if target.api == "completions":
        return {"prompt": "".join(prompt.texts)}
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(prompt.texts)]}


def _with_head(payload: bytes, target: Target, prompt: "Prompt", own: tuple[int, int] = (0, 0)) -> Request:
    route = target.route
    headers = {**target.access.headers, **route.headers}
    own_headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {route.target(target.path)} HTTP/1.1\r\nHost: {route.authority}\r\nContent-Type: application/json\r\n"
        f"Accept: text/event-stream\r\n{own_headers}Content-Length: {len(payload)}\r\n\r\n"
    ).encode("ascii")
    start, end = (len(head) + at for at in own)
    data = head + payload
    return Request(data, start, end, prompt.tokens, prompt.output_tokens, len(data) - 2 if target.salted else 0)
