"""What one client process is asked to do, and what it gives back. Both travel between processes."""

from dataclasses import dataclass, field

import numpy as np

from swiftkv_bench.load.request import Request
from swiftkv_bench.load.target import Target
from swiftkv_bench.schema.requests import Float, Int, SmallInt


@dataclass(frozen=True)
class Job:
    """A slice of a trial: requests at due times, or a closed loop."""

    target: Target
    requests: list[Request]
    """Those that are measured, conversation by conversation in order of schedule; a closed loop of given duration goes
    round them, rotated."""
    due_s: Float | None
    """shape (conversations,): when each is due, from the start of the window; None: closed loop."""
    tail_s: Float
    """shape (tail,): due times of the load kept on after the window until the last measured request ends."""
    concurrency: int
    """Closed loop: conversations under way. Else: connections opened beforehand."""
    duration_s: float | None
    """Closed loop: requests are started until then; None: until all are sent."""
    warmup: list[Request]
    """Sent and awaited before the window; not measured."""
    idle_timeout_s: float
    """A request that brings no content for so long has stalled."""
    request_timeout_s: float = float("inf")
    """So has one that takes longer as a whole."""
    ramp_s: Float = field(default_factory=lambda: np.empty(0))
    """shape (ramp,): due times before the window, below 0; not measured."""
    most_in_flight: int | None = None
    """A request that is due while so many are in flight waits until one ends; None: no such cap."""
    turns: int = 1
    """Requests of each conversation: the next is sent when the one before has been answered."""
    think_s: float = 0.0
    """From the end of an answer to the next turn."""


@dataclass(frozen=True)
class Slice:
    """What one client process measured. Times from the start of the window; columns as in `RequestTable`."""

    scheduled_s: Float
    sent_s: Float
    end_s: Float
    status: Int
    http_status: Int
    prompt_tokens_asked: Int
    output_tokens_asked: Int
    prompt_tokens: Int
    output_tokens: Int
    cached_tokens: Int
    reasoning_chunks: Int
    """shape (n,): leading chunks that are reasoning and no answer."""
    chunk_begin: Int
    """shape (n,): where the chunks of each request begin in `chunk_s` and `chunk_tokens`."""
    chunk_count: Int
    """shape (n,): how many it has."""
    chunk_s: Float
    chunk_tokens: SmallInt
    errors: dict[int, str]
    turn: Int
    """shape (n,): number of the turn in its conversation, from 0."""
    cpu_s: float
    run_queue_delay_s: float | None
    max_rss_bytes: int | None
    loop: str
    pacer: str
    sent_again: int = 0
    """Requests sent once more, on a fresh connection, because the server had closed the one they were sent on."""
    tail_requests: int = 0
    """Requests of the load kept on after the window that were sent; not measured."""


def empty_times() -> Float:
    """No times."""
    return np.empty(0)
