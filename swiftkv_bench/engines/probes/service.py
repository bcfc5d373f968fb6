"""Probes of the service: context length, repeated answers, the prefix cache, prompt logprobs."""

import math
from typing import Any

from swiftkv_bench.engines.client import RefusedError
from swiftkv_bench.engines.probes.asking import Asking, gap, rounding, scored_tokens
from swiftkv_bench.engines.probes.identity import PROBE, recorded
from swiftkv_bench.schema.engine import EngineInfo, EngineSpec
from swiftkv_bench.schema.manifest import Probe, Status
from swiftkv_bench.units import duration

_STREAMED_TOKENS = 12
_AT_ONCE_S = 0.005
"""No model writes that many tokens in less."""
SCORED_PROMPT_TOKENS = 4200
"""Longest prompt whose log-probabilities are asked for; less with a large vocabulary: `scored_tokens`."""


def context_length(spec: EngineSpec, info: EngineInfo) -> Probe:
    """Whether prompts as long as asked for are served."""
    data = {"asked": spec.max_model_len, "served": info.max_model_len}
    status: Status = "not run"
    detail = "the server does not tell its context length"
    if info.max_model_len is not None:
        status = "pass" if info.max_model_len >= spec.max_model_len else "fail"
        detail = f"{info.max_model_len:,} tokens served, {spec.max_model_len:,} asked for"
    return Probe(name="context length", arm=spec.arm, status=status, detail=detail, data=data, stops=("load",))


def repeatable(asking: Asking) -> Probe:
    """Whether greedy requests, alone and without cached prefixes, are answered alike twice (A/A)."""
    first = asking.greedy(asking.prompts, salt="once")
    again = asking.greedy(asking.prompts, salt="again")
    found = gap(first, again)
    equal = found.answers - found.changed
    detail = (
        f"{equal} of {found.answers} greedy answers were the same when asked again, each time without a cached prefix;"
        f" log-probabilities differ by at most {found.worst:.2g} nat"
    )
    status: Status = "pass" if equal == found.answers and found.within(rounding(asking.spec)) else "fail"
    data = {"equal": equal, "answers": found.answers, "worst_nat": _finite(found.worst)}
    if status == "pass":
        data |= recorded(first)
    return Probe(name=PROBE, arm=asking.arm, status=status, detail=detail, data=data)


def streams(asking: Asking) -> list[Probe]:
    """Whether another's server sends tokens as they come, and no proxy in between keeps them back."""
    if asking.spec.kind != "url":
        return []
    body = {
        "model": asking.info.served_model, "prompt": asking.prompts[0], "max_tokens": _STREAMED_TOKENS,
        "temperature": 0.0, "stream": True,
    }  # fmt: skip
    probe: dict[str, Any] = {"name": "streams", "arm": asking.arm}
    try:
        times_s = asking.client.read_times("/v1/completions", body)
    except RefusedError as e:
        return [Probe(**probe, status="not run", detail=str(e))]
    span_s = max(times_s, default=0.0) - min(times_s, default=0.0)
    data = {"pieces": len(times_s), "span_s": span_s}
    if span_s > _AT_ONCE_S:
        detail = f"an answer of {_STREAMED_TOKENS} tokens came in {len(times_s)} pieces over {duration(span_s)}"
        return [Probe(**probe, status="pass", detail=detail, data=data)]
    detail = (
        f"an answer of {_STREAMED_TOKENS} tokens came all at once: the server does not stream, or a proxy in between "
        "keeps the answer until it is whole (nginx: proxy_buffering off); TTFT, TPOT and ITL cannot be measured so"
    )
    return [Probe(**probe, status="fail", detail=detail, data=data)]


def prefix_cache(asking: Asking) -> Probe:
    """Whether a repeated prompt is read from the cache exactly if caching was asked for."""
    asked = _caching_asked(asking.spec)
    says = asking.page().label("vllm:cache_config_info", "enable_prefix_caching")
    prompt = asking.draw(len(asking.prompts[-1]))
    asking.greedy([prompt], salt="cached", tokens=1)
    before = asking.page().total("vllm:prefix_cache_hits_total")
    asking.greedy([prompt], salt="cached", tokens=1)
    after = asking.page().total("vllm:prefix_cache_hits_total")
    hits = None if before is None or after is None else after - before
    probe: dict[str, Any] = {"name": "prefix cache", "arm": asking.arm, "stops": ("load",)}
    probe["data"] = {"asked": asked, "says": says, "hit_tokens": hits}
    if hits is None and says is None:
        detail = "the server's /metrics does not tell whether it caches prefixes"
        return Probe(**probe, status="not run", detail=detail)
    # A server that says nothing of its hits is believed; one that counts them is not asked.
    on = says == "True" if hits is None else hits > 0
    seen = "" if hits is None else f": {hits:,.0f} of {len(prompt):,} tokens of a repeated prompt came from it"
    state = f"prefix caching is {'on' if on else 'off'}{seen}"
    if asked is None:
        return Probe(**probe, status="pass", detail=f"{state} (the server was started elsewhere)")
    if on == asked:
        return Probe(**probe, status="pass", detail=f"{state}, as asked")
    return Probe(**probe, status="fail", detail=f"{state}, but was asked to be {'on' if asked else 'off'}")


def _caching_asked(spec: EngineSpec) -> bool | None:
    """What the command line orders; None for a server that somebody else started."""
    name = "prefix-cache" if spec.kind == "fake" else "enable-prefix-caching"
    given = spec.args.get(name)
    if spec.kind == "url":
        return None if given is None else given is not False
    return given is not False if given is not None else spec.kind == "vllm"  # vLLM caches unless told otherwise


def honest_prompt_logprobs(asking: Asking) -> Probe:
    """Whether prompt logprobs are the model's: the engine's own next token, made part of the prompt, scores the same.

    A row whose logits the engine samples from has run every layer; the same row inside a longer prompt has not,
    where an engine skips layers and does not notice that the request wants its logits.
    """
    prompts = [*asking.prompts, asking.long_prompt[: min(SCORED_PROMPT_TOKENS, scored_tokens(asking.vocabulary))]]
    limit = rounding(asking.spec)
    probe: dict[str, Any] = {"name": "honest prompt logprobs", "arm": asking.arm}
    gaps: list[float] = []
    for prompt, answer in zip(prompts, asking.greedy(prompts, salt="honest", tokens=1), strict=True):
        name = answer.tokens[0]
        if not name.startswith("token_id:") or not answer.logprobs:
            detail = "the server does not name its tokens by id with log-probabilities"
            return Probe(**probe, status="not run", detail=detail)
        token = name.removeprefix("token_id:")
        try:
            body = {"prompt": [*prompt, int(token)], "max_tokens": 1, "prompt_logprobs": 0}
            found = asking.complete(body, "honest")[0].get("prompt_logprobs")
        except RefusedError as e:
            # An engine that refuses says nothing wrong; one that breaks may not be able to write its numbers.
            status: Status = "not run" if e.status < 500 else "fail"
            return Probe(**probe, status=status, detail=f"prompt logprobs are not answered: {e}")
        if not isinstance(found, list) or not found or not isinstance(found[-1], dict) or token not in found[-1]:
            return Probe(**probe, status="not run", detail="the server gives no prompt logprobs")
        gaps.append(abs(float(found[-1][token]["logprob"]) - answer.logprobs[0]))
    worst = max(g if g == g else math.inf for g in gaps)
    honest = worst <= limit.worst
    detail = (
        f"{len(gaps)} greedy tokens score the same as a part of the prompt within {worst:.2g} nat"
        if honest
        else f"prompt logprobs are meaningless: a greedy token scores {worst:.2g} nat otherwise as a part of the prompt"
        f" (rounding: {limit.worst} nat), so the engine skipped layers for rows whose logits were asked for"
    )
    data = {"worst_nat": _finite(worst), "limit_nat": limit.worst, "longest_prompt": len(prompts[-1])}
    return Probe(**probe, status="pass" if honest else "fail", detail=detail, data=data)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
