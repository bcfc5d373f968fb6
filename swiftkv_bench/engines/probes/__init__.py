"""What a running engine is asked before it is trusted: is it the engine that was ordered, and are its answers right?

Plain HTTP, any OpenAI-compatible server; what a server does not tell is "not run". Each probe says what of a run is
not measured on the engine when it fails.

===========================  ==========================================================  ==================
probe                        what is asked                                               stops, if it fails
===========================  ==========================================================  ==================
``context length``           does it serve prompts as long as asked for                  load points
``repeatable``               the same requests twice, both cold: the same answers?       nothing
``streams``                  do another's server and its proxies send tokens one by one  nothing
``prefix cache``             does a repeated prompt hit the cache exactly if asked to    load points
``SwiftKV mode``             does it run SwiftKV as its arm says, by its own counters    everything
``skip equals full``         the same prompts skipping and at full depth                 everything
``honest prompt logprobs``   prompt logprobs beside next-token logprobs                  nothing
``right answers``            logprobs beside a forward pass in numpy                     everything
===========================  ==========================================================  ==================

Dishonest prompt logprobs stop nothing here: ``accuracy`` probes every way to score a text on its own, uses exact
ones alone, and leaves a column out that has none. An engine that does not repeat itself is reported, since no figure
depends on it alone: comparisons have intervals. The answers of one that does are recorded; an engine that answers
otherwise when the run is resumed serves another model: `another_model`.
"""

from collections.abc import Iterable

from swiftkv_bench.access import Access
from swiftkv_bench.engines.client import Client
from swiftkv_bench.engines.probes import depth, reference, service
from swiftkv_bench.engines.probes.asking import Asking
from swiftkv_bench.engines.probes.identity import another_model
from swiftkv_bench.schema.engine import EngineInfo, EngineSpec
from swiftkv_bench.schema.manifest import Part, Probe

__all__ = ["another_model", "probe_engine", "why_stopped"]


def probe_engine(spec: EngineSpec, info: EngineInfo, access: Access, *, thorough: bool = False) -> list[Probe]:
    """All probes that apply to an arm's engine.

    Args:
        thorough: also computes the answers of large checkpoints, which takes minutes.

    Raises:
        EngineError: the engine cannot be reached, or it refuses a plain request.
    """
    with Client(info.base_url, access) as client:
        asking = Asking(client, spec, info)
        return [
            service.context_length(spec, info),
            service.repeatable(asking),
            *service.streams(asking),
            service.prefix_cache(asking),
            *depth.mode(asking),
            *depth.skip_equals_full(asking),
            service.honest_prompt_logprobs(asking),
            reference.right_answers(asking, thorough=thorough),
        ]


def why_stopped(probes: Iterable[Probe], arm: str, part: Part) -> str | None:
    """Why a part of the run is not measured on an arm's engine; None when no probe stands against it."""
    failed = [p for p in probes if p.arm == arm and p.status == "fail" and part in p.stops]
    if not failed:
        return None
    return "; ".join(f"the probe `{p.name}` failed: {p.detail}" for p in failed)
