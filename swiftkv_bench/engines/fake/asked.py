"""Request bodies of /v1/completions and /v1/chat/completions, checked as vLLM checks them."""

import json
from dataclasses import dataclass
from typing import Any

from swiftkv_bench.engines.fake import language
from swiftkv_bench.engines.fake.faults import Fault, run_out_of_memory
from swiftkv_bench.engines.fake.options import Options
from swiftkv_bench.errors import InputError

_MOST_LOGPROBS = 20


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Asked:
    """One request, understood."""

    chat: bool
    prompts: tuple[tuple[int, ...], ...]
    max_tokens: int
    stream: bool
    include_usage: bool
    usage_per_chunk: bool
    echo: bool
    logprobs: int | None
    prompt_logprobs: int | None
    logprob_token_ids: tuple[int, ...]
    allowed_token_ids: frozenset[int] | None
    stop: tuple[str, ...]
    ignore_eos: bool
    return_token_ids: bool
    tokens_as_ids: bool
    cache_salt: str
    fault: Fault | None


def understand(body: bytes, options: Options, *, chat: bool) -> Asked:
    """What a request asks.

    Raises:
        RefusedError: it is no request, or asks what the engine was told to refuse.
    """
    try:
        value = json.loads(body)
    except ValueError as e:
        raise RefusedError(400, f"the body is no JSON: {e}") from e
    if not isinstance(value, dict):
        raise RefusedError(400, "the body is no JSON object")
    if value.get("model", options.model) != options.model:
        raise RefusedError(404, f"The model `{value['model']}` does not exist.")
    if value.get("n", 1) != 1 or value.get("use_beam_search"):
        raise RefusedError(400, "the fake engine gives one choice per prompt, without beam search")
    asked = _asked(value, options, chat=chat)
    _check(asked, options)
    return asked


def _asked(value: dict[str, Any], options: Options, *, chat: bool) -> Asked:
    prompts = (_chat_prompt(value),) if chat else _prompts(value.get("prompt"))
    stream_options = value.get("stream_options") or {}
    max_tokens = value.get("max_completion_tokens") or value.get("max_tokens")
    if max_tokens is None:
        max_tokens = options.max_model_len - max(map(len, prompts)) if chat else 16
    logprobs = value.get("logprobs")
    if chat:
        logprobs = value.get("top_logprobs", 0) if logprobs else None
    prompt_logprobs = value.get("prompt_logprobs")
    if prompt_logprobs is None and value.get("echo") and logprobs is not None:
        prompt_logprobs = logprobs
    stop = value.get("stop") or ()
    allowed = value.get("allowed_token_ids")
    try:
        fault = Fault.parse(value["fault"]) if value.get("fault") else options.fault
    except InputError as e:
        raise RefusedError(400, str(e)) from e
    return Asked(
        chat=chat,
        prompts=prompts,
        max_tokens=max_tokens,
        stream=bool(value.get("stream")),
        include_usage=bool(stream_options.get("include_usage")),
        usage_per_chunk=bool(stream_options.get("continuous_usage_stats")),
        echo=bool(value.get("echo")),
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        logprob_token_ids=tuple(value.get("logprob_token_ids") or ()),
        allowed_token_ids=None if allowed is None else frozenset(allowed),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        ignore_eos=bool(value.get("ignore_eos")),
        return_token_ids=bool(value.get("return_token_ids")),
        tokens_as_ids=bool(value.get("return_tokens_as_token_ids")),
        cache_salt=str(value.get("cache_salt") or ""),
        fault=fault,
    )


def _prompts(prompt: Any) -> tuple[tuple[int, ...], ...]:
    if isinstance(prompt, str) and prompt:
        return (tuple(language.tokenise(prompt)),)
    if isinstance(prompt, list) and prompt:
        if isinstance(prompt[0], int):
            return (tuple(prompt),)
        if all(isinstance(part, str | list) and part for part in prompt):
            return tuple(_prompts(part)[0] for part in prompt)
    raise RefusedError(400, "Either prompt or prompt_embeds must be provided and non-empty.")


def _chat_prompt(value: dict[str, Any]) -> tuple[int, ...]:
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "messages must be a non-empty list")
    return tuple(language.tokenise(render_chat(messages)))


def render_chat(messages: list[dict[str, Any]]) -> str:
    """The prompt of a conversation: `role: content` lines, then `assistant:`."""
    lines = [f"{message.get('role')}: {message.get('content')}\n" for message in messages]
    return "".join(lines) + "assistant:"


def _check(asked: Asked, options: Options) -> None:
    longest = max(map(len, asked.prompts))
    if longest + asked.max_tokens > options.max_model_len:
        raise RefusedError(
            400,
            f"This model's maximum context length is {options.max_model_len} tokens. However, you requested "
            f"{asked.max_tokens} output tokens and your prompt contains {longest} input tokens.",
        )
    ids = [i for prompt in asked.prompts for i in (max(prompt), min(prompt))]
    ids += [*asked.logprob_token_ids, *(asked.allowed_token_ids or ())]
    if max(ids) >= options.vocabulary or min(ids) < 0:
        raise RefusedError(400, f"a token id is out of vocabulary (0 to {options.vocabulary - 1})")
    if asked.max_tokens < 1 and not (asked.echo and asked.max_tokens == 0):
        raise RefusedError(400, f"max_tokens must be at least 1, got {asked.max_tokens}.")
    if asked.logprob_token_ids and asked.logprobs is None:
        raise RefusedError(400, "when using `logprob_token_ids`, `logprobs` must be set.")
    if asked.stream and asked.prompt_logprobs is not None and asked.prompt_logprobs > 0:
        raise RefusedError(400, "`prompt_logprobs` are not available when `stream=True`.")
    if max(asked.logprobs or 0, asked.prompt_logprobs or 0) > _MOST_LOGPROBS:
        raise RefusedError(400, f"Requested sample logprobs is greater than max allowed: {_MOST_LOGPROBS}")
    if asked.prompt_logprobs is not None and options.prompt_logprobs == "refused":
        raise RefusedError(400, "prompt logprobs are not supported by this engine")
    if asked.prompt_logprobs is not None and options.prompt_logprobs == "out-of-memory":
        raise RefusedError(500, run_out_of_memory())
    if asked.allowed_token_ids is not None and not asked.allowed_token_ids:
        raise RefusedError(400, "allowed_token_ids is not None and empty!")
