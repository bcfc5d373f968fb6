"""The figures of a load point: key, title, unit, direction."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A figure of a load point.

    Attributes:
        latency: the latency it summarises, as named in `TrialMetrics.latencies`; None for rates, throughputs, energy.
        quantile: the percentile, share of one; None for the mean, and for rates and throughputs.
    """

    key: str
    title: str
    unit: Literal["s", "1/s", "token/s", "J/token"]
    better: Literal["lower", "higher"]
    latency: str | None = None
    quantile: float | None = None

    @property
    def by_length(self) -> bool:
        """Whether it grows or shrinks with the tokens that a request has, not with the engine alone."""
        return self.latency == "e2e_latency_s" or "throughput" in self.key or self.unit == "J/token"


def _latency(name: str, title: str, *quantiles: float | None) -> Iterator[Metric]:
    stem = name.removesuffix("_s")
    for q in quantiles:
        label = "mean" if q is None else f"p{q * 100:g}"
        yield Metric(f"{stem}_{label}_s", f"{title} {label}", "s", "lower", name, q)


METRICS: Mapping[str, Metric] = {
    m.key: m
    for m in (
        *_latency("ttft_s", "TTFT", None, 0.5, 0.9, 0.95, 0.99),
        *_latency("ttft_from_schedule_s", "TTFT from schedule", None, 0.99),
        *_latency("tpot_s", "TPOT", None, 0.5, 0.9, 0.95, 0.99),
        *_latency("itl_s", "ITL", 0.5, 0.95, 0.99),
        *_latency("itl_per_token_s", "ITL per token", 0.5, 0.99),
        *_latency("e2e_latency_s", "E2E latency", None, 0.5, 0.9, 0.99),
        Metric("output_throughput", "Output throughput", "token/s", "higher"),
        Metric("total_throughput", "Total throughput", "token/s", "higher"),
        Metric("request_throughput", "Request throughput", "1/s", "higher"),
        Metric("achieved_rate", "Achieved rate", "1/s", "higher"),
        Metric("goodput", "Goodput", "1/s", "higher"),
        Metric("joule_per_token", "Energy per token", "J/token", "lower"),
    )
}
"""Every figure of a load point, in the order in which tables list them."""
