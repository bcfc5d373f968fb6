"""The bytes of a request, made before the window opens."""

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.target import Target

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

    def rotated(self, by: int) -> "Request":
        """The same request with its own ids rotated by `by` places: equal in length, new from the first own id.

        Load beyond the measured requests is made of these, so it needs no tokens drawn during a measurement.
        """
        if by == 0:
            return self
        ids = self.data[self.own_start : self.own_end].split(b",")
        if len(ids) < 2:
            return self
        by %= len(ids)
        own = b",".join(ids[by:] + ids[:by])
        return replace(self, data=self.data[: self.own_start] + own + self.data[self.own_end :])


def encode(prompt: "Prompt", target: Target) -> Request:
    """The request for one prompt.

    The engine is asked to ignore end-of-text, so that both arms generate `output_tokens`; greedy, streamed, with
    usage. `min_tokens` is left out: with `ignore_eos` it changes nothing but adds a logits processor to the engine.

    Raises:
        InputError: token ids for a chat endpoint, which takes text only.
    """
    body: dict[str, Any] = {
        "model": target.model,
        "max_tokens": prompt.output_tokens,
        "temperature": 0.0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": target.usage_per_chunk},
        **target.extra_body,
    }
    if not target.usage_per_chunk and "stream_options" not in target.extra_body:
        del body["stream_options"]["continuous_usage_stats"]
    if target.api == "chat":
        if prompt.text is None:
            raise InputError("the chat endpoint takes text, not token ids; give --prompts with a JSONL file")
        payload = json.dumps({"messages": [{"role": "user", "content": prompt.text}], **body}).encode()
        return _with_head(payload, target, prompt)
    if prompt.token_ids is None:
        return _with_head(json.dumps({"prompt": prompt.text, **body}).encode(), target, prompt)
    ids = [b"%d" % i for i in prompt.token_ids.tolist()]
    opening = b'{"prompt":['
    shared = b"".join(i + b"," for i in ids[: prompt.shared_tokens])
    own = b",".join(ids[prompt.shared_tokens :])
    start = len(opening) + len(shared)
    payload = opening + shared + own + b"]," + json.dumps(body, separators=(",", ":")).encode()[1:]
    return _with_head(payload, target, prompt, (start, start + len(own)))


def _with_head(payload: bytes, target: Target, prompt: "Prompt", own: tuple[int, int] = (0, 0)) -> Request:
    route = target.route
    # A proxy that forwards is told the whole address.
    where = f"http://{route.authority}{target.path}" if route.forwards else target.path
    headers = dict(target.access.headers)
    if route.forwards and route.proxy is not None:
        headers |= route.proxy.headers
    own_headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {where} HTTP/1.1\r\nHost: {route.authority}\r\nContent-Type: application/json\r\n"
        f"Accept: text/event-stream\r\n{own_headers}Content-Length: {len(payload)}\r\n\r\n"
    ).encode("ascii")
    start, end = (len(head) + at for at in own)
    return Request(head + payload, start, end, prompt.tokens, prompt.output_tokens)
