"""What is sent and when: arrival processes, lengths, the form of a request, and the load point they make.

`PROCESSES` is the one table of arrival processes: what each needs, what it is, and how its gaps are drawn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from swiftkv_bench.schema.base import Record, content_hash
from swiftkv_bench.schema.requests import Float

RateProcess = Literal["poisson", "constant", "gamma"]
ProcessName = Literal["poisson", "constant", "gamma", "trace", "all-at-once", "closed-loop"]
Gaps = Callable[[float, float, int, np.random.Generator], Float]
"""Mean gap in seconds, burstiness, number, randomness -> gaps between arrivals, seconds."""


@dataclass(frozen=True)
class Process:
    """An arrival process.

    Attributes:
        needs: the field of `Arrivals` that it cannot do without.
        paced: it has times of its own; else the server sets the pace, and throughput is what is measured.
        gaps: draws independent gaps; None for a process without a rate.
        random: each repeat has other arrivals, which move the figures too.
    """

    needs: str | None = None
    paced: bool = True
    gaps: Gaps | None = None
    random: bool = False


def _exponential(mean_s: float, _: float, n: int, rng: np.random.Generator) -> Float:
    return rng.exponential(mean_s, n)


def _even(mean_s: float, _: float, n: int, __: np.random.Generator) -> Float:
    return np.full(n, mean_s)


def _gamma(mean_s: float, burstiness: float, n: int, rng: np.random.Generator) -> Float:
    return _exponential(mean_s, 1.0, n, rng) if burstiness == 1.0 else rng.gamma(burstiness, mean_s / burstiness, n)


PROCESSES: Mapping[ProcessName, Process] = {
    "poisson": Process("rate", gaps=_exponential, random=True),
    "constant": Process("rate", gaps=_even),
    "gamma": Process("rate", gaps=_gamma, random=True),
    "trace": Process("trace"),
    "all-at-once": Process(paced=False),
    "closed-loop": Process("concurrency", paced=False),
}
UNPACED = tuple(name for name, process in PROCESSES.items() if not process.paced)
"""Arrival processes without times of their own: the server sets the pace, so throughput is what they measure."""


def _later(default: object) -> Callable[[object], bool]:
    """For a field that records have got since: written only where it says something, so that points, trials and plans
    of older versions keep their ids, seeds and hashes."""
    return lambda value: value == default


class Arrivals(Record):
    """When requests are sent."""

    process: ProcessName = Field(description="arrival process")
    rate: float | None = Field(None, description="requests (with turns: conversations) per second asked for", gt=0)
    burstiness: float = Field(1.0, description="gamma shape; 1 is poisson, below 1 burstier", gt=0)
    concurrency: int | None = Field(
        None, description="closed loop: requests in flight; else the most in flight at once", gt=0
    )
    trace: str | None = Field(None, description="trace replay: the file")
    trace_format: str | None = Field(
        None, exclude_if=_later(None), description="trace replay: whose format the file has, and its unit of time"
    )
    speedup: float = Field(1.0, exclude_if=_later(1.0), description="trace replay: times are divided by it", gt=0)
    span_s: float | None = Field(
        None, exclude_if=_later(None), description="trace replay: from the first to the last measured request, seconds"
    )
    ramp_up_s: float = Field(
        0.0, exclude_if=_later(0.0), description="before the window, the rate grows from 0 for so long; seconds", ge=0
    )

    @model_validator(mode="after")
    def _complete(self) -> "Arrivals":
        needed = PROCESSES[self.process].needs
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"{self.process} arrivals need {needed}")
        return self

    @property
    def cap(self) -> int | None:
        """Most requests in flight where a rate or a trace sets the times; None without such a cap."""
        return self.concurrency if PROCESSES[self.process].paced else None


class Length(Record):
    """A length in tokens: fixed, drawn per request, or as a file has it."""

    distribution: Literal["fixed", "uniform", "lognormal", "measured"] = Field(
        "fixed", description="family; `measured`: each request of a file has its own"
    )
    mean: float = Field(description="mean, tokens; the value itself when fixed", gt=0)
    sigma: float = Field(0.0, description="lognormal: standard deviation of the logarithm", ge=0)
    low: int = Field(1, description="smallest value, tokens; uniform: lower end", gt=0)
    high: int | None = Field(None, description="largest value, tokens; uniform: upper end")


class RequestForm(Record):
    """How a prompt is put to the server."""

    endpoint: Literal["completions", "chat"] = Field("completions", description="/v1/completions or chat/completions")
    prompt: Literal["ids", "text"] = Field("ids", description="prompts are sent as token ids, or as text")
    ignore_eos: bool = Field(True, description="ask for the whole output length, end-of-text ignored")
    extra_body: str = Field("", description="JSON object: further fields of every request; null takes one out")


class Turns(Record):
    """Conversations: each turn's prompt holds all before it."""

    count: int = Field(description="turns of a conversation; each adds an input length and an output length", gt=1)
    think_s: float = Field(0.0, description="from the end of an answer to the next turn, seconds", ge=0)


class Point(Record):
    """One cell of the grid: what is sent and when, the same for every arm."""

    input_len: Length = Field(description="prompt length, tokens; with turns: what each turn adds")
    output_len: Length = Field(description="tokens asked of the engine, end-of-text ignored")
    arrivals: Arrivals = Field(description="when requests are sent")
    requests: int | None = Field(None, description="measured requests (with turns: conversations)", gt=0)
    duration_s: float | None = Field(None, description="length of the arrival window instead", gt=0)
    warmup_requests: int = Field(0, description="requests sent and awaited before the window", ge=0)
    shared_prefix: float = Field(
        0.0, description="share of each prompt equal to that of all others of its group", ge=0, lt=1
    )
    prefix_groups: int = Field(1, exclude_if=_later(1), description="groups of prompts that share a prefix", gt=0)
    prompts: str | None = Field(None, description="file of prompts used instead of random token ids")
    file_hash: str | None = Field(
        None, exclude_if=_later(None), description="first digits of the SHA-256 of the file of prompts or the trace"
    )
    expected_hits: float | None = Field(
        None,
        exclude_if=_later(None),
        description="share of prompt tokens that a prefix cache without limit serves, by the choice of prompts",
    )
    form: RequestForm = Field(
        RequestForm(), exclude_if=_later(RequestForm()), description="how a prompt is put to the server"
    )
    turns: Turns | None = Field(
        None, exclude_if=_later(None), description="None: each request is a conversation of its own"
    )

    @property
    def point_id(self) -> str:
        """Readable and unique: `in2000-out256-poisson0.5-1a2b3c`."""
        a = self.arrivals
        load = f"{a.process}{'' if a.rate is None else f'{a.rate:g}'}"
        if a.concurrency is not None:
            load += f"{'' if a.cap is None else 'cap'}{a.concurrency}"
        return f"in{self.input_len.mean:g}-out{self.output_len.mean:g}-{load}-{content_hash(self)[:6]}"

    @property
    def from_file(self) -> bool:
        """A file says what is sent."""
        return self.prompts is not None or self.arrivals.trace is not None
