"""What an analysis says: frozen values, everything a renderer prints and nothing it must compute."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from swiftkv_bench.checks import Finding
from swiftkv_bench.metrics import Objective
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, ColumnState, ScoringMethod
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.schema.perf import Float, Point, RequestStatus
from swiftkv_bench.stats.intervals import Interval
from swiftkv_bench.stats.items import ItemDelta, Score
from swiftkv_bench.stats.verdicts import NonInferiority, Verdict


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


@dataclass(frozen=True)
class Estimate:
    """A figure of one arm at one point.

    Attributes:
        interval: None with a single trial, or when the data allow none; `method` says which.
        trials: the figure of each trial; None where the trial does not support it.
        requests: finished requests behind it.
    """

    value: float
    interval: Interval | None
    trials: tuple[float | None, ...]
    requests: int
    method: str


@dataclass(frozen=True)
class Gain:
    """How many times better the candidate is: above 1 it is, whatever the metric's direction.

    Attributes:
        value: reference/candidate for latencies, candidate/reference for throughputs; geometric mean over trials.
        interval: None with a single pair of trials.
        pairs: pairs of trials.
        p: two-sided p of "no difference"; None without an interval.
        by_repeat: repeat -> gain of that pair of trials.
    """

    value: float
    interval: Interval | None
    pairs: int
    p: float | None
    method: str
    by_repeat: dict[int, float]


@dataclass(frozen=True)
class Breakdown:
    """Where the mean TTFT of an arm went, seconds: queue + prefill + rest = ttft.

    Attributes:
        ttft_s: at the client.
        queue_s, prefill_s: the server's counters; other time (network, tokenising, sending) is `rest_s`.
    """

    ttft_s: float
    queue_s: float
    prefill_s: float
    rest_s: float


@dataclass(frozen=True)
class Sample:
    """Requests of one arm at one point for a scatter, at most `of` thinned evenly; all arrays shape (n,)."""

    scheduled_s: Float
    prompt_tokens: Float
    ttft_s: Float
    tpot_s: Float
    repeat: Float
    of: int


@dataclass(frozen=True)
class MachineUse:
    """Of one arm at one point, over its trials; None where nothing tells.

    Attributes:
        engine_cpus: processors that the engine's processes kept busy, mean.
        engine_rss_bytes: most resident memory of these processes together.
        gpu_power_w, gpu_utilization: means, power summed over the engine's cards.
        running, waiting: most requests in the batch, and before it.
        kv_usage: largest share of the key-value cache in use.
        preemptions: requests taken out of the batch because that cache was full.
    """

    engine_cpus: float | None
    engine_rss_bytes: float | None
    gpu_power_w: float | None
    gpu_utilization: float | None
    running: float | None
    waiting: float | None
    kv_usage: float | None
    preemptions: int | None


@dataclass(frozen=True)
class PointArm:
    """One arm at one point: the trials of the repeats that are valid on every arm; when there is none, all.

    Attributes:
        valid: at least one repeat completed on every arm without a finding of severity `invalid`.
        saturated: requests came faster than they were answered in at least half of the trials.
        trials, requests, ok: counts behind the figures; `ok` are finished requests.
        trials_left_out: complete trials that are not in the figures: invalid, or their partner is.
        estimates: metric key -> figure; absent where it was not measured or n is too small.
        goodput_share: share of requests that met the objective, with its Wilson interval; None without one.
        machine: None without telemetry and server counters.
    """

    arm: Arm
    valid: bool
    saturated: bool
    trials: int
    trials_left_out: int
    requests: int
    ok: int
    failures: dict[RequestStatus, int]
    estimates: dict[str, Estimate]
    goodput_share: tuple[float, Interval] | None
    breakdown: Breakdown | None
    sample: Sample
    machine: MachineUse | None = None


@dataclass(frozen=True)
class Bound:
    """Largest gain that arithmetic allows at a point, at equal batch.

    Attributes:
        ttft: of TTFT without queueing: prefill FLOPs of the baseline / of SwiftKV.
        throughput: of whole requests; None where requests came at a set rate, which then sets the throughput.
        prefill_share: share of the baseline's time that gains `ttft` in `throughput`; the rest gains nothing.
        basis: what that share comes from, one phrase.
    """

    ttft: float
    throughput: float | None
    prefill_share: float | None
    basis: str


@dataclass(frozen=True)
class PointResult:
    """One cell of the grid.

    Attributes:
        gains: metric key -> gain of `swiftkv` over `baseline`; empty when an arm is absent or invalid.
        withheld: why `gains`, or its latencies, are missing; None when nothing is.
        bound: None when a model's dimensions are not known.
        reached: metric key -> gain / bound, where there is one; above 1 a queue made the gain larger.
    """

    point: Point
    arms: dict[Arm, PointArm]
    gains: dict[str, Gain]
    withheld: str | None
    bound: Bound | None
    reached: dict[str, float] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """Every arm is valid."""
        return all(arm.valid for arm in self.arms.values())


@dataclass(frozen=True)
class Overall:
    """Gains of one metric over all points that have one.

    Attributes:
        mean: geometric mean.
        low, high: smallest and largest.
        interval: 95 %, of the geometric mean over points of each repeat, t over repeats that every point has; None
            with fewer than two of them.
        repeats: those repeats.
    """

    mean: float
    low: float
    high: float
    points: int
    interval: Interval | None
    repeats: int


@dataclass(frozen=True)
class RateLimit:
    """The highest request rate at which one arm meets the objective, 1/s.

    Attributes:
        rate: interpolated between `low` and `high`; None without both.
        low: the highest rate measured that met it, with all below; None when none did.
        high: the rate measured next, which did not; None when all did.
        points: rates behind it.
    """

    rate: float | None
    low: float | None
    high: float | None
    points: int


@dataclass(frozen=True)
class RateLimits:
    """The highest rates of all arms at one input and output length.

    Attributes:
        point: any of the points behind it; its rate says nothing.
        gain: rate of `swiftkv` / rate of `baseline`; None without both.
        gain_ends: the least and the most it can be by the rates measured: a bracket, no confidence interval.
    """

    point: Point
    arms: dict[Arm, RateLimit]
    gain: float | None
    gain_ends: tuple[float, float] | None


@dataclass(frozen=True)
class PerfAnalysis:
    """The load part of a run.

    Attributes:
        overall: metric key -> its gains over the points; throughputs only where requests did not come at a set rate,
            for there the rate sets them.
        limits: highest rates under the objective; none without one.
        stop_within: share of a ratio at which a point was no longer repeated; None: all repeats were made.
    """

    run_id: str
    suite: str | None
    seed: int
    planned_trials: int
    points: tuple[PointResult, ...]
    overall: dict[str, Overall]
    objective: Objective | None
    limits: tuple[RateLimits, ...] = ()
    stop_within: float | None = None


@dataclass(frozen=True)
class ColumnArm:
    """One arm's answers to one column.

    Attributes:
        reason: why the column is not complete; None when it is.
        score: None when nothing was answered.
        truncated, unfinished, unparsed: counts of answers.
    """

    arm: Arm
    status: ColumnState
    reason: str | None
    score: Score | None
    truncated: int
    unfinished: int
    unparsed: int
    methods: tuple[ScoringMethod, ...]


ComparisonKind = Literal["total", "model", "engine", "noise"]
"""`total`: swiftkv against baseline. `model`: swiftkv-full against baseline. `engine`: swiftkv against swiftkv-full.
`noise`: the baseline's second answers against its first."""

SIDES: Mapping[ComparisonKind, tuple[tuple[Arm, int], tuple[Arm, int]]] = {
    "total": (("baseline", 0), ("swiftkv", 0)),
    "model": (("baseline", 0), ("swiftkv-full", 0)),
    "engine": (("swiftkv-full", 0), ("swiftkv", 0)),
    "noise": (("baseline", 0), ("baseline", 1)),
}
"""(reference, candidate) of each kind, as (arm, repeat)."""


@dataclass(frozen=True)
class Comparison:
    """Two arms on one column, or on the macro average.

    Attributes:
        verdict: against the column's margin; None for `noise`, and for an average over columns that ended early. FAIL
            stands after Holm's correction over the columns of its kind.
        p_fail_holm: p of a drop beyond the margin, Holm-adjusted over the columns of its kind; None without an error.
        excess: of `engine` where there is an A/A run: share of items whose score changes, beyond the share that
            changes between two runs of the baseline; its verdict is part of `verdict`.
    """

    kind: ComparisonKind
    delta: ItemDelta
    verdict: NonInferiority | None
    p_fail_holm: float | None = None
    excess: NonInferiority | None = None


@dataclass(frozen=True)
class Published:
    """A published pair of rows for a column, shares of one."""

    model: str
    baseline: float
    candidate: float
    source: str
    status: str


@dataclass(frozen=True)
class ColumnResult:
    """One column of the accuracy table."""

    column: Column
    arms: dict[Arm, ColumnArm]
    comparisons: dict[ComparisonKind, Comparison]
    published: Published | None


@dataclass(frozen=True)
class Macro:
    """Unweighted mean of the columns that every arm answered."""

    columns: tuple[str, ...]
    scores: dict[Arm, float]
    comparisons: dict[ComparisonKind, Comparison]
    published: Published | None


@dataclass(frozen=True)
class AnswerView:
    """One arm's answer as the browser shows it.

    Attributes:
        text: the generated text, or the log-likelihood of every choice, one a line.
        read: what the column's filter read from it, or the choice of the highest log-likelihood; None where that is
            not what is scored.
        unparsed: no answer could be read from the text.
    """

    score: float
    text: str
    read: str | None
    unparsed: bool


@dataclass(frozen=True)
class ItemView:
    """One item as the browser shows it: text, never markup.

    Attributes:
        prompt: without the choices, where log-likelihoods were asked.
        answers: an arm, or a side of a comparison -> its answer.
    """

    column: str
    task: str
    doc_id: int
    prompt: str | None
    target: str
    answers: Mapping[str, AnswerView]
    flip: Literal["lost", "gained", "same"]


@dataclass(frozen=True)
class AccuracyAnalysis:
    """The accuracy part of a run.

    Attributes:
        verdicts: over all columns and the macro average, one a kind.
        items: every flip, then a seeded sample of the others, up to a limit; `items_total` says of how many.
    """

    run_id: str
    plan: AccuracyPlan
    columns: tuple[ColumnResult, ...]
    macro: Macro | None
    verdicts: dict[ComparisonKind, Verdict]
    items: tuple[ItemView, ...]
    items_total: int
    flips_total: int


@dataclass(frozen=True)
class RunInfo:
    """Where an analysis comes from."""

    manifest: Manifest
    folder: str


@dataclass(frozen=True)
class Analysis:
    """Everything there is to say of one or several runs."""

    runs: tuple[RunInfo, ...]
    accuracy: tuple[AccuracyAnalysis, ...] = ()
    perf: tuple[PerfAnalysis, ...] = ()
    findings: tuple[Finding, ...] = field(default=())
