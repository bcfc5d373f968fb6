"""Trials, plans and suites of load, and what is recorded of them; load points are `schema.traffic`.

A point is one cell of the grid (input length, arrivals); a trial is one point on one arm, once. The raw
record of a trial is a `RequestTable`: arrays, one row a request, and the arrival time of every chunk. All
metrics are computed from it by `swiftkv_bench.metrics`; nothing here is a summary.
"""

import math
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from swiftkv_bench.schema.base import Record
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.requests import STATUS as STATUS
from swiftkv_bench.schema.requests import Float as Float
from swiftkv_bench.schema.requests import Int as Int
from swiftkv_bench.schema.requests import RequestStatus as RequestStatus
from swiftkv_bench.schema.requests import RequestTable as RequestTable
from swiftkv_bench.schema.requests import SmallInt as SmallInt
from swiftkv_bench.schema.telemetry import Telemetry
from swiftkv_bench.schema.traffic import PROCESSES as PROCESSES
from swiftkv_bench.schema.traffic import UNPACED as UNPACED
from swiftkv_bench.schema.traffic import Arrivals as Arrivals
from swiftkv_bench.schema.traffic import Length as Length
from swiftkv_bench.schema.traffic import Point as Point
from swiftkv_bench.schema.traffic import RateProcess


class Trial(Record):
    """One point on one arm, once."""

    trial_id: str = Field(description="name of its files: point, arm, repeat")
    point: Point = Field(description="what is sent and when")
    arm: Arm = Field(description="the engine it is sent to")
    repeat: int = Field(description="0, 1, ...; trials of all arms with the same repeat share a seed", ge=0)
    seed: int = Field(description="seed of schedule and prompts", ge=0)


class ClientTelemetry(Record):
    """The load generator's own behaviour during a trial."""

    cpu_s: float = Field(
        description="processor seconds of the client processes, from the start of the window to the last response"
    )
    run_queue_delay_s: float | None = Field(
        None, description="seconds its threads waited for a processor (/proc/self/schedstat); None if unknown"
    )
    max_rss_bytes: int | None = Field(None, description="peak resident memory of the client processes together")
    workers: int = Field(1, description="client processes")
    tail_requests: int | None = Field(
        None, description="requests sent after the window to keep the load on, not measured; None in older records"
    )
    sent_again: int | None = Field(
        None, description="requests sent once more because the server had closed their used connection; None if none"
    )
    loop: Literal["uvloop", "asyncio"] | None = Field(None, description="event loop of the client processes")
    pacer: Literal["timerfd", "loop"] | None = Field(None, description="what wakes the client at due times")


class SelfTest(Record):
    """What the client measured of the fake engine, at a planned load, before a run."""

    rate: float = Field(description="requests per second sent")
    output_tokens: int = Field(description="tokens of each answer")
    requests: int = Field(description="requests sent")
    failed: int = Field(description="requests that failed")
    send_lateness_p50_s: float = Field(description="sent minus scheduled, median over requests")
    send_lateness_p90_s: float = Field(description="the same, 90th percentile")
    token_lag_p50_s: float = Field(description="stamp of a token minus its true time, median over all tokens")
    token_lag_p99_s: float = Field(description="the same, 99th percentile; the fake engine's own lateness included")
    engine_lateness_p99_s: float = Field(description="99 % of the fake engine's writes were less late than this")
    cpu_s_per_1000_tokens: float = Field(description="processor seconds of the client for 1000 tokens")
    run_queue_delay_s: float | None = Field(None, description="seconds the client waited for a processor")
    limit_s: float = Field(description="lateness and lag up to which the client holds the load")
    verdict: Literal["holds", "client-late", "engine-late"] = Field(
        description="`client-late`: over the limit; `engine-late`: over it by the fake engine's own fault, undecided"
    )


TrialStatus = Literal["complete", "failed", "interrupted"]


class TrialRecord(Record):
    """Everything recorded of a trial but its request table."""

    trial: Trial = Field(description="what was run")
    status: TrialStatus = Field(description="how it ended")
    reason: str | None = Field(None, description="why it did not complete, one sentence")
    started_utc: str = Field(description="start of the arrival window, ISO 8601")
    window_s: float = Field(description="length of the arrival window, seconds")
    total_s: float = Field(description="from the start of the window to the end of the last response")
    client: ClientTelemetry | None = Field(None, description="the load generator's own behaviour")
    server_before: dict[str, float] = Field({}, description="server counters (/metrics) before the window")
    server_after: dict[str, float] = Field({}, description="the same after the last response")
    telemetry: Telemetry | None = Field(None, description="engine processes, GPUs and gauges; None if interrupted")

    @field_validator("telemetry", mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        """The first trials of format 1 have an empty object, for nothing was watched."""
        return None if value == {} else value

    @classmethod
    def not_run(cls, trial: Trial, reason: str) -> "TrialRecord":
        """The record of a trial that was not begun; a resumed run tries it again."""
        now = datetime.now(UTC).isoformat()
        return cls(trial=trial, status="failed", reason=reason, started_utc=now, window_s=0.0, total_s=0.0)


class AutoRates(Record):
    """Rates that are found while a run goes on: shares of the capacity of the first arm at each input length."""

    points: tuple[Point, ...] = Field(description="all at once, one an input length: first batch of the search")
    requests: int = Field(description="measured requests of a point at a rate", gt=0)
    process: RateProcess = Field("poisson", description="arrival process at a rate")
    burstiness: float = Field(1.0, description="gamma shape", gt=0)
    shares: tuple[float, ...] = Field((0.2, 0.4, 0.6, 0.8), description="rates, as shares of the capacity")
    objective: str | None = Field(None, description="latency targets whose highest rate is searched; None: none is")
    share: float = Field(0.9, description="share of requests that must meet them", gt=0, le=1)
    arms: tuple[Arm, ...] = Field(description="baseline first")
    repeats: int = Field(description="trials of each arm at each point", gt=0)
    together: bool = Field(description="engines are up at once")

    def at(self, length: Length) -> Point:
        """The point of an input length with the number of requests of a point at a rate."""
        found = next(point for point in self.points if point.input_len == length)
        return found.model_copy(update={"requests": self.requests})


class PerfPlan(Record):
    """The ordered trials of a performance run."""

    kind: Literal["perf"] = "perf"
    suite: str | None = Field(None, description="suite name; None when the grid came from the command line")
    seed: int = Field(description="seed all trial seeds are derived from", ge=0)
    trials: tuple[Trial, ...] = Field(
        description="in order of execution; those decided so far where rates are found or repeats may stop early"
    )
    auto: AutoRates | None = Field(None, description="None: the rates are given")
    stop_within: float | None = Field(
        None,
        description="a point whose ratio is known to this share of itself is not repeated; None: it is",
        gt=0,
    )

    @property
    def adaptive(self) -> bool:
        """Which trials come depends on the outcome of others."""
        return self.auto is not None or self.stop_within is not None


class SuiteGrid(Record):
    """Load points of a suite: every input length with every rate."""

    input_len: tuple[Annotated[int, Field(gt=0)], ...] = Field(description="input lengths, tokens", min_length=1)
    output_len: int = Field(256, description="output length, tokens", gt=0)
    process: RateProcess = Field("poisson", description="arrival process")
    rate: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        description="request rates, 1/s; `.inf` sends all at once", min_length=1
    )
    requests: int | None = Field(None, description="requests a point", gt=0)
    duration_s: float | None = Field(None, description="instead of requests: arrival window of a point", gt=0)
    total_prompt_tokens: int | None = Field(
        None, description="instead of requests: prompt tokens a point, requests = this / input_len", gt=0
    )

    @model_validator(mode="after")
    def _one_size(self) -> "SuiteGrid":
        sizes = [k for k in ("requests", "duration_s", "total_prompt_tokens") if getattr(self, k) is not None]
        if len(sizes) != 1:
            raise ValueError(
                f"exactly one of requests, duration_s and total_prompt_tokens is needed, found {sizes or 'none'}"
            )
        if self.duration_s is not None and any(math.isinf(rate) for rate in self.rate):
            raise ValueError("a window of duration_s needs finite rates; give requests to send all at once")
        return self


class PerfSuite(Record):
    """Load points under a name: `suites/perf/*.yaml`."""

    name: str = Field(description="equals the file name")
    description: str = Field(description="one line")
    grids: tuple[SuiteGrid, ...] = Field(description="run one after the other, in this order", min_length=1)
    repeats: int = Field(3, description="interleaved trials of each arm at each point", gt=0)
    warmup_requests: int = Field(2, description="requests before each window", ge=0)
