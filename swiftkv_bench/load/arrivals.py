"""When requests are sent: seeded absolute schedules.

The processes themselves are `schema.traffic.PROCESSES`. Sending at these times is the pacer's part, judging what was
sent is `swiftkv_bench.checks`'.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.traces import read_trace
from swiftkv_bench.schema.requests import Float
from swiftkv_bench.schema.traffic import PROCESSES, Arrivals

_BLOCK = 4096


def schedule(arrivals: Arrivals, size: int | float, rng: np.random.Generator) -> Float:
    """Times at which requests are due, seconds, ascending, the first at 0; shape (n,).

    Gaps are independent: exponential with mean 1/rate (poisson), 1/rate (constant), or gamma with shape
    `burstiness` and mean 1/rate, whose coefficient of variation is 1/sqrt(burstiness). Nothing is rescaled, so
    the length of a window of n requests varies as the process does. A closed loop has no schedule: its times
    are 0 for the first `concurrency` requests and nothing else is known before.

    Args:
        size: an int is the number of requests, a float the length of the window in seconds.
        rng: the only source of randomness.

    Raises:
        InputError: a trace cannot be read, or a window in seconds is asked of arrivals that have no times.
    """
    if arrivals.process == "trace":
        return cut(read_trace(_trace_path(arrivals)).at_s / arrivals.speedup, size)
    if not PROCESSES[arrivals.process].paced:
        if isinstance(size, float):
            raise InputError(
                f"{arrivals.process} arrivals have no schedule to cut at {size:g} s; give a number of requests"
            )
        return np.zeros(size)
    if isinstance(size, int):
        return _starts(gaps(arrivals, size, rng))
    blocks = [gaps(arrivals, _BLOCK, rng)]
    while sum(float(block.sum()) for block in blocks) < size:
        blocks.append(gaps(arrivals, _BLOCK, rng))
    return cut(_starts(np.concatenate(blocks)), size)


def gaps(arrivals: Arrivals, n: int, rng: np.random.Generator) -> Float:
    """`n` independent times between arrivals, seconds, of a process that has a rate; shape (n,)."""
    draw = PROCESSES[arrivals.process].gaps
    if draw is None or arrivals.rate is None:
        raise InputError(f"{arrivals.process} arrivals have no rate; give --rate")
    return draw(1.0 / arrivals.rate, arrivals.burstiness, n, rng)


def ramp(arrivals: Arrivals, rng: np.random.Generator) -> Float:
    """Due times before the window while the rate grows evenly from 0 to the whole; below 0, ascending.

    The process in operational time: t s after the start of a ramp of R s, rate t^2 / (2 R) requests are due.
    """
    length_s, rate = arrivals.ramp_up_s, arrivals.rate
    if not length_s or rate is None:
        return np.empty(0)
    wanted, due = rate * length_s / 2, np.empty(0)
    while not len(due) or due[-1] < wanted:
        more = np.cumsum(gaps(arrivals, _BLOCK, rng)) * rate
        due = np.concatenate([due, more + (due[-1] if len(due) else 0.0)])
    return np.asarray(np.sqrt(2 * length_s * due[due < wanted] / rate) - length_s, dtype=np.float64)


def continuation(arrivals: Arrivals, start_s: float, rng: np.random.Generator) -> Iterator[float]:
    """Due times after a window that ends at `start_s`, without end; the first is at `start_s`."""
    due_s = start_s
    for _ in count():
        for gap_s in gaps(arrivals, _BLOCK, rng).tolist():
            yield due_s
            due_s += gap_s


def _starts(gaps_s: Float) -> Float:
    starts = np.cumsum(gaps_s)
    return np.asarray(starts - gaps_s, dtype=np.float64)


def cut(times_s: Float, size: int | float) -> Float:
    """The times of the first requests (an int), or of those within a window of that many seconds (a float).

    Raises:
        InputError: a trace has fewer requests.
    """
    if isinstance(size, float):
        return times_s[times_s < size]
    if size > len(times_s):
        raise InputError(f"the trace has {len(times_s)} requests, {size} are asked for; lower --requests")
    return times_s[:size]


def _trace_path(arrivals: Arrivals) -> Path:
    if arrivals.trace is None:
        raise InputError("trace arrivals need a file; give --trace")
    return Path(arrivals.trace)
