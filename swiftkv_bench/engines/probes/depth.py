"""Probes of the depth that rows run: is SwiftKV on as ordered, and do skipped layers change no answer?

Needs the counters of this package's vLLM plug-in. One running engine answers both ways: a request with
``vllm_xargs={"swiftkv_full": 1}`` runs all layers for all its rows beside others that skip.
"""

from collections.abc import Callable, Mapping
from typing import Any

from swiftkv_bench.engines.probes.asking import Answer, Asking, Gap, gap, rounding
from swiftkv_bench.engines.probes.metrics_page import Counts
from swiftkv_bench.schema.engine import BASELINES
from swiftkv_bench.schema.manifest import Probe

_MODEL = "swiftkv:model_info"
_EVERYTHING = ("accuracy", "load")


def mode(asking: Asking) -> list[Probe]:
    """Whether the engine runs SwiftKV as its arm says; empty where nothing can be known of a baseline."""
    probe: dict[str, Any] = {"name": "SwiftKV mode", "arm": asking.arm, "stops": _EVERYTHING}
    page = asking.page()
    model, before = page.labels(_MODEL), Counts.of(page)
    if asking.arm in BASELINES:
        return _baseline(asking, probe, model)
    if model is None and before is None:
        # The engine is ours, its page can be read, and the plug-in's counters are not there.
        if asking.spec.kind == "vllm" and page.samples:
            detail = (
                "the engine runs no SwiftKV: its /metrics has no swiftkv counters, so another model class serves"
                " the checkpoint, silently, at the baseline's cost"
            )
            return [Probe(**probe, status="fail", detail=detail)]
        detail = "the server's /metrics has no swiftkv counters: not this plug-in, or counting is off"
        return [Probe(**probe, status="not run", detail=detail)]
    wrong = _other_than_asked(asking, model or {})
    if wrong is not None:
        return [Probe(**probe, status="fail", detail=wrong, data=dict(model or {}))]
    counted = _counted(asking, lambda: asking.greedy([asking.draw(len(asking.prompts[-1]))], salt="mode", tokens=1))
    if counted is None or counted.prompt_tokens <= 0:
        return [Probe(**probe, status="not run", detail="the swiftkv counters did not move with a request")]
    skips = counted.second_half_tokens < counted.prompt_tokens / 2
    detail = (
        f"{_layers(model)}of {counted.prompt_tokens:,.0f} prompt tokens {counted.second_half_tokens:,.0f}"
        " ran the later layers"
    )
    data = {
        **(model or {}),
        "prompt_tokens": counted.prompt_tokens,
        "second_half_tokens": counted.second_half_tokens,
        "skipped_tokens": counted.prompt_tokens - counted.second_half_tokens,
    }
    return [Probe(**probe, status="pass" if skips == (asking.arm == "swiftkv") else "fail", detail=detail, data=data)]


def _baseline(asking: Asking, probe: dict[str, Any], model: Mapping[str, str] | None) -> list[Probe]:
    if model is not None:
        detail = "the baseline engine serves a SwiftKV model, so the comparison would be of SwiftKV with itself"
        return [Probe(**probe, status="fail", detail=detail, data=dict(model))]
    if asking.spec.kind != "vllm":
        return []
    return [Probe(**probe, status="pass", detail="no SwiftKV model is served, as the baseline must be")]


def _layers(model: Mapping[str, str] | None) -> str:
    if model is None:
        return ""
    return f"mode {model.get('mode')}, {model.get('key_value_layers')} of {model.get('layers')} layers have own K/V; "


def _other_than_asked(asking: Asking, model: Mapping[str, str]) -> str | None:
    """What the engine says of its model against the checkpoint's config.json; None when they agree."""
    config = asking.spec.architecture or {}
    for label, key in (("key_value_layers", "num_key_value_layers"), ("layers", "num_hidden_layers")):
        if label in model and config.get(key) is not None and str(config[key]) != model[label]:
            return f"the engine serves a model with {key} {model[label]}, config.json says {config[key]}"
    return None


def skip_equals_full(asking: Asking) -> list[Probe]:
    """Whether skipping changes an answer; empty for engines that do not skip or have no switch.

    Prompts are asked alone, behind a cached prefix, and together, so that short ones decode in the steps in which
    the long one is computed in chunks. What rounding does is measured, too: full depth alone against full depth in
    company.
    """
    if asking.arm != "swiftkv" or Counts.of(asking.page()) is None:
        return []
    # The short ones first: they decode while later chunks of the long one are computed.
    prompts = [*asking.prompts, asking.long_prompt]
    tail = asking.draw(40)
    behind = [[*asking.prompts[-1], *tail], [*asking.long_prompt[: -len(tail)], *tail]]
    skipping: list[Answer] = []
    long_counts = _counted(asking, lambda: skipping.extend(asking.greedy(prompts, salt="skip")))
    skipping += asking.greedy(behind, salt="skip")
    skipping += asking.together(prompts, salt="skip together")
    full: list[Answer] = []
    full_counts = _counted(asking, lambda: full.extend(asking.greedy(prompts, salt="full", full=True)))
    full += asking.greedy(behind, salt="full behind", full=True)
    company = asking.together(prompts, salt="full together", full=True)
    noise = gap(full[: len(prompts)], company)
    return [_judged(asking, gap(skipping, [*full, *company]), noise, long_counts, full_counts)]


def _judged(asking: Asking, found: Gap, noise: Gap, skipped: Counts | None, full: Counts | None) -> Probe:
    limit = rounding(asking.spec).at_least(noise)
    probe: dict[str, Any] = {"name": "skip equals full", "arm": asking.arm, "stops": _EVERYTHING}
    probe["data"] = {
        "mean_nat": found.mean, "worst_nat": min(found.worst, 1e9), "limit_mean_nat": limit.mean,
        "limit_worst_nat": limit.worst, "answers": found.answers, "changed": found.changed,
        "steps_without_second_half": None if skipped is None else skipped.steps_without_second_half,
        "longest_prompt": len(asking.long_prompt),
    }  # fmt: skip
    if full is None or full.second_half_tokens < 0.9 * full.tokens:
        detail = "the engine did not run all layers for requests that asked for it, so skip and full cannot be compared"
        return Probe(**probe, status="fail", detail=detail)
    asked = f"{found.answers} answers to prompts of up to {len(asking.long_prompt):,} tokens"
    numbers = f"log-probabilities by {found.mean:.2g} nat on average and {found.worst:.2g} at most"
    if found.within(limit):
        chunks = "" if not skipped or not skipped.steps_without_second_half else (
            f"; {skipped.steps_without_second_half:,.0f} chunks left the later layers out whole"
        )  # fmt: skip
        detail = f"skipping and full depth give the same: {asked} differ in {numbers}{chunks}"
        return Probe(**probe, status="pass", detail=detail)
    detail = (
        f"rows were skipped whose output was needed: {asked} differ from full depth in {numbers}"
        f" (rounding: {limit.mean:.2g} and {limit.worst:.2g}), in {found.changed} other tokens"
    )
    return Probe(**probe, status="fail", detail=detail)


def _counted(asking: Asking, work: Callable[[], object]) -> Counts | None:
    """What the engine counted while ``work`` ran; None where it does not count."""
    before = Counts.of(asking.page())
    work()
    after = Counts.of(asking.page())
    return None if before is None or after is None else after.since(before)
