"""What server and machine did at a point: telemetry and the server's gauges over an arm's trials."""

from collections.abc import Callable, Sequence

from swiftkv_bench.analysis.values import MachineUse
from swiftkv_bench.metrics import ServerMetrics
from swiftkv_bench.schema.telemetry import Telemetry


def machine_use(telemetry: Sequence[Telemetry | None], servers: Sequence[ServerMetrics]) -> MachineUse | None:
    """Over the trials that tell; None when there is nothing to say."""
    known = [t for t in telemetry if t is not None]
    preemptions = [s.preemptions for s in servers if s.preemptions is not None]
    used = MachineUse(
        engine_cpus=_mean([t.engine_cpu_s / t.seconds for t in known if t.engine_cpu_s is not None and t.seconds > 0]),
        engine_rss_bytes=_most([t.engine_max_rss_bytes for t in known]),
        gpu_power_w=_mean([p for t in known if (p := _over_cards(t, lambda g: g.mean_power_w)) is not None]),
        gpu_utilization=_mean([g.mean_utilization for t in known for g in t.gpus if g.mean_utilization is not None]),
        running=_most([t.server_peaks.get("num_requests_running") for t in known]),
        waiting=_most([t.server_peaks.get("num_requests_waiting") for t in known]),
        kv_usage=_most([t.server_peaks.get("kv_cache_usage_perc") for t in known]),
        preemptions=sum(preemptions) if preemptions else None,
    )
    return used if used != _NOTHING else None


_NOTHING = MachineUse(None, None, None, None, None, None, None, None)


def _over_cards(t: Telemetry, value: Callable[..., float | None]) -> float | None:
    """Sum over cards; None when there is none or one does not tell."""
    values = [value(card) for card in t.gpus]
    return None if not values or None in values else sum(v or 0.0 for v in values)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _most(values: Sequence[float | None]) -> float | None:
    return max((v for v in values if v is not None), default=None)
