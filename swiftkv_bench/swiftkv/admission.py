"""What a request may carry to this package under ``vllm_xargs``, checked when it arrives: HTTP 400 and a sentence.

vLLM runs the checks of every logits processor in the process that takes requests, but shows them the request alone.
The model's vocabulary comes there another way: vLLM makes a plug-in's statistics logger in that process, with the
engine's configuration (``ServedModel``). Offline, ``LLM`` makes none; there the engine's own processor remembers it
where it shares the process. What is not known is not refused: an id that the model does not have then forces nothing.
"""

from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["FORCED_TOKENS", "FULL_DEPTH", "check_forced_tokens", "check_keys", "forced_tokens", "remember"]

FORCED_TOKENS = "swiftkv_forced_tokens"
"""Key of ``vllm_xargs`` (``SamplingParams.extra_args``): the tokens that the request is to emit."""
FULL_DEPTH = "swiftkv_full"
"""Key of ``vllm_xargs``: 1 runs all layers for all rows of the request."""

_PREFIX = "swiftkv_"
_KEYS = (FORCED_TOKENS, FULL_DEPTH)
_ANY_VOCABULARY = 2**31  # ids are 32-bit

# Whoever holds an engine of this process -> its number of tokens; weak, so that it ends with its holder.
_SERVED: "WeakKeyDictionary[Any, int]" = WeakKeyDictionary()


def remember(holder: Any, vllm_config: Any) -> None:
    """Note the vocabulary that ``vllm_config``'s model has, for as long as ``holder`` lives."""
    if vllm_config.model_config is not None:
        _SERVED[holder] = int(vllm_config.model_config.get_vocab_size())


def check_keys(params: Any) -> None:
    """Refuse what is no key of this package although it looks like one, and a switch that is neither on nor off.

    Raises:
        ValueError: names the key, its value, and what may stand there.
    """
    extra = params.extra_args or {}
    for key in extra:
        if str(key).startswith(_PREFIX) and key not in _KEYS:
            raise ValueError(f"vllm_xargs: unknown key {_short(key)}; known are {', '.join(_KEYS)}")
    asked = extra.get(FULL_DEPTH, 0)
    if type(asked) not in (int, bool) or asked not in (0, 1):
        raise ValueError(f"{FULL_DEPTH} is {_short(asked)}, must be 1 for all layers in all rows, or 0")


def check_forced_tokens(params: Any) -> None:
    """Refuse tokens that cannot be emitted.

    Raises:
        ValueError: the tokens are no list of ids of the model, not as many as there are to emit, or beside a grammar.
    """
    tokens = _given(params)
    if tokens is None:
        return
    if not isinstance(tokens, list) or not tokens:
        raise ValueError(f"{FORCED_TOKENS} is {_short(tokens)}, must be a list of token ids, not empty")
    if params.max_tokens != len(tokens):
        raise ValueError(
            f"{FORCED_TOKENS} holds {len(tokens)} tokens but max_tokens is {params.max_tokens}; make them equal"
        )
    if getattr(params, "structured_outputs", None) is not None:
        raise ValueError(
            f"{FORCED_TOKENS} is given beside structured outputs, and both say which tokens come; drop one"
        )
    vocabulary = max(_SERVED.values(), default=_ANY_VOCABULARY)
    for token in tokens:
        if type(token) is not int or not 0 <= token < _ANY_VOCABULARY:
            raise ValueError(f"{FORCED_TOKENS} holds {_short(token)}, must hold token ids alone")
        if token >= vocabulary:
            raise ValueError(f"{FORCED_TOKENS} holds {token}, but the model has tokens 0 .. {vocabulary - 1}")


def forced_tokens(params: Any) -> list[int] | None:
    """The tokens that a request forces; None when it forces none, or came here without a check and cannot be served."""
    tokens = _given(params)
    if tokens is None:
        return None
    try:
        check_forced_tokens(params)
    except ValueError:
        return None
    found: list[int] = tokens
    return found


def _given(params: Any) -> Any:
    extra = getattr(params, "extra_args", None)
    return extra.get(FORCED_TOKENS) if extra else None


def _short(value: Any) -> str:
    """``value`` as Python writes it, at most 60 characters of it: it came from a client."""
    text = repr(value[: 60 if isinstance(value, str) else 10] if isinstance(value, list | str) else value)
    return text if len(text) <= 60 else text[:57] + "..."
