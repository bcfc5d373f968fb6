"""THE table of figures: key, title, unit, direction, meaning and formula of everything that is said of a load point.

One name is one estimator. Documentation, the glossary of a page, column heads and what a policy may gate on are made
from `METRICS` and `DEFINITIONS`; a figure that is not here does not exist.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from swiftkv_bench.metrics.server import ServerMetrics
from swiftkv_bench.metrics.trial import TrialMetrics
from swiftkv_bench.schema.telemetry import Telemetry

DEFINITIONS: Mapping[str, str] = {
    "TTFT": "Time to first token: arrival of the first chunk with non-empty content, minus send. "
    "An empty role delta is no content. None, like TPOT and ITL, where over half of the answers came in one read.",
    "TTFT from schedule": "The same chunk, minus the time the schedule wanted the request sent "
    "(free of coordinated omission).",
    "TPOT": "Time per output token: (last chunk − first chunk) / (output tokens − tokens that came with the first "
    "chunk, in the same read), per request; none below two tokens or two reads. Output tokens are the server's usage "
    "count; chunks whose tokens it does not tell are taken as equal.",
    "Paired median": "Of TTFT and TPOT, between two sides whose trials share schedule and prompts: the ratio of the "
    "same request on both, and its median over the requests of a trial. What the schedule does to a request cancels. "
    "The figure of one side is its median over those requests.",
    "ITL": "Inter-token latency: every gap between consecutive chunks of a request, pooled over requests.",
    "ITL per token": "Each gap divided by the tokens of the chunk that ends it, counted once a token; "
    "none where the server does not tell tokens per chunk.",
    "E2E latency": "End of the response, minus send.",
    "Lateness": "Send, minus the time the schedule wanted the request sent.",
    "Output throughput": "Output tokens/s. All at once: all tokens, from the first send to the last response. "
    "Rates and closed loop: tokens delivered inside the arrival window, divided by its length.",
    "Total throughput": "Prompt + output tokens/s over the same time; the model card's combined throughput. "
    "A prompt counts when its first token arrives.",
    "Request throughput": "Finished requests/s over the same time.",
    "Achieved rate": "Requests sent inside the arrival window, divided by its length.",
    "Goodput": "Requests/s that finish and meet every latency objective; failed requests miss.",
    "Energy per token": "Energy of the engine's GPUs from the start of the window to the last measured response, "
    "divided by the prompt and output tokens that the server counted in that time, load beyond the measured requests "
    "among them.",
    "Server queue, prefill and decode time": "Means of the server's own counters over the same time: arrival to being "
    "scheduled, scheduled to first token, first to last token.",
    "Prompt length, output length": "Mean tokens of a finished request, as the server counts them.",
    "Percentiles": "Linear interpolation between order statistics. A percentile is printed only from the n at "
    "which, with 99 % confidence, two requests lie above it: p50 11, p90 64, p95 130, p99 662, p99.9 6,636.",
}
"""Names and meanings, in the order in which a report prints them."""

Measured = tuple[TrialMetrics, ServerMetrics, Telemetry | None]
"""What the figures of one trial are computed from."""

Formula = Callable[[TrialMetrics, ServerMetrics, Telemetry | None], float | None]


@dataclass(frozen=True)
class Metric:
    """A figure of a load point.

    Attributes:
        better: None for what has no better direction, and cannot be gated.
        term: the entry of `DEFINITIONS` that says what it means.
        formula: of one trial; None for what exists between two sides alone.
        stands: where it says something of an engine. Latencies grow past saturation with the length of the run; a
            throughput at a set rate is that rate, unless both sides are past saturation.
        latency: the latency it summarises, as named in `TrialMetrics.latencies`; None for what is none.
        quantile: the percentile, share of one; None for the mean, and for what is no latency.
        by_length: it grows or shrinks with the number of tokens a request has, not with the engine alone.
    """

    key: str
    title: str
    unit: Literal["s", "1/s", "token/s", "J/token", "token"]
    better: Literal["lower", "higher"] | None
    term: str
    formula: Formula | None
    stands: Literal["everywhere", "below saturation", "at the engine's pace"] = "everywhere"
    latency: str | None = None
    quantile: float | None = None
    by_length: bool = False

    @property
    def paired(self) -> bool:
        """Compared request by request; no single trial has it."""
        return self.formula is None


def _latency(name: str, title: str, *quantiles: float | None) -> Iterator[Metric]:
    stem, by_length = name.removesuffix("_s"), name == "e2e_latency_s"
    for q in quantiles:
        label = "mean" if q is None else f"p{q * 100:g}"
        yield Metric(
            f"{stem}_{label}_s", f"{title} {label}", "s", "lower", title, _statistic(name, q), "below saturation",
            name, q, by_length,
        )  # fmt: skip


def _statistic(name: str, q: float | None) -> Formula:
    return lambda m, _server, _machine: m.latencies[name].mean if q is None else m.latencies[name].quantile(q)


def _paired(name: str, title: str) -> Metric:
    key = f"{name.removesuffix('_s')}_paired_s"
    return Metric(key, f"{title} paired median", "s", "lower", "Paired median", None, "below saturation", name, 0.5)


def _server(key: str, title: str, formula: Formula) -> Metric:
    term = "Server queue, prefill and decode time"
    return Metric(key, title, "s", "lower", term, formula, "below saturation")


def _throughput(key: str, formula: Formula, unit: Literal["1/s", "token/s"] = "token/s") -> Metric:
    title = key.replace("_", " ").capitalize()
    return Metric(key, title, unit, "higher", title, formula, "at the engine's pace", by_length=True)


def _joule_per_token(m: TrialMetrics, server: ServerMetrics, machine: Telemetry | None) -> float | None:
    """Tokens as the server counts, since load beyond the measured requests costs energy too; without its counters those
    of finished requests."""
    joules = None if machine is None else machine.energy_j
    if server.prompt_tokens is not None and server.output_tokens is not None:
        tokens = server.prompt_tokens + server.output_tokens
    else:
        tokens = 0 if m.output_tokens is None else m.prompt_tokens + m.output_tokens
    return joules / tokens if joules is not None and tokens else None


METRICS: Mapping[str, Metric] = {
    m.key: m
    for m in (
        *_latency("ttft_s", "TTFT", None, 0.5, 0.9, 0.95, 0.99),
        _paired("ttft_s", "TTFT"),
        *_latency("ttft_from_schedule_s", "TTFT from schedule", None, 0.99),
        *_latency("tpot_s", "TPOT", None, 0.5, 0.9, 0.95, 0.99),
        _paired("tpot_s", "TPOT"),
        *_latency("itl_s", "ITL", 0.5, 0.95, 0.99),
        *_latency("itl_per_token_s", "ITL per token", 0.5, 0.99),
        *_latency("e2e_latency_s", "E2E latency", None, 0.5, 0.9, 0.99),
        _throughput("output_throughput", lambda m, _s, _t: m.output_throughput),
        _throughput("total_throughput", lambda m, _s, _t: m.total_throughput),
        _throughput("request_throughput", lambda m, _s, _t: m.request_throughput, "1/s"),
        Metric("achieved_rate", "Achieved rate", "1/s", None, "Achieved rate", lambda m, _s, _t: m.achieved_rate),
        Metric("goodput", "Goodput", "1/s", "higher", "Goodput", lambda m, _s, _t: m.goodput),
        Metric(
            "joule_per_token", "Energy per token", "J/token", "lower", "Energy per token", _joule_per_token,
            by_length=True,
        ),
        _server("server_queue_s", "Server queue time", lambda _m, s, _t: s.queue_s),
        _server("server_prefill_s", "Server prefill time", lambda _m, s, _t: s.prefill_s),
        _server("server_decode_s", "Server decode time", lambda _m, s, _t: s.decode_s),
        Metric(
            "prompt_len", "Prompt length", "token", None, "Prompt length, output length",
            lambda m, _s, _t: m.prompt_tokens / m.ok if m.ok and m.prompt_tokens > 0 else None,
        ),
        Metric(
            "output_len", "Output length", "token", None, "Prompt length, output length",
            lambda m, _s, _t: m.output_tokens / m.ok if m.ok and m.output_tokens is not None else None,
        ),
    )
}  # fmt: skip
"""Every figure of a load point, in the order in which tables list them."""


def trial_figures(m: TrialMetrics, server: ServerMetrics, machine: Telemetry | None) -> dict[str, float]:
    """Metric key -> figure of one trial, where its requests, its server or its machine have one."""
    found = {key: metric.formula(m, server, machine) for key, metric in METRICS.items() if metric.formula is not None}
    return {key: value for key, value in found.items() if value is not None}
