"""What is said of a run under load: figures of an arm, gains, bounds, points, rate limits."""

from dataclasses import dataclass, field

from swiftkv_bench.evidence.traffic import NOTHING_TOLD, Traffic
from swiftkv_bench.evidence.trials import Sample
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.metrics import Objective
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Point, RequestStatus
from swiftkv_bench.stats.intervals import Interval


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
        traffic: means over the trials.
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
    traffic: Traffic = NOTHING_TOLD


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
        withheld: why `gains`, or some of them, are missing; None when nothing is.
        bound: None when a model's dimensions are not known.
        reached: metric key -> gain / bound, where there is one; above 1 a queue made the gain larger.
        noise: metric key -> gain of `baseline-repeat` over `baseline`, of the repeats valid on both; empty without it.
    """

    point: Point
    arms: dict[Arm, PointArm]
    gains: dict[str, Gain]
    withheld: str | None
    bound: Bound | None
    reached: dict[str, float] = field(default_factory=dict)
    noise: dict[str, Gain] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """Every arm is valid."""
        return all(arm.valid for arm in self.arms.values())


@dataclass(frozen=True)
class Overall:
    """Gains of one metric over all points that have one.

    Attributes:
        mean: geometric mean of the points' gains.
        low, high: smallest and largest.
        interval: 95 %, of `mean`, with the repeat as unit of independence; None when a point has a single repeat.
        repeats: fewest and most pairs of trials of a point.
    """

    mean: float
    low: float
    high: float
    points: int
    interval: Interval | None
    repeats: tuple[int, int]


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
        overall: metric key -> its gains over the points where it says something of the engines (`Metric.stands`).
        limits: highest rates under the objective; none without one.
        stop_within: share of a ratio at which a point was no longer repeated; None: all repeats were made.
        verdict: of all claims under load; None without both arms.
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
    verdict: Verdict | None = None
