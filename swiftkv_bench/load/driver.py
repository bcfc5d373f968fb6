"""Runs one trial: schedule and prompts from its seed, client processes, one merged request table.

Owns processes and the course of a trial: warm-up, window, load kept on until the last measured request has
ended. The client itself is `load.client`; where records go and which trial comes next is the runner's part.
"""

import json
import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import perf_counter, sleep
from typing import Any, NamedTuple, Protocol

import numpy as np

from swiftkv_bench.errors import EngineError, InputError
from swiftkv_bench.load import arrivals, workload
from swiftkv_bench.load.client import Progress
from swiftkv_bench.load.job import Job, Slice, empty_times
from swiftkv_bench.load.request import encode
from swiftkv_bench.load.target import Target
from swiftkv_bench.load.texts import Texts
from swiftkv_bench.load.worker import PARENTS_SIGNALS, read_message, write_message
from swiftkv_bench.load.workload import Conversation, Prompt, Vocabulary
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.perf import PROCESSES, Arrivals, ClientTelemetry, Float, Int, Point, RequestTable, Trial

IDLE_TIMEOUT_S = 600.0
REQUEST_TIMEOUT_S = 3600.0
_LEAD_S = 0.05
"""From the order to start to the start of the window, so that all processes have it."""
_TAIL_LEAST_S = 120.0
_TAIL_MOST = 200_000
_WARM_CONNECTIONS = 32
_CLOSED_LOOP_PROMPTS = 8
"""Prompts drawn for each request in flight of a closed loop of given duration; it goes round them, rotated."""


class TrialRun(NamedTuple):
    """A finished trial."""

    client: ClientTelemetry
    table: RequestTable
    window_s: float
    """Length of the arrival window; 0 when all were sent at once, to the last send in a closed loop of n requests."""
    total_s: float
    """From the start of the window to the end of the last measured response."""
    started_utc: str
    start_s: float
    """The start of the window on the `perf_counter` axis."""
    cut: bool = False
    """Whether the deadline came first; requests that had not ended are `cancelled`."""


class TrialInterruptedError(KeyboardInterrupt):
    """Ctrl-C during a trial. `run` holds what was measured; requests that had not ended are `cancelled`."""

    def __init__(self, run: TrialRun) -> None:
        super().__init__("interrupted")
        self.run = run


class Window(Protocol):
    """Something to be done at the edges of the measurement: counters, power."""

    def opens(self) -> None:
        """After the warm-up, just before the window."""

    def closes(self) -> None:
        """After the last measured response, before the rest of the load is ended."""


@dataclass(frozen=True)
class Options:
    """How a trial is driven; does not change what is sent when."""

    workers: int = 1
    """Client processes; each gets every n-th request."""
    idle_timeout_s: float = IDLE_TIMEOUT_S
    """A request that brings no content for so long has stalled."""
    request_timeout_s: float = REQUEST_TIMEOUT_S
    """So has one that takes longer as a whole."""
    deadline_s: float | None = None
    """The trial is cut then, on the `perf_counter` axis."""
    texts: Texts | None = None
    """The tokenizer, for prompts as text; without it those of a file are sent uncounted."""


@dataclass(frozen=True)
class _Load:
    prompts: list[Conversation]
    warmup: list[Prompt]
    due_s: Float | None
    ramp_s: Float
    tail_s: Float
    window_s: float | None
    """None: known afterwards."""


def run_trial(
    trial: Trial, target: Target, observer: Observer, *, options: Options = Options(), window: Window | None = None
) -> TrialRun:
    """Runs a trial against a server that is up.

    Failed requests are rows with their status; they raise nothing.

    Raises:
        InputError: a file of the point cannot be used, or the target is not one.
        EngineError: a client process ended before its time, or the deadline came before the window.
        TrialInterruptedError: Ctrl-C after the window opened.
    """
    load = _load(trial, target, options)
    jobs = _jobs(trial.point, load, _asked(target, trial.point), options)
    with _Workers(options.workers) as workers:
        workers.give(jobs)
        del jobs
        if workers.wait("ready", lambda _: None, options.deadline_s) is None:
            raise EngineError("the time budget was used up before the window opened; give more")
        ramp_s = trial.point.arrivals.ramp_up_s
        if window is not None and not ramp_s:
            window.opens()
        started = datetime.now(UTC) + timedelta(seconds=ramp_s)
        started_utc = started.isoformat(timespec="milliseconds")
        start_s = perf_counter() + _LEAD_S + ramp_s
        workers.tell("go", start_s)
        interrupted = cut = False
        try:
            if ramp_s:
                observer.progress("load", f"{trial.trial_id}: the rate grows for {ramp_s:g} s before the window")
                sleep(max(0.0, start_s - perf_counter()))
                if window is not None:
                    window.opens()
            measured = sum(map(len, load.prompts))
            total = None if trial.point.requests is None and load.due_s is None else measured
            drained = workers.wait("drained", lambda p: _show(observer, trial, p, total), options.deadline_s)
            cut = drained is None
            if window is not None:
                window.closes()
        except KeyboardInterrupt:
            interrupted = True
        workers.tell("cancel" if interrupted else "cut" if cut else "stop", 0.0)
        slices = workers.wait("slice", lambda _: None) or []
    run = _finish(trial.point, load, slices, (started_utc, start_s))._replace(cut=cut)
    observer.finish("load")
    if interrupted:
        raise TrialInterruptedError(run)
    return run


def _show(observer: Observer, trial: Trial, progress: Progress, total: int | None) -> None:
    failed = f", {progress.failed} failed" if progress.failed else ""
    text = f"{trial.trial_id}: {progress.in_flight} in flight, {progress.finished} done{failed}"
    observer.progress("load", text, progress.finished, total)


def _load(trial: Trial, target: Target, options: Options) -> _Load:
    point, seed = trial.point, trial.seed
    streams = [np.random.default_rng([seed, stream]) for stream in range(5)]
    times_rng, prompts_rng, warmup_rng, tail_rng, ramp_rng = streams
    vocabulary = Vocabulary(target.vocabulary)
    due_s, window_s, n = _due(point, times_rng)
    prompts = workload.build(point, n, prompts_rng, vocabulary, texts=options.texts)
    tail_s = empty_times()
    if window_s is not None and PROCESSES[point.arrivals.process].gaps is not None:
        horizon_s = window_s + max(_TAIL_LEAST_S, 4 * window_s)
        following = islice(arrivals.continuation(point.arrivals, window_s, tail_rng), _TAIL_MOST)
        tail_s = np.fromiter(_until(following, horizon_s), dtype=np.float64)
    warmup = _warmup(point, warmup_rng, vocabulary, options)
    return _Load(prompts, warmup, due_s, arrivals.ramp(point.arrivals, ramp_rng), tail_s, window_s)


def _warmup(point: Point, rng: np.random.Generator, vocabulary: Vocabulary, options: Options) -> list[Prompt]:
    """Random prompts, which the measured ones are not, also where these come from a file or share a prefix."""
    if not vocabulary.ranges or (point.form.prompt == "text" and options.texts is None):
        return []
    changes = {
        "prompts": None, "shared_prefix": 0.0, "turns": None, "arrivals": Arrivals(process="all-at-once"),
        "output_len": point.output_len.model_copy(update={"distribution": "fixed"}),
    }  # fmt: skip
    plain = point.model_copy(update=changes)
    return [turn for turns in workload.build(plain, point.warmup_requests, rng, vocabulary, texts=options.texts)
            for turn in turns]  # fmt: skip


def _asked(target: Target, point: Point) -> Target:
    """The target with what the point says of requests, and a salt of its own for this trial where prompts may have been
    in the server's cache before: from a file, from shared prefixes, or as text, which cannot be rotated."""
    form = point.form
    shared = point.from_file or point.shared_prefix > 0 or point.turns is not None or form.prompt == "text"
    return replace(
        target,
        api=form.endpoint,
        ignore_eos=form.ignore_eos,
        extra_body={**target.extra_body, **(json.loads(form.extra_body) if form.extra_body else {})},
        cache_salt=secrets.token_hex(8) if shared else None,
    )


def _until(times_s: "Any", horizon_s: float) -> "Any":
    for at_s in times_s:
        if at_s > horizon_s:
            return
        yield at_s


def _due(point: Point, rng: np.random.Generator) -> tuple[Float | None, float | None, int]:
    """Due times, length of the window where it is known beforehand, and how many prompts are needed."""
    process = point.arrivals.process
    if process == "closed-loop":
        concurrency = point.arrivals.concurrency or 1
        return None, point.duration_s, point.requests or _CLOSED_LOOP_PROMPTS * concurrency
    if point.requests is None and point.duration_s is None:
        raise InputError(f"point {point.point_id} says neither how many requests nor for how long; give --requests")
    if point.requests is None or process == "all-at-once" or process == "trace":
        times = arrivals.schedule(point.arrivals, point.requests or point.duration_s or 0.0, rng)
        window_s = point.duration_s if point.requests is None else float(times[-1])
        return times, window_s, len(times)
    # One more than asked: the window ends where the next would have come, which makes n / window unbiased.
    times = arrivals.schedule(point.arrivals, point.requests + 1, rng)
    return times[:-1], float(times[-1]), point.requests


def _jobs(point: Point, load: _Load, target: Target, options: Options) -> list[Job]:
    workers = options.workers
    concurrency = point.arrivals.concurrency or _WARM_CONNECTIONS
    if point.arrivals.process == "all-at-once":
        concurrency = len(load.prompts)
    cap = point.arrivals.cap
    if point.arrivals.concurrency is not None and concurrency < workers:
        raise InputError(f"--workers {workers} is above the concurrency of {concurrency}; lower it")
    return [
        Job(
            target=target,
            requests=[encode(prompt, target) for turns in load.prompts[worker::workers] for prompt in turns],
            due_s=None if load.due_s is None else load.due_s[worker::workers],
            tail_s=load.tail_s[(worker - len(load.prompts)) % workers :: workers],
            concurrency=len(range(worker, concurrency, workers)),
            duration_s=point.duration_s if load.due_s is None and point.requests is None else None,
            warmup=[encode(prompt, target) for prompt in load.warmup] if worker == 0 else [],
            idle_timeout_s=options.idle_timeout_s,
            request_timeout_s=options.request_timeout_s,
            ramp_s=load.ramp_s[worker::workers],
            most_in_flight=None if cap is None else len(range(worker, cap, workers)),
            turns=1 if point.turns is None else point.turns.count,
            think_s=0.0 if point.turns is None else point.turns.think_s,
        )
        for worker in range(workers)
    ]


def _finish(point: Point, load: _Load, slices: Sequence[Slice], started: tuple[str, float]) -> TrialRun:
    table = _merge(slices)
    ends = table.end_s[~np.isnan(table.end_s)]
    total_s = float(ends.max()) if len(ends) else 0.0
    window_s = load.window_s
    if window_s is None:
        sent = table.sent_s[~np.isnan(table.sent_s)]
        window_s = float(sent.max()) if len(sent) else 0.0
    delays, peaks = [part.run_queue_delay_s for part in slices], [part.max_rss_bytes for part in slices]
    telemetry = ClientTelemetry.model_validate(
        {
            "cpu_s": sum(part.cpu_s for part in slices),
            "run_queue_delay_s": None if None in delays else sum(delay or 0.0 for delay in delays),
            "max_rss_bytes": None if None in peaks else sum(peak or 0 for peak in peaks),
            "sent_again": sum(part.sent_again for part in slices) or None,
            "tail_requests": sum(part.tail_requests for part in slices),
            "workers": len(slices),
            "loop": slices[0].loop,
            "pacer": slices[0].pacer,
        }
    )
    return TrialRun(telemetry, table, window_s, total_s, *started)


_COLUMNS = (
    "scheduled_s", "sent_s", "end_s", "status", "http_status", "prompt_tokens_asked", "output_tokens_asked",
    "prompt_tokens", "output_tokens", "cached_tokens", "turn", "reasoning_chunks",
)  # fmt: skip


def _merge(slices: Sequence[Slice]) -> RequestTable:
    """One table in order of schedule; ties keep the order of the processes."""
    part = slices[0] if len(slices) == 1 else _concatenated(slices)
    order = np.argsort(part.scheduled_s, kind="stable")
    counts = part.chunk_count[order]
    starts = np.concatenate([[0], np.cumsum(counts)])
    index = np.arange(starts[-1]) + np.repeat(part.chunk_begin[order] - starts[:-1], counts)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    errors = {int(places[i]): text for i, text in part.errors.items()}
    columns = {name: getattr(part, name)[order] for name in _COLUMNS}
    return RequestTable(
        chunk_start=starts.astype(np.int64),
        chunk_s=part.chunk_s[index],
        chunk_tokens=part.chunk_tokens[index],
        errors=dict(sorted(errors.items())),
        **columns,
    )


def _concatenated(slices: Sequence[Slice]) -> Slice:
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in slices])
        for field in fields(Slice)
        if isinstance(getattr(slices[0], field.name), np.ndarray)
    }
    chunks = np.cumsum([0, *(len(part.chunk_s) for part in slices)])
    arrays["chunk_begin"] = np.concatenate(
        [part.chunk_begin + first for part, first in zip(slices, chunks, strict=False)]
    )
    offsets = np.cumsum([0, *(len(part.scheduled_s) for part in slices)])
    errors = {
        int(offset) + i: text for offset, part in zip(offsets, slices, strict=False) for i, text in part.errors.items()
    }
    return replace(slices[0], errors=errors, **arrays)


class _Workers:
    """The client processes of a trial. Leaving the context ends them, whatever happened."""

    def __init__(self, n: int) -> None:
        # A worker inherits the mask, so that Ctrl-C cannot reach one that is not yet prepared for it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS_SIGNALS)
        try:
            self._processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "swiftkv_bench.load.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,
                )
                for _ in range(n)
            ]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            _pipe(process.stdin).close()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
            process.kill()
            process.wait()
            _pipe(process.stdout).close()

    def give(self, jobs: Sequence[Job]) -> None:
        """Sends each process its job."""
        for i, job in enumerate(jobs):
            with self._alive(i) as process:
                write_message(_pipe(process.stdin), job)

    def tell(self, word: str, value: float) -> None:
        """Sends a command to all processes."""
        for i in range(len(self._processes)):
            with self._alive(i) as process:
                _pipe(process.stdin).write(f"{word} {value!r}\n".encode())

    def wait(
        self, word: str, progress: Callable[[Progress], None], deadline_s: float | None = None
    ) -> list[Any] | None:
        """The value that each process says with `word`; progress said meanwhile is summed and passed on.

        None when the deadline comes first.
        """
        said: dict[int, Any] = {}
        latest = [Progress(0, 0, 0, 0)] * len(self._processes)
        streams = {_pipe(process.stdout).fileno(): i for i, process in enumerate(self._processes)}
        while len(said) < len(streams):
            # One that has said its word may have ended since; what else it says is for the next wait.
            left_s = None if deadline_s is None else max(0.0, deadline_s - perf_counter())
            ready, _, _ = select.select([fd for fd, i in streams.items() if i not in said], [], [], left_s)
            if not ready:
                return None
            for fd in ready:
                i = streams[fd]
                what, value = self._read(i)
                if what == "progress":
                    latest[i] = value
                    progress(Progress(*(sum(getattr(p, f.name) for p in latest) for f in fields(Progress))))
                elif what == word:
                    said[i] = value
        return [said[i] for i in range(len(streams))]

    def _read(self, i: int) -> tuple[str, Any]:
        with self._alive(i) as process:
            message: tuple[str, Any] = read_message(_pipe(process.stdout))
        return message

    @contextmanager
    def _alive(self, i: int) -> Iterator["subprocess.Popen[bytes]"]:
        """A process to talk with.

        Raises:
            EngineError: it has ended.
        """
        process = self._processes[i]
        try:
            yield process
        except (EOFError, BrokenPipeError) as e:
            code = process.wait()
            raise EngineError(
                f"client process {os.getpid()}.{i} ended with code {code} before its time; its messages are above, "
                "and a code of -9 means that memory ran out: lower --requests"
            ) from e


def _pipe(stream: Any) -> Any:
    if stream is None:
        raise RuntimeError("a process was started without pipes")
    return stream


__all__ = ["Int", "Options", "Target", "TrialInterruptedError", "TrialRun", "Window", "run_trial"]
