"""A vLLM server's own counters, read from its `/metrics` page.

The page is Prometheus text (https://prometheus.io/docs/instrumenting/exposition_formats/); names are vLLM's
(vllm/v1/metrics/loggers.py). What two readings say of a trial is `swiftkv_bench.metrics`' part.
"""

from swiftkv_bench.engines.client import Client, RefusedError
from swiftkv_bench.load.target import Target

TIMEOUT_S = 10.0
_PREFIX = "vllm:"
_SKIPPED = ("_bucket", "_created")


def read(target: Target) -> dict[str, float]:
    """Counters, gauges and histogram sums and counts now, by name without `vllm:`; empty when there is no such page.

    Raises:
        EngineError: the server cannot be reached.
    """
    with Client(target.base_url, target.access, timeout_s=TIMEOUT_S, patient=False) as client:
        try:
            return parse(client.get("/metrics"))
        except RefusedError:
            return {}


def parse(page: str) -> dict[str, float]:
    """Of a Prometheus text page: name without `vllm:` -> value summed over labels; buckets and other names left out."""
    values: dict[str, float] = {}
    for line in page.splitlines():
        if not line.startswith(_PREFIX):
            continue
        name, value = _sample(line.removeprefix(_PREFIX))
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
