"""What ``gpu_correctness`` asks an engine: each kind of question gives answers to hold against the reference."""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpu_cases import CAPTURED

__all__ = ["QUESTIONS", "Answers", "at_both_depths", "difference"]

GRAMMARS: dict[str, dict[str, Any]] = {
    "regex": {"regex": "[0-9]{3}-[a-f]{4}"},
    "choice": {"choice": ["red", "green"]},
    "json": {
        "json": {
            "type": "object",
            "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", "yy"]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        }
    },
}


@dataclass
class Answers:
    """What an engine answered.

    Attributes:
        greedy: vLLM's outputs of greedy requests.
        pairs: the same request skipping and at full depth.
        failures: what was wrong with an answer by itself.
    """

    greedy: list[Any]
    pairs: list[tuple[Any, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def _parameters(max_tokens: int, **more: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(max_tokens=max_tokens, **{"temperature": 0.0, "logprobs": 1, "ignore_eos": True} | more)


def _inputs(prompts: Sequence[list[int]], **more: Any) -> list[dict[str, Any]]:
    return [{"prompt_token_ids": ids, **more} for ids in prompts]


def _mixed(count: int, max_tokens: int) -> list[Any]:
    """Greedy requests, every fourth with prompt logprobs, every fourth at full depth."""
    greedy = _parameters(max_tokens)
    scored = _parameters(2, prompt_logprobs=0)
    deep = _parameters(4, extra_args={"swiftkv_full": 1})
    return [(scored, greedy, deep, greedy)[index % 4] for index in range(count)]


def _standard(engine: Any, prompts: list[list[int]]) -> Answers:
    """Cold, then warm beside requests that run all layers, then one long prompt alone."""
    inputs = _inputs(prompts)
    found = engine.generate(inputs, _parameters(12), use_tqdm=False)
    found += engine.generate(inputs, _mixed(len(inputs), 12), use_tqdm=False)
    # Its middle chunks need no logits at all.
    found += engine.generate(_inputs([max(prompts, key=len)[::-1]]), _parameters(12), use_tqdm=False)
    return Answers(found)


def _batch_sizes(engine: Any, prompts: list[list[int]]) -> Answers:
    """Equal answers from batches of one less and one more than each captured size: decode steps in padded graphs."""
    short = sorted(prompts, key=len)
    sizes = sorted({size + more for size in CAPTURED for more in (-1, 1)} & set(range(1, len(short) + 1)))
    found: list[Any] = []
    for size in sizes:
        found += engine.generate(_inputs(short[:size]), _parameters(6), use_tqdm=False)
    found += engine.generate(_inputs(short), _mixed(len(short), 6), use_tqdm=False)
    return Answers(found)


def _long_answers(engine: Any, prompts: list[list[int]]) -> Answers:
    """More tokens than a narrow cache holds, so that requests are preempted and computed again; every eighth scored."""
    parameters = [_parameters(60, prompt_logprobs=0 if index % 8 == 0 else None) for index in range(len(prompts))]
    return Answers(engine.generate(_inputs(prompts), parameters, use_tqdm=False))


def _repetitions(engine: Any, prompts: list[list[int]]) -> Answers:
    """Prompts that repeat themselves, so that n-grams are found; some are scored, some run at full depth."""
    draw = random.Random(13)
    repeated = [([draw.randrange(258) for _ in range(5)] * 80)[: 7 + 11 * index] for index in range(24)]
    found = engine.generate(_inputs(repeated), _parameters(24), use_tqdm=False)
    found += engine.generate(_inputs(prompts[:24] + repeated), _mixed(48, 12), use_tqdm=False)
    return Answers(found)


def _grammars(engine: Any, prompts: list[list[int]]) -> Answers:
    """In one batch: every prompt plain, and under each grammar skipping and at full depth."""
    from vllm.sampling_params import StructuredOutputsParams

    chosen = prompts[:24]
    inputs, parameters, names = _inputs(chosen), [_parameters(12)] * len(chosen), []
    for ids in chosen:
        for name, grammar in GRAMMARS.items():
            structured = {"structured_outputs": StructuredOutputsParams(**grammar), "ignore_eos": False}
            names.append(name)
            inputs += _inputs([ids, ids])
            parameters += [_parameters(60, extra_args={"swiftkv_full": full}, **structured) for full in (0, 1)]
    found = engine.generate(inputs, parameters, use_tqdm=False)
    free, bound = found[: len(chosen)], found[len(chosen) :]
    pairs = list(zip(bound[::2], bound[1::2], strict=True))
    tokenizer, failures = engine.get_tokenizer(), []
    for name, pair in zip(names, pairs, strict=True):
        # Not the output's text, which also holds what the prompt's last bytes left undecoded.
        texts = [tokenizer.decode(list(one.outputs[0].token_ids), skip_special_tokens=True) for one in pair]
        failures += [f"{text!r} does not obey the {name} grammar" for text in texts if not _obeys(name, text)]
    return Answers(free, pairs, failures)


def _obeys(name: str, text: str) -> bool:
    grammar = GRAMMARS[name]
    if name == "regex":
        return re.fullmatch(grammar["regex"], text) is not None
    if name == "choice":
        return text in grammar["choice"]
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return False
    return set(value) == {"a", "b"} and isinstance(value["a"], bool) and value["b"] in ("x", "yy")


QUESTIONS: Mapping[str, Callable[[Any, list[list[int]]], Answers]] = {
    "standard": _standard,
    "batch sizes": _batch_sizes,
    "grammars": _grammars,
    "long answers": _long_answers,
    "repetitions": _repetitions,
}
"""Kind of questions -> a function of (vLLM's ``LLM``, prompts)."""


def at_both_depths(engine: Any, prompts: list[list[int]], *, cached: bool, full: bool) -> list[Any]:
    """Greedy answers of one depth, from a prefix cache that the other depth does not share."""
    salt = {"cache_salt": "full" if full else "skip"} if cached else {}
    parameters = _parameters(8, extra_args={"swiftkv_full": int(full)})
    answers: list[Any] = engine.generate(_inputs(prompts, **salt), parameters, use_tqdm=False)
    return answers


def difference(one: Any, other: Any) -> list[float]:
    """Differences of logprob between two answers to one prompt, up to the first token that differs, in nat."""
    first, second = one.outputs[0], other.outputs[0]
    differences = []
    for step, (token, its_pair) in enumerate(zip(first.token_ids, second.token_ids, strict=False)):
        differences.append(abs(first.logprobs[step][token].logprob - second.logprobs[step][its_pair].logprob))
        if token != its_pair:
            break
    return differences
