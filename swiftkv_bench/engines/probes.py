"""What a running engine is asked before it is trusted: is it the engine that was ordered?

Plain HTTP, any OpenAI-compatible server; what a server does not tell is "not run". How exactly an engine can
score given text is probed by ``accuracy``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from swiftkv_bench.engines.client import Client
from swiftkv_bench.engines.models import vocabulary
from swiftkv_bench.errors import EngineError
from swiftkv_bench.schema.engine import EngineInfo, EngineSpec
from swiftkv_bench.schema.manifest import Probe

PROMPT_TOKENS = 300
"""Longer than the 128-token cache block of vLLM's CPU engine, shorter than any prefill chunk."""

OUTPUT_TOKENS = 16
PROMPTS = 4
_SEED = 20241203
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Metric:
    """One sample of a Prometheus page."""

    name: str
    labels: Mapping[str, str]
    value: float


def probe_engine(spec: EngineSpec, info: EngineInfo, api_key: str | None) -> list[Probe]:
    """All probes that apply to an arm's engine.

    Raises:
        EngineError: the engine cannot be reached, or it refuses a plain request.
    """
    prompts = _prompts(spec)
    with Client(info.base_url, api_key) as client:
        probes = [_context_length(spec, info), _repeatable(spec, info, client, prompts), _prefix_cache(spec, client)]
        if spec.arm != "baseline":
            probes.append(_swiftkv_mode(spec, info, client, prompts[-1]))
    return probes


def probe_same_answers(
    first: tuple[EngineSpec, EngineInfo, str | None], second: tuple[EngineInfo, str | None]
) -> Probe:
    """Whether a skipping engine answers as the same weights do with every layer computed.

    Both answer the same fixed prompts greedily; a fault of the skipping shows as tokens that differ beyond what
    rounding does, so the share of equal tokens is reported and only an early divergence of most prompts fails.

    Args:
        first: the skipping engine with its specification and API key.
        second: the engine that computes every layer, with its API key.
    """
    spec, info, api_key = first
    prompts = _prompts(spec)
    with Client(info.base_url, api_key) as client:
        skipping = _greedy(client, info.served_model, prompts)
    with Client(second[0].base_url, second[1]) as client:
        full = _greedy(client, second[0].served_model, prompts)
    shares = [_common_prefix(a, b) / OUTPUT_TOKENS for a, b in zip(skipping, full, strict=True)]
    share = float(np.mean(shares))
    return Probe(
        name="skip equals full",
        arm=spec.arm,
        status="pass" if share >= 0.5 else "fail",
        detail=f"greedy tokens up to the first difference from full depth: {share:.0%} of {OUTPUT_TOKENS} x {PROMPTS}",
        data={"equal_share": shares},
    )


def read_metrics(page: str) -> list[Metric]:
    """Samples of a Prometheus text page; histograms and comments included as they stand, timestamps dropped."""
    return list(_samples(page))


def _samples(page: str) -> Iterator[Metric]:
    for line in page.splitlines():
        found = _SAMPLE.match(line)
        if found is not None:
            name, labels, value = found.groups()
            yield Metric(name, dict(_LABEL.findall(labels or "")), float(value))


def _context_length(spec: EngineSpec, info: EngineInfo) -> Probe:
    data = {"asked": spec.max_model_len, "served": info.max_model_len}
    if info.max_model_len is None:
        detail = "the server does not tell its context length"
        return Probe(name="context length", arm=spec.arm, status="not run", detail=detail, data=data)
    fits = info.max_model_len >= spec.max_model_len
    detail = f"{info.max_model_len:,} tokens served, {spec.max_model_len:,} asked for"
    return Probe(name="context length", arm=spec.arm, status="pass" if fits else "fail", detail=detail, data=data)


def _repeatable(spec: EngineSpec, info: EngineInfo, client: Client, prompts: list[list[int]]) -> Probe:
    """Whether the engine answers twice alike; the second time from its prefix cache, where it has one."""
    first = _greedy(client, info.served_model, prompts)
    again = _greedy(client, info.served_model, prompts)
    equal = sum(a == b for a, b in zip(first, again, strict=True))
    detail = f"{equal} of {len(prompts)} greedy answers of {OUTPUT_TOKENS} tokens were the same when asked again"
    status = "pass" if equal == len(prompts) else "fail"
    return Probe(name="repeatable", arm=spec.arm, status=status, detail=detail, data={"equal": equal})


def _prefix_cache(spec: EngineSpec, client: Client) -> Probe:
    """Whether prefix caching is as asked: vLLM's default is on."""
    asked = spec.args.get("enable-prefix-caching", True) is not False
    served = [m.labels.get("enable_prefix_caching") for m in _metrics(client) if m.name == "vllm:cache_config_info"]
    if not served or served[0] is None:
        detail = "the server's /metrics does not tell whether it caches prefixes"
        return Probe(name="prefix cache", arm=spec.arm, status="not run", detail=detail)
    on = served[0] == "True"
    detail = f"prefix caching is {'on' if on else 'off'}, as asked" if on == asked else (
        f"prefix caching is {'on' if on else 'off'} but was asked to be {'on' if asked else 'off'}"
    )  # fmt: skip
    status = "pass" if on == asked else "fail"
    return Probe(name="prefix cache", arm=spec.arm, status=status, detail=detail, data={"on": on, "asked": asked})


def _swiftkv_mode(spec: EngineSpec, info: EngineInfo, client: Client, prompt: list[int]) -> Probe:
    """Whether the engine skips layers for prompt tokens as its arm says, counted on one uncached prompt."""
    before = _swiftkv_counts(client)
    if before is None:
        detail = "the server's /metrics has no swiftkv counters: not this plug-in, or counting is off"
        return Probe(name="SwiftKV mode", arm=spec.arm, status="not run", detail=detail)
    fresh = prompt[::-1]  # The prompt itself is in the prefix cache by now.
    _greedy(client, info.served_model, [fresh], output_tokens=1)
    after = _swiftkv_counts(client) or before
    prompt_tokens, second_half = (after[key] - before[key] for key in ("prompt_tokens", "second_half_tokens"))
    if prompt_tokens <= 0:
        detail = "the swiftkv counters did not move with a request"
        return Probe(name="SwiftKV mode", arm=spec.arm, status="not run", detail=detail)
    skips = second_half < prompt_tokens / 2
    asked = spec.arm == "swiftkv"
    detail = f"of {prompt_tokens:,.0f} prompt tokens {second_half:,.0f} ran the later layers"
    status = "pass" if skips == asked else "fail"
    data = {"prompt_tokens": prompt_tokens, "second_half_tokens": second_half}
    return Probe(name="SwiftKV mode", arm=spec.arm, status=status, detail=detail, data=data)


def _swiftkv_counts(client: Client) -> dict[str, float] | None:
    """Prompt tokens and tokens of the later layers so far; None where the server does not count them."""
    sums: dict[str, float] = {}
    for metric in _metrics(client):
        for key in ("prompt_tokens", "second_half_tokens"):
            if metric.name == f"swiftkv:{key}_total":
                sums[key] = sums.get(key, 0.0) + metric.value
    return sums if len(sums) == 2 else None


def _metrics(client: Client) -> list[Metric]:
    try:
        return read_metrics(client.get("/metrics"))
    except EngineError:
        return []


def _prompts(spec: EngineSpec) -> list[list[int]]:
    """Fixed random prompts, the same for every engine of the same vocabulary."""
    size = None if spec.architecture is None else spec.architecture.get("vocab_size")
    ranges = vocabulary(spec.tokenizer, size if isinstance(size, int) else None)
    ids = np.concatenate([np.arange(low, high) for low, high in ranges])
    length = max(1, min(PROMPT_TOKENS, spec.max_model_len - OUTPUT_TOKENS))
    drawn = np.random.default_rng(_SEED).choice(ids, size=(PROMPTS, length))
    return [[int(i) for i in row] for row in drawn]


def _greedy(
    client: Client, model: str, prompts: list[list[int]], output_tokens: int = OUTPUT_TOKENS
) -> list[list[str]]:
    """Greedy output tokens of each prompt, as the server names them."""
    body: dict[str, Any] = {
        "model": model, "max_tokens": output_tokens, "temperature": 0.0, "ignore_eos": True, "logprobs": 0,
        "return_tokens_as_token_ids": True,
    }  # fmt: skip
    answers = []
    for prompt in prompts:
        choice = client.post("/v1/completions", {**body, "prompt": prompt})["choices"][0]
        logprobs = choice.get("logprobs") or {}
        answers.append([str(token) for token in logprobs.get("tokens") or [choice["text"]]])
    return answers


def _common_prefix(a: list[str], b: list[str]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
