"""Whether a load point can be run: its files, lengths and numbers, checked before an engine starts."""

from pathlib import Path

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.arrivals import cut
from swiftkv_bench.load.texts import read_prompts
from swiftkv_bench.load.traces import read_trace
from swiftkv_bench.schema.perf import Point

LEAST_RATE, MOST_RATE = 1e-4, 1e5
"""Request rates, 1/s, within which a run ends: one request in three hours, and far more than a client can send."""
MOST_REQUESTS = 10_000_000
"""Requests of a point that a client process can hold."""


def check_point(point: Point, context: int, workers: int) -> None:
    """Everything that would stop a trial of the point.

    Args:
        context: tokens that every engine takes.
        workers: client processes.

    Raises:
        InputError: a file cannot be used, a prompt and its answer do not fit, or a number is out of bounds.
    """
    _check_files(point, context)
    _check_lengths(point, context)
    _check_workers(point, workers)
    _check_size(point)


def _check_lengths(point: Point, context: int) -> None:
    longest = point.input_len.high or point.input_len.mean
    output = point.output_len.high or point.output_len.mean
    if point.turns is not None and point.turns.count * (longest + output) > context:
        raise InputError(
            f"--turns {point.turns.count} of --input-len {longest:g} and --output-len {output:g} is above the model's "
            f"context of {context} tokens; shorten one, or raise --max-model-len where the model allows it"
        )
    if point.prompts is not None and longest + output > context:
        raise InputError(
            f"--prompts {point.prompts} has a prompt of {longest:,} tokens, which with {output:g} of output is above "
            f"the model's context of {context:,}; leave it out, or raise --max-model-len where the model allows it"
        )
    if point.arrivals.trace is None and longest + output > context:
        raise InputError(
            f"--input-len {longest:g} with --output-len {output:g} is above the model's context of {context} tokens; "
            "shorten one, or raise --max-model-len where the model allows it"
        )


def _check_files(point: Point, context: int) -> None:
    if point.prompts is not None:
        read_prompts(Path(point.prompts), point.requests)
    if point.arrivals.trace is None:
        return
    trace = read_trace(Path(point.arrivals.trace))
    cut(trace.at_s / point.arrivals.speedup, point.requests or point.duration_s or 0.0)
    wanted = slice(0, point.requests)
    longest = int((trace.input_tokens[wanted] + trace.output_tokens[wanted]).max())
    if longest > context:
        raise InputError(
            f"--trace {point.arrivals.trace} has a request of {longest:,} tokens, above the model's context of "
            f"{context:,}; leave it out, or raise --max-model-len where the model allows it"
        )


def _check_workers(point: Point, workers: int) -> None:
    concurrency = point.arrivals.concurrency
    if concurrency is not None and concurrency < workers:
        raise InputError(f"--workers {workers} is above the concurrency of {concurrency}; lower it")
    if point.requests is not None and point.requests < workers:
        raise InputError(f"--workers {workers} is above the {point.requests} requests of a point; lower it")


def _check_size(point: Point) -> None:
    rate = point.arrivals.rate
    if point.duration_s is not None and point.arrivals.process == "all-at-once":
        raise InputError("--duration needs a rate; give --requests to send all at once")
    if rate is not None and not LEAST_RATE <= rate <= MOST_RATE:
        raise InputError(f"--rate {rate:g} is outside {LEAST_RATE:g} to {MOST_RATE:,.0f} requests/s; give one inside")
    requests = point.requests or (point.duration_s or 0.0) * (rate or 0.0)
    if requests + point.warmup_requests > MOST_REQUESTS:
        raise InputError(
            f"a point of {requests:,.0f} requests with {point.warmup_requests:,} before them is above the "
            f"{MOST_REQUESTS:,} that a client holds; lower --requests, --duration, --rate or --warmup"
        )
