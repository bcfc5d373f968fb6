"""What the server's own counters say of a trial."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerMetrics:
    """Differences of vLLM's counters from before the window to after the last response.

    They cover every request of that time, so they equal the client's only when nothing else used the server. None: the
    server has no such counter.
    """

    requests: int | None
    """Requests whose first token the server sent."""
    ttft_s: float | None
    """Mean, as the server stamps it."""
    queue_s: float | None
    """Mean time from arrival to being scheduled."""
    prefill_s: float | None
    """Mean time from being scheduled to the first token."""
    decode_s: float | None
    """Mean time from the first to the last token."""
    prompt_tokens: int | None
    output_tokens: int | None
    preemptions: int | None
    prefix_hit_share: float | None
    """Prompt tokens found in the prefix cache / prompt tokens looked up; None when it looked up none."""


def server_metrics(before: Mapping[str, float], after: Mapping[str, float]) -> ServerMetrics:
    """From two readings of `/metrics`: counter name without `vllm:` -> sum over its labels."""

    def grown(name: str) -> float | None:
        return after[name] - before.get(name, 0.0) if name in after else None

    def mean(name: str) -> float | None:
        total, count = grown(f"{name}_sum"), grown(f"{name}_count")
        return None if total is None or not count else total / count

    hits, looked_up = grown("prefix_cache_hits_total"), grown("prefix_cache_queries_total")
    return ServerMetrics(
        requests=_whole(grown("time_to_first_token_seconds_count")),
        ttft_s=mean("time_to_first_token_seconds"),
        queue_s=mean("request_queue_time_seconds"),
        prefill_s=mean("request_prefill_time_seconds"),
        decode_s=mean("request_decode_time_seconds"),
        prompt_tokens=_whole(grown("prompt_tokens_total")),
        output_tokens=_whole(grown("generation_tokens_total")),
        preemptions=_whole(grown("num_preemptions_total")),
        prefix_hit_share=None if hits is None or not looked_up else hits / looked_up,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
