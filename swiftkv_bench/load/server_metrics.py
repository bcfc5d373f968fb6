"""A vLLM server's own counters: read from `/metrics`, compared between two moments.

The page is Prometheus text (https://prometheus.io/docs/instrumenting/exposition_formats/); names are vLLM's
(vllm/v1/metrics/loggers.py). Histograms give their sum and count, labels are summed over.
"""

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from swiftkv_bench.errors import EngineError
from swiftkv_bench.load.target import Target

TIMEOUT_S = 10.0
_PREFIX = "vllm:"
_SKIPPED = ("_bucket", "_created")


def read(target: Target) -> dict[str, float]:
    """Counters, gauges and histogram sums and counts now, by name without `vllm:`; empty where there is no page.

    Raises:
        EngineError: the server cannot be reached.
    """
    url = target.base_url.rstrip("/") + "/metrics"
    headers = {} if target.api_key is None else {"Authorization": f"Bearer {target.api_key}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
            return parse(answer.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError:
        return {}
    except OSError as e:
        raise EngineError(f"the engine does not answer at {url}: {e}; see its log") from e


def parse(page: str) -> dict[str, float]:
    """Values of a Prometheus text page whose names begin with `vllm:`, summed over labels, buckets left out."""
    values: dict[str, float] = {}
    for line in page.splitlines():
        if not line.startswith(_PREFIX):
            continue
        name, value = _sample(line[len(_PREFIX) :])
        if name is not None and not name.endswith(_SKIPPED):
            values[name] = values.get(name, 0.0) + value
    return values


def _sample(line: str) -> tuple[str | None, float]:
    brace = line.find("{")
    name = line[:brace] if brace >= 0 else line.split(" ", 1)[0]
    fields = line[line.rfind("}") + 1 if brace >= 0 else len(name) :].split()
    try:
        return name, float(fields[0])
    except (IndexError, ValueError):
        return None, 0.0


@dataclass(frozen=True)
class ServerDelta:
    """What the server counted between two readings. None: the server has no such counter."""

    prefix_queries_tokens: float | None
    prefix_hits_tokens: float | None
    """Prompt tokens found in the prefix cache."""
    preemptions: float | None
    prompt_tokens: float | None
    output_tokens: float | None
    finished: float | None
    """Requests that finished and have times below."""
    queue_s: float | None
    """Mean over these requests: waiting for a place in the batch."""
    prefill_s: float | None
    """Mean: from the first schedule to the first token."""
    decode_s: float | None
    """Mean: from the first to the last token."""
    ttft_s: float | None
    """Mean, as the server sees it."""
    e2e_latency_s: float | None
    """Mean, as the server sees it."""


def delta(before: Mapping[str, float], after: Mapping[str, float]) -> ServerDelta:
    """Differences of counters and means of histograms between two readings of one server."""

    def counted(name: str) -> float | None:
        if name not in after:
            return None
        return after[name] - before.get(name, 0.0)

    def mean(name: str) -> float | None:
        total, n = counted(f"{name}_sum"), counted(f"{name}_count")
        return None if total is None or n is None or n <= 0 else total / n

    return ServerDelta(
        prefix_queries_tokens=counted("prefix_cache_queries_total"),
        prefix_hits_tokens=counted("prefix_cache_hits_total"),
        preemptions=counted("num_preemptions_total"),
        prompt_tokens=counted("prompt_tokens_total"),
        output_tokens=counted("generation_tokens_total"),
        finished=counted("request_queue_time_seconds_count"),
        queue_s=mean("request_queue_time_seconds"),
        prefill_s=mean("request_prefill_time_seconds"),
        decode_s=mean("request_decode_time_seconds"),
        ttft_s=mean("time_to_first_token_seconds"),
        e2e_latency_s=mean("e2e_request_latency_seconds"),
    )
