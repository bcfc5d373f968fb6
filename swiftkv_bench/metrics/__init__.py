"""THE definitions of what is measured under load, computed from a raw `RequestTable`.

Owns the formulas of every latency, rate and throughput, and `METRICS`, the one table of figures.
Leaves intervals and comparisons to `stats`, validity to `checks`. Times are seconds; arrays have one element a
request, shape (n,), with NaN where a value is not defined. Only requests whose status is `ok` have latencies:
failures are counted beside them, never averaged in or away.
"""

from swiftkv_bench.metrics.distributions import (
    QUANTILES,
    Distribution,
    GapHistogram,
    Gaps,
    distribution,
    gaps,
    requests_needed,
)
from swiftkv_bench.metrics.figures import DEFINITIONS, METRICS, Metric, trial_figures
from swiftkv_bench.metrics.lengths import Lengths, unequal_lengths
from swiftkv_bench.metrics.requests import Objective, RequestMetrics, request_metrics
from swiftkv_bench.metrics.server import ServerMetrics, server_metrics
from swiftkv_bench.metrics.trial import LATENCIES, TrialMetrics, failures, in_flight, trial_metrics

__all__ = [
    "DEFINITIONS", "LATENCIES", "METRICS", "QUANTILES", "Distribution", "GapHistogram", "Gaps", "Lengths", "Metric",
    "Objective", "RequestMetrics", "ServerMetrics", "TrialMetrics", "distribution", "failures", "gaps",
    "in_flight", "request_metrics", "requests_needed", "server_metrics", "trial_figures", "trial_metrics",
    "unequal_lengths",
]  # fmt: skip
