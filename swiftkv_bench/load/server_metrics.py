"""A vLLM server's own counters, read from its `/metrics` page.

The page is Prometheus text (https://prometheus.io/docs/instrumenting/exposition_formats/); names are vLLM's
(vllm/v1/metrics/loggers.py). What two readings say of a trial is `swiftkv_bench.metrics`' part.
"""

from collections.abc import Sequence

from swiftkv_bench.engines.client import Client, RefusedError
from swiftkv_bench.engines.probes.metrics_page import Metric, Page
from swiftkv_bench.load.target import Target

TIMEOUT_S = 10.0
_PREFIX = "vllm:"
_SKIPPED = ("_bucket", "_created")
_SHARES = ("_perc",)


def read(target: Target) -> dict[str, float]:
    """Counters, gauges and histogram sums and counts now, by name without `vllm:`; empty when there is no such page.

    Raises:
        EngineError: the server cannot be reached.
    """
    with Client(target.base_url, target.access, timeout_s=TIMEOUT_S, patient=False) as client:
        try:
            return parse(client.get("/metrics"), target.model)
        except RefusedError:
            return {}


def parse(page: str, model: str) -> dict[str, float]:
    """Of a Prometheus text page: name without `vllm:` -> value; buckets and other names left out.

    A page of several engines or replicas has a sample for each. Shares (`kv_cache_usage_perc`) give the largest, all
    else the sum. Of several models the one asked counts; where the page does not name it, it says nothing of the load.
    """
    values: dict[str, list[float]] = {}
    for sample in _of_model([m for m in Page.parse(page).samples if m.name.startswith(_PREFIX)], model):
        name = sample.name.removeprefix(_PREFIX)
        if not name.endswith(_SKIPPED):
            values.setdefault(name, []).append(sample.value)
    return {name: max(found) if name.endswith(_SHARES) else sum(found) for name, found in values.items()}


def _of_model(samples: Sequence[Metric], model: str) -> Sequence[Metric]:
    """Samples of one model, and those of none; a lone model may go by another name than the one asked for."""
    names = {m.labels["model_name"] for m in samples if "model_name" in m.labels}
    if len(names) <= 1:
        return samples
    return [m for m in samples if m.labels.get("model_name", model) == model] if model in names else []
