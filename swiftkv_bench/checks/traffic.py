"""Was sent what was meant? Prompts from the cache, their lengths, a cap on a rate, and what is left to the server."""

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from swiftkv_bench.checks.finding import Finding
from swiftkv_bench.metrics import ServerMetrics, TrialMetrics, in_flight
from swiftkv_bench.schema.perf import STATUS, Point, RequestTable, TrialRecord
from swiftkv_bench.schema.requests import Int
from swiftkv_bench.units import duration, percent

PREFIX_SLACK = 0.01
PREFIX_REACHED = 0.9
"""Share of the hits that were chosen below which they were not reached."""


def prefix_cache(record: TrialRecord, table: RequestTable, server: ServerMetrics) -> Finding | None:
    """Did as much of the prompts come from the server's prefix cache as was chosen?"""
    point = record.trial.point
    meant = chosen_hits(point)
    share = hit_share(table, server)
    if share is None:
        return _unknown_hits(meant) if meant else None
    if share <= meant + PREFIX_SLACK:
        return _few_hits(share, meant) if share < PREFIX_REACHED * meant else None
    salted = point.from_file or point.shared_prefix > 0 or point.turns is not None or point.form.prompt == "text"
    return Finding(
        "prefix-cache",
        "invalid",
        f"{percent(share)} of the prompt tokens came from the server's prefix cache; {percent(meant)} was meant. TTFT "
        "is too good.",
        "Switch prefix caching off, or restart the server between trials: it does not honour `cache_salt`, so prompts "
        "of earlier trials are found."
        if salted
        else "Restart the engine or switch prefix caching off; another run may have used the same seed.",
    )


def _few_hits(share: float, meant: float) -> Finding:
    return Finding(
        "prefix-cache-unused",
        "warning",
        f"{percent(share)} of the prompt tokens came from the server's prefix cache where {percent(meant)} was chosen.",
        "Is prefix caching on, and its memory large enough? Only whole blocks are found, so short prefixes lose some.",
    )


def _unknown_hits(meant: float) -> Finding:
    return Finding(
        "prefix-cache-unknown",
        "note",
        f"The server does not tell what came from its prefix cache; {percent(meant)} was chosen.",
        "Start vLLM with --enable-prompt-tokens-details, or with its /metrics page open.",
    )


def chosen_hits(point: Point) -> float:
    """Share of prompt tokens that a prefix cache without limit serves, by the choice of prompts."""
    return point.shared_prefix if point.expected_hits is None else point.expected_hits


def hit_share(table: RequestTable, server: ServerMetrics) -> float | None:
    """Share of prompt tokens that came from the prefix cache: of the answers that tell, else by the server's counters;
    None where neither does. Servers say nothing of no hit, so where one answer tells the silent ones had none."""
    known = table.cached_tokens >= 0
    prompt = np.where(table.prompt_tokens >= 0, table.prompt_tokens, table.prompt_tokens_asked)
    if not known.any():
        return server.prefix_hit_share
    answered = (table.status == STATUS.index("ok")) & (prompt >= 0)
    total = int(prompt[answered].sum())
    return int(table.cached_tokens[known & answered].sum()) / total if total else None


def opening(table: RequestTable) -> npt.NDArray[np.bool_]:
    """shape (n,): requests whose time the schedule sets; later turns of a conversation follow its answers."""
    return np.ones(len(table), dtype=np.bool_) if table.turn is None else np.asarray(table.turn == 0)


def free_at_due(record: TrialRecord, table: RequestTable) -> npt.NDArray[np.bool_]:
    """shape (n,): requests that were due while a place was free, so that the client alone decides when they are sent.
    All of them without a cap on the requests in flight."""
    cap = record.trial.point.arrivals.cap
    if cap is None:
        return np.ones(len(table), dtype=np.bool_)
    workers = 1 if record.client is None else record.client.workers
    others = in_flight(table, np.nextafter(table.scheduled_s, -np.inf))
    free = np.asarray(others < cap // workers, dtype=np.bool_)
    before: int | None = None
    for i in np.argsort(table.scheduled_s, kind="stable").tolist():
        # A place that has just become free is that of whoever waited first.
        free[i] &= before is None or free[before] or table.sent_s[before] <= table.scheduled_s[i]
        before = i
    return free


def capped(record: TrialRecord, table: RequestTable) -> Finding | None:
    """How many requests had to wait for their place."""
    arrivals = record.trial.point.arrivals
    waited = ~free_at_due(record, table) & ~np.isnan(table.sent_s)
    if arrivals.cap is None or not waited.any():
        return None
    wait_s = float((table.sent_s - table.scheduled_s)[waited].mean())
    return Finding(
        "capped",
        "note",
        f"{int(waited.sum()):,} of {len(table):,} requests waited, {duration(wait_s)} on average, because "
        f"{arrivals.cap} were in flight (--concurrency): fewer were sent than the rate says, and TTFT leaves that wait "
        "out.",
        "Read TTFT from schedule, which counts it, or raise --concurrency.",
    )


def prompt_lengths(point: Point, table: RequestTable) -> Finding | None:
    """Does the server count the prompts as they were made? A chat template comes on top."""
    # A text that nobody counted has no length to compare with.
    counted = (table.status == STATUS.index("ok")) & (table.prompt_tokens >= 0) & (table.prompt_tokens_asked >= 0)
    more = (table.prompt_tokens - table.prompt_tokens_asked)[counted]
    if point.form.endpoint == "chat" and len(more) and more.min() >= 0:
        return Finding(
            "chat-template",
            "note",
            f"The server's chat template adds {_range(more)} tokens to each prompt.",
            "Choose --input-len shorter by that, where prompts shall be of the same length as for completions.",
        )
    other = int((more != 0).sum())
    if not other:
        return None
    by = _range(more[more != 0], "+")
    text = f"For {other:,} requests the server counts another prompt length than was sent ({by} tokens)."
    return Finding("prompt-length", "warning", text, "The server adds or cuts tokens; give the right --tokenizer.")


def _range(values: Int, sign: str = "") -> str:
    low, high = int(np.min(values)), int(np.max(values))
    return f"{low:{sign},}" if low == high else f"{low:{sign},} to {high:{sign},}"


def left_to_the_server(point: Point) -> list[Finding]:
    """What the request form gives up."""
    found = []
    if not point.form.ignore_eos:
        found.append(
            Finding(
                "output-length-free",
                "warning",
                "Answers end where the model ends them (--no-ignore-eos), so output lengths differ between requests, "
                "arms and repeats: throughput and E2E latency then compare unequal work.",
                "Compare TTFT, TPOT and ITL; leave --no-ignore-eos out where the server knows ignore_eos.",
            )
        )
    if point.form.extra_body:
        names = ", ".join(f"`{name}`" for name in json.loads(point.form.extra_body))
        found.append(
            Finding(
                "extra-body",
                "note",
                f"Every request also says {names} (--extra-body), which this program does not check.",
                "Look it up in the server's documentation whether that changes lengths, sampling or speed.",
            )
        )
    return [replace(f, point=point.point_id) for f in found]


def tpot_missing(m: TrialMetrics) -> Finding | None:
    """Why no request has a time per output token."""
    tokens = m.per_request.output_tokens[m.per_request.ok]
    if not len(tokens) or m.latencies["tpot_s"].n or np.isnan(tokens).any() or not m.per_request.streamed:
        # `no-usage` and `no-stream` give the reason.
        return None
    if (tokens < 2).all():
        text, step = "no answer has two tokens", "Ask for more with --output-len."
    else:
        text, step = "no answer came in two chunks", "Look for a server that sends its tokens together."
    return Finding("no-tpot", "note", f"There is no TPOT: {text}.", step)
