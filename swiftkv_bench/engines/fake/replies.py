"""Response bodies: what is generated, and the timed script of events or the one body that says it."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from swiftkv_bench.engines.fake.asked import Asked
from swiftkv_bench.engines.fake.faults import Fault, Script, is_kind
from swiftkv_bench.engines.fake.language import Language, text_of, tokenise
from swiftkv_bench.engines.fake.options import Options

DONE = b"data: [DONE]\n\n"
_WRONG_SHIFT = 5
"""Wrong prompt log-probabilities are those of a context in which the last token is so much greater."""


@dataclass(frozen=True)
class Generated:
    """One prompt and what follows it."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    text: str
    finish_reason: str | None
    cached_tokens: int


def generate(asked: Asked, prompt: tuple[int, ...], cached_tokens: int, options: Options) -> Generated:
    """The output for one prompt: a told answer if there is one, else the greedy continuation."""
    language = Language(options.vocabulary)
    answer = _answer(prompt, options)
    if answer is not None:
        tokens = answer + (language.greedy([*prompt, *answer], asked.max_tokens) if asked.ignore_eos else [])
        tokens, finish = tokens[: asked.max_tokens], "stop" if len(answer) < asked.max_tokens else "length"
        finish = "length" if asked.ignore_eos else finish
    elif asked.allowed_token_ids is not None:
        tokens, finish = _restricted(language, prompt, asked), "length"
    else:
        tokens, finish = language.greedy(prompt, asked.max_tokens), "length"
    text = text_of(tokens)
    if asked.stop:
        tokens, text, finish = _stopped(tokens, text, finish, asked.stop)
    if asked.fault is not None and asked.fault.kind == "finish":
        tokens = tokens[: asked.fault.after]
        return Generated(prompt, tuple(tokens), text_of(tokens), asked.fault.finish_reason, cached_tokens)
    return Generated(prompt, tuple(tokens), text, finish, cached_tokens)


def _answer(prompt: Sequence[int], options: Options) -> list[int] | None:
    if not options.answers:
        return None
    text = text_of(prompt)
    ending = max((key for key in options.answers if text.endswith(key)), key=len, default=None)
    return None if ending is None else tokenise(options.answers[ending])


def _restricted(language: Language, prompt: Sequence[int], asked: Asked) -> list[int]:
    context, allowed = list(prompt), sorted(asked.allowed_token_ids or ())
    for _ in range(asked.max_tokens):
        context.append(min(allowed, key=lambda token: language.rank(context, token)))
    return context[len(prompt) :]


def _stopped(tokens: list[int], text: str, finish: str, stop: Sequence[str]) -> tuple[list[int], str, str]:
    found = min((at for at in (text.find(word) for word in stop) if at >= 0), default=-1)
    if found < 0:
        return tokens, text, finish
    # The tokens that complete the stop string count as generated; its text is cut off.
    for n in range(1, len(tokens) + 1):
        if any(word in text_of(tokens[:n]) for word in stop):
            return tokens[:n], text[:found], "stop"
    return tokens, text[:found], "stop"


def usage(generated: Sequence[Generated], output_tokens: int | None = None) -> dict[str, Any]:
    """The usage object; `output_tokens` so far, or all."""
    prompt_tokens = sum(len(one.prompt) for one in generated)
    cached = sum(one.cached_tokens for one in generated)
    if output_tokens is None:
        output_tokens = sum(len(one.tokens) for one in generated)
    value: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + output_tokens,
        "completion_tokens": output_tokens,
    }
    if cached:
        value["prompt_tokens_details"] = {"cached_tokens": cached}
    return value


def whole(asked: Asked, generated: Sequence[Generated], number: int, options: Options) -> bytes:
    """The body of a response that is not streamed."""
    choices = [_choice(asked, one, index, options) for index, one in enumerate(generated)]
    return _compact(
        {
            "id": f"{'chatcmpl' if asked.chat else 'cmpl'}-fake-{number}",
            "object": "chat.completion" if asked.chat else "text_completion",
            "created": int(time.time()),
            "model": options.model,
            "choices": choices,
            "usage": usage(generated),
        }
    )


def _choice(asked: Asked, one: Generated, index: int, options: Options) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "finish_reason": one.finish_reason, "stop_reason": None}
    if is_kind(asked.fault, "no-finish"):
        del choice["finish_reason"]
    language = Language(options.vocabulary)
    if asked.chat:
        key = "reasoning_content" if is_kind(asked.fault, "reasoning") else "content"
        choice["message"] = {"role": "assistant", key: one.text}
        choice["logprobs"] = None if asked.logprobs is None else {"content": _chat_logprobs(asked, one, language)}
        return choice
    echoed = one.prompt if asked.echo else ()
    generated = one.tokens if asked.max_tokens else ()
    choice["text"] = text_of(echoed) + (one.text if asked.max_tokens else "")
    choice["logprobs"] = None
    if asked.logprobs is not None:
        first = 0 if asked.echo else len(one.prompt)
        choice["logprobs"] = _logprobs(asked, (*one.prompt, *generated), first, language)
    choice["token_ids"] = list(generated) if asked.return_token_ids else None
    choice["prompt_token_ids"] = list(one.prompt) if asked.return_token_ids else None
    choice["prompt_logprobs"] = None
    if asked.prompt_logprobs is not None and not asked.echo:
        choice["prompt_logprobs"] = _prompt_logprobs(one.prompt, asked.prompt_logprobs, language, options)
    if is_kind(asked.fault, "no-text"):
        del choice["text"]
    return choice


def _logprobs(asked: Asked, ids: Sequence[int], first: int, language: Language) -> dict[str, Any]:
    """vLLM's completion logprobs of `ids[first:]`; the first token of all has none."""
    offset, found = 0, {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}  # type: ignore[var-annotated]
    for i in range(first, len(ids)):
        token, context = ids[i], ids[:i]
        name = _name(asked, token)
        found["tokens"].append(name)
        found["text_offset"].append(offset)
        offset += len(name)
        if i == 0:
            found["token_logprobs"].append(None)
            found["top_logprobs"].append(None)
            continue
        found["token_logprobs"].append(language.logprob(context, token))
        others = asked.logprob_token_ids or [language.token(context, rank) for rank in range(asked.logprobs or 0)]
        listed = dict.fromkeys([token, *others])
        found["top_logprobs"].append({_name(asked, other): language.logprob(context, other) for other in listed})
    return found


def _chat_logprobs(asked: Asked, one: Generated, language: Language) -> list[dict[str, Any]]:
    found = []
    for i, token in enumerate(one.tokens):
        context = (*one.prompt, *one.tokens[:i])
        top = [language.token(context, rank) for rank in range(asked.logprobs or 0)]
        entry = _chat_token(asked, token, context, language)
        found.append({**entry, "top_logprobs": [_chat_token(asked, other, context, language) for other in top]})
    return found


def _chat_token(asked: Asked, token: int, context: Sequence[int], language: Language) -> dict[str, Any]:
    text = _name(asked, token)
    return {"token": text, "logprob": language.logprob(context, token), "bytes": list(text.encode())}


def _prompt_logprobs(
    prompt: Sequence[int], top: int, language: Language, options: Options
) -> list[dict[str, Any] | None]:
    found: list[dict[str, Any] | None] = [None]
    for i in range(1, len(prompt)):
        context = list(prompt[:i])
        if options.prompt_logprobs == "wrong":
            context[-1] += _WRONG_SHIFT
        listed = dict.fromkeys([prompt[i], *(language.token(context, rank) for rank in range(top))])
        found.append(
            {
                str(token): {
                    "logprob": language.logprob(context, token),
                    "rank": language.rank(context, token) + 1,
                    "decoded_token": text_of([token]),
                }
                for token in listed
            }
        )
    return found


def _name(asked: Asked, token: int) -> str:
    return f"token_id:{token}" if asked.tokens_as_ids else text_of([token])


def streamed(asked: Asked, generated: Sequence[Generated], number: int, first_s: float, options: Options) -> Script:
    """The script of a streamed response: its first token comes at `first_s`, another every `itl_s`.

    All prompts of one request advance together.
    """
    fault = asked.fault
    writer = _EventWriter(asked, generated, number, options)
    if asked.chat or is_kind(fault, "empty-first"):
        for index in range(len(generated)):
            yield 0.0, writer.opening(index)
    per_event = fault.n if fault is not None and fault.kind in ("multi-token", "uncounted") else 1
    most = max(len(one.tokens) for one in generated)
    at_s = first_s
    for start in range(0, most, per_event):
        at_s = first_s + (min(start + per_event, most) - 1) * options.itl_s
        for index, one in enumerate(generated):
            if start < len(one.tokens):
                yield at_s, writer.event(index, start, min(start + per_event, len(one.tokens)))
    if asked.include_usage and not is_kind(fault, "no-usage"):
        yield at_s, writer.last()
    if not is_kind(fault, "no-done"):
        yield at_s, DONE


class _EventWriter:
    """Writes events; the parts that do not change are made once."""

    def __init__(self, asked: Asked, generated: Sequence[Generated], number: int, options: Options) -> None:
        self._asked = asked
        self._generated = generated
        self._language = Language(options.vocabulary)
        self._counts = [0] * len(generated)
        kind = "chat.completion.chunk" if asked.chat else "text_completion"
        stem = "chatcmpl" if asked.chat else "cmpl"
        self._common = {
            "id": f"{stem}-fake-{number}", "object": kind, "created": int(time.time()), "model": options.model,
        }  # fmt: skip
        self._prefix = b"data: " + _compact(self._common)[:-1] + b',"choices":[{"index":'
        self._plain = asked.logprobs is None and not asked.return_token_ids and not _rewrites(asked.fault)
        self._usage = asked.usage_per_chunk and not is_kind(asked.fault, "no-usage", "uncounted")

    def opening(self, index: int) -> bytes:
        """An event without content."""
        part: dict[str, Any] = {"delta": {"role": "assistant", "content": ""}} if self._asked.chat else {"text": ""}
        return self._json(
            [{"index": index, **part, "logprobs": None, "finish_reason": None}], 0 if self._usage else None
        )

    def event(self, index: int, start: int, end: int) -> bytes:
        """Tokens `start` ... `end - 1` of one prompt's output."""
        one = self._generated[index]
        self._counts[index] = end
        finish = one.finish_reason if end == len(one.tokens) else None
        text = one.text[start:end] if one.text.isascii() else text_of(one.tokens[start:end])
        count = _running(self._asked.fault, sum(self._counts)) if self._usage else None
        if self._plain:
            return self._fast(index, text, finish, count)
        return self._slow(index, (start, end), text, finish, count)

    def last(self) -> bytes:
        """The usage event."""
        fault, tokens = self._asked.fault, sum(len(one.tokens) for one in self._generated)
        tokens += fault.n if fault is not None and fault.kind == "usage-more" else 0
        return b"data: " + _compact({**self._common, "choices": [], "usage": usage(self._generated, tokens)}) + b"\n\n"

    def _fast(self, index: int, text: str, finish: str | None, count: int | None) -> bytes:
        quoted = json.dumps(text).encode()
        reason = b"null" if finish is None else b'"%b"' % finish.encode()
        if self._asked.chat:
            body = b'%d,"delta":{"content":%b},"logprobs":null,"finish_reason":%b}]' % (index, quoted, reason)
        else:
            body = b'%d,"text":%b,"logprobs":null,"finish_reason":%b,"stop_reason":null}]' % (index, quoted, reason)
        if count is None:
            return self._prefix + body + b"}\n\n"
        prompt = sum(len(one.prompt) for one in self._generated)
        return (
            self._prefix
            + body
            + (
                b',"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}}\n\n'
                % (prompt, prompt + count, count)
            )
        )

    def _slow(self, index: int, span: tuple[int, int], text: str, finish: str | None, count: int | None) -> bytes:
        asked, fault = self._asked, self._asked.fault
        one = self._generated[index]
        tokens = one.tokens[span[0] : span[1]]
        if fault is not None and fault.kind == "empty-text" and span[1] % fault.n == 0:
            text = ""
        choice: dict[str, Any] = {"index": index, "logprobs": None, "finish_reason": finish, "stop_reason": None}
        if asked.chat:
            key = "reasoning_content" if is_kind(fault, "reasoning") else "content"
            choice["delta"] = {key: text}
        else:
            choice["text"] = text
        if asked.logprobs is not None and not asked.chat:
            before = (*one.prompt, *one.tokens[: span[1]])
            choice["logprobs"] = _logprobs(asked, before, len(one.prompt) + span[0], self._language)
        if asked.return_token_ids:
            choice["prompt_token_ids"] = list(one.prompt) if span[0] == 0 else None
            choice["token_ids"] = list(tokens)
        return self._json([choice], count)

    def _json(self, choices: list[dict[str, Any]], count: int | None) -> bytes:
        value: dict[str, Any] = {**self._common, "choices": choices}
        if count is not None:
            value["usage"] = usage(self._generated, count)
        spaced = is_kind(self._asked.fault, "spaces")
        return b"data: " + (json.dumps(value).encode() if spaced else _compact(value)) + b"\n\n"


def _rewrites(fault: Fault | None) -> bool:
    return is_kind(fault, "empty-text", "spaces", "reasoning")


def _running(fault: Fault | None, count: int) -> int:
    """The running count that stands beside `count` tokens."""
    if fault is not None and fault.kind == "usage-lags":
        return max(0, count - fault.n)
    if is_kind(fault, "usage-sums"):
        return count * (count + 1) // 2
    return 1 if is_kind(fault, "usage-ones") else count


def _compact(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def error_body(code: int, message: str) -> bytes:
    """An error as vLLM writes it."""
    kinds = {400: "BadRequestError", 401: "Unauthorized", 404: "NotFoundError", 429: "RateLimitError"}
    error = {"message": message, "type": kinds.get(code, "InternalServerError"), "param": None, "code": code}
    return _compact({"error": error})


def delayed(body: bytes, at_s: float) -> Iterator[tuple[float, bytes]]:
    """The script of a body that comes at once, after a time."""
    yield at_s, body
