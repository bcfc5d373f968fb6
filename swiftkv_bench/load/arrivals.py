"""When requests are sent: seeded absolute schedules.

Owns the arrival processes and the trace format. Sending at these times is the pacer's part, judging what
was sent is `swiftkv_bench.checks`'.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.perf import Arrivals, Float, Int

_BLOCK = 4096
_LONGEST = 1_000_000_000
_MS_PER_S = 1e3


@dataclass(frozen=True)
class Trace:
    """A recorded sequence of requests, in order of time."""

    at_s: Float
    """shape (n,): arrival times, 0 at the first."""
    input_tokens: Int
    """shape (n,): prompt lengths."""
    output_tokens: Int
    """shape (n,): output lengths."""


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
        return cut(read_trace(_trace_path(arrivals)).at_s, size)
    if arrivals.process in ("all-at-once", "closed-loop"):
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
    mean_s = 1.0 / _rate(arrivals)
    if arrivals.process == "constant":
        return np.full(n, mean_s)
    shape = 1.0 if arrivals.process == "poisson" else arrivals.burstiness
    if shape == 1.0:
        return rng.exponential(mean_s, n)
    return rng.gamma(shape, mean_s / shape, n)


def continuation(arrivals: Arrivals, start_s: float, rng: np.random.Generator) -> Iterator[float]:
    """Due times after a window that ends at `start_s`, without end; the first is at `start_s`."""
    due_s = start_s
    for _ in count():
        for gap_s in gaps(arrivals, _BLOCK, rng).tolist():
            yield due_s
            due_s += gap_s


def read_trace(path: Path) -> Trace:
    """A trace: JSON lines with `timestamp` (milliseconds), `input_length` and `output_length` (tokens).

    The format is that of the Mooncake traces (https://github.com/kvcache-ai/Mooncake); further keys are ignored.

    Raises:
        InputError: the file cannot be read, or a line lacks a key, has a value out of range or goes back in time.
    """
    rows: list[tuple[float, int, int]] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"cannot read the trace {path}: {e}; give a JSONL file") from e
    for number, line in enumerate(lines, 1):
        if line.strip():
            rows.append(_trace_row(line, f"{path}:{number}"))
            if len(rows) > 1 and rows[-1][0] < rows[-2][0]:
                raise InputError(f"{path}:{number} goes back in time (timestamp {rows[-1][0]:g}); sort the trace")
    if not rows:
        raise InputError(f"the trace {path} has no requests; give a JSONL file with one a line")
    stamps_ms, inputs, outputs = (np.array(column) for column in zip(*rows, strict=True))
    return Trace((stamps_ms - stamps_ms[0]) / _MS_PER_S, inputs.astype(np.int64), outputs.astype(np.int64))


def _trace_row(line: str, where: str) -> tuple[float, int, int]:
    try:
        row = json.loads(line)
        stamp, inputs, outputs = float(row["timestamp"]), int(row["input_length"]), int(row["output_length"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
        raise InputError(f"{where} is no request ({e!r}); it needs timestamp, input_length and output_length") from e
    if not math.isfinite(stamp) or not (1 <= inputs <= _LONGEST and 1 <= outputs <= _LONGEST):
        raise InputError(
            f"{where} has a length that no model takes, or a time that is no number; mend or delete the line"
        )
    return stamp, inputs, outputs


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


def _rate(arrivals: Arrivals) -> float:
    if arrivals.rate is None:
        raise InputError(f"{arrivals.process} arrivals need a rate; give --rate")
    return arrivals.rate


def _trace_path(arrivals: Arrivals) -> Path:
    if arrivals.trace is None:
        raise InputError("trace arrivals need a file; give --trace")
    return Path(arrivals.trace)
