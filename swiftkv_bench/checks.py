"""Validity findings as values: what makes a measured figure less than it seems, and what to do next.

Owns every threshold. A finding of severity `invalid` takes its point out of all comparisons; `warning` leaves the
figure and stands beside it; `note` explains an absence. Nothing here changes a figure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from swiftkv_bench.metrics import TrialMetrics, in_flight, requests_needed
from swiftkv_bench.metrics.server import ServerMetrics
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import STATUS, RequestTable, TrialRecord
from swiftkv_bench.stats.items import ItemDelta, Score
from swiftkv_bench.stats.series import gamma_gaps_fit, growth
from swiftkv_bench.units import count, duration, percent

Severity = Literal["invalid", "warning", "note"]

LATE_S, LATE_SHARE = 0.001, 0.01
"""Lateness of the 99th percentile from which the client is late: this, or this share of the median TTFT."""
INVALID_FACTOR = 10
"""A client this many times later than that spoils the point."""
KS_P = 0.001
UNSENT_SHARE = 0.05
PREFIX_SLACK = 0.01
FAILED_INVALID = 0.05
STARVED_SHARE = 0.05
SATURATION_BLOCKS, SATURATION_P, SATURATION_GROWTH = 12, 0.01, 1.5
SERVER_SLACK, SERVER_SLACK_S = 0.10, 0.005
DRIFT = 0.20
UNPARSED_RISE = 0.01


@dataclass(frozen=True)
class Finding:
    """One thing the reader must know before using a figure.

    Attributes:
        code: stable key, for scripts.
        message: what was seen, with figures.
        next_step: what to do about it.
        point: id of the load point, None when it is not about one.
        arm: the engine it is about, None for all.
        column: the accuracy column, None when it is not about one.
        trials: trials in which it was seen.
    """

    code: str
    severity: Severity
    message: str
    next_step: str
    point: str | None = None
    arm: Arm | None = None
    column: str | None = None
    trials: int = 1


@dataclass(frozen=True)
class TrialCheck:
    """Findings of one trial.

    Attributes:
        saturated: requests came faster than they were answered; latencies then grow with the length of the run.
    """

    findings: tuple[Finding, ...]
    saturated: bool

    @property
    def valid(self) -> bool:
        """No finding is `invalid`."""
        return all(f.severity != "invalid" for f in self.findings)


def check_trial(record: TrialRecord, table: RequestTable, m: TrialMetrics, server: ServerMetrics) -> TrialCheck:
    """Everything that can be wrong with one trial."""
    saturation = _saturation(record, table)
    found = [
        _incomplete(record),
        _failed(m),
        *_client(record, table, m),
        _prefix_cache(record, table, server),
        saturation,
        *_tokens(table, m),
        _server(m, server),
        _preempted(server),
    ]
    trial = record.trial
    located = (replace(f, point=trial.point.point_id, arm=trial.arm) for f in found if f is not None)
    return TrialCheck(tuple(located), saturation is not None)


def _incomplete(record: TrialRecord) -> Finding | None:
    if record.status == "complete":
        return None
    reason = record.reason or "no reason was recorded"
    return Finding("trial-incomplete", "invalid", f"The trial {record.status}: {reason}.", "Resume the run.")


def _failed(m: TrialMetrics) -> Finding | None:
    if not m.failures:
        return None
    total = sum(m.failures.values())
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(m.failures.items()))
    bad = total / m.requests > FAILED_INVALID
    return Finding(
        "failed-requests",
        "invalid" if bad else "warning",
        f"{total:,} of {m.requests:,} requests failed ({kinds}); they have no latency and no tokens here.",
        "Read the errors in requests.csv and the engine log; lower the rate or mend the engine.",
    )


def _client(record: TrialRecord, table: RequestTable, m: TrialMetrics) -> list[Finding]:
    found: list[Finding | None] = []
    process = record.trial.point.arrivals.process
    if process not in ("closed-loop", "all-at-once"):
        found += [_late(m), _unsent(record, table), _arrivals(record, table)]
    elif process == "all-at-once":
        found.append(_slow_start(m))
    client = record.client
    if client is not None and client.run_queue_delay_s is not None and record.total_s > 0:
        share = client.run_queue_delay_s / record.total_s
        if share > STARVED_SHARE:
            text = f"The client waited for a processor during {percent(share)} of the trial, so stamps may be late."
            found.append(
                Finding(
                    "client-starved",
                    "warning",
                    text,
                    "Give the client a processor of its own (taskset), or run it on another machine.",
                )
            )
    return [f for f in found if f is not None]


def _late(m: TrialMetrics) -> Finding | None:
    late = m.per_request.lateness_s[~np.isnan(m.per_request.lateness_s)]
    ttft = m.per_request.ttft_s[~np.isnan(m.per_request.ttft_s)]
    if len(late) == 0:
        return None
    p99 = float(np.quantile(late, 0.99))
    limit = max(LATE_S, LATE_SHARE * float(np.median(ttft)) if len(ttft) else 0.0)
    if p99 <= limit:
        return None
    return Finding(
        "late-client",
        "invalid" if p99 > INVALID_FACTOR * limit else "warning",
        f"1 % of requests left the client more than {duration(p99)} after their scheduled time "
        f"(limit {duration(limit)}).",
        "Use more client processes (--workers), a lower rate, or another machine for the client.",
    )


def _slow_start(m: TrialMetrics) -> Finding | None:
    late = m.latencies["lateness_s"].high
    if late is None or m.measured_s <= 0 or late <= 0.05 * m.measured_s:
        return None
    return Finding(
        "late-client",
        "warning",
        f"Sending the batch took {duration(late)} of {duration(m.measured_s)}: it was not sent at once.",
        "Use more client processes (--workers), or fewer requests.",
    )


def _unsent(record: TrialRecord, table: RequestTable) -> Finding | None:
    due = table.scheduled_s <= record.window_s
    sent = int((table.sent_s[due] <= record.window_s).sum())
    if due.sum() < 20 or sent >= (1 - UNSENT_SHARE) * due.sum():
        return None
    return Finding(
        "rate-not-reached",
        "invalid",
        f"Only {sent:,} of {int(due.sum()):,} requests due inside the window were sent inside it.",
        "Use more client processes (--workers), or a lower rate.",
    )


def _arrivals(record: TrialRecord, table: RequestTable) -> Finding | None:
    arrivals = record.trial.point.arrivals
    if arrivals.process not in ("poisson", "gamma") or arrivals.rate is None:
        return None
    sent = table.sent_s[~np.isnan(table.sent_s)]
    shape = arrivals.burstiness if arrivals.process == "gamma" else 1.0
    fit = gamma_gaps_fit(sent, arrivals.rate, shape) if len(sent) >= 20 else None
    if fit is None or fit.p > KS_P:
        return None
    return Finding(
        "arrivals-off",
        "warning",
        f"Gaps between sends do not follow the {arrivals.process} process of {arrivals.rate:g}/s "
        f"(Kolmogorov-Smirnov D = {fit.d:.3f}, p = {fit.p:.1g}, n = {fit.n:,}).",
        "Look at the lateness; use another seed when the client was on time.",
    )


def _prefix_cache(record: TrialRecord, table: RequestTable, server: ServerMetrics) -> Finding | None:
    known = table.cached_tokens >= 0
    prompt = np.where(table.prompt_tokens >= 0, table.prompt_tokens, table.prompt_tokens_asked)
    total = int(prompt[known].sum())
    share = int(table.cached_tokens[known].sum()) / total if total else server.prefix_hit_share
    point = record.trial.point
    if share is None or point.prompts is not None or share <= point.shared_prefix + PREFIX_SLACK:
        return None
    return Finding(
        "prefix-cache",
        "invalid",
        f"{percent(share)} of the prompt tokens came from the server's prefix cache; "
        f"{percent(point.shared_prefix)} was meant. TTFT is too good.",
        "Restart the engine or switch prefix caching off; another run may have used the same seed.",
    )


def _saturation(record: TrialRecord, table: RequestTable) -> Finding | None:
    arrivals = record.trial.point.arrivals
    if arrivals.process in ("closed-loop", "all-at-once") or len(table) < 2 * SATURATION_BLOCKS or record.window_s <= 0:
        return None
    ended = table.end_s - table.sent_s
    ended = ended[~np.isnan(ended)]
    start = min(float(np.median(ended)), record.window_s / 2) if len(ended) else 0.0
    edges = np.linspace(start, record.window_s, SATURATION_BLOCKS * 8 + 1)[1:]
    blocks = in_flight(table, edges).reshape(SATURATION_BLOCKS, 8).mean(axis=1)
    trend = growth(blocks)
    grew = trend is not None and trend.p < SATURATION_P and (trend.growth is None or trend.growth > SATURATION_GROWTH)
    if not grew:
        return None
    return Finding(
        "past-saturation",
        "warning",
        f"Requests in flight kept growing, from {count(round(blocks[0]))} to {count(round(blocks[-1]))}: the engine "
        "answers slower than requests come, so latencies grow with the length of the run.",
        "Read throughput here, and latencies at a lower rate; --rate auto finds the capacity.",
    )


def _tokens(table: RequestTable, m: TrialMetrics) -> list[Finding]:
    ok = table.status == STATUS.index("ok")
    found = []
    told = ok & (table.output_tokens >= 0)
    empty = int((told & (table.output_tokens == 0)).sum()) + int((ok & (np.diff(table.chunk_start) == 0)).sum())
    if empty:
        text = f"{empty:,} finished requests brought no token."
        found.append(
            Finding(
                "zero-tokens", "invalid", text, "Look at the engine log and at --output-len; the model may be broken."
            )
        )
    short = int((told & (table.output_tokens < table.output_tokens_asked) & (table.output_tokens > 0)).sum())
    if short:
        text = f"{short:,} of {int(ok.sum()):,} answers ended before the output length asked for."
        found.append(
            Finding(
                "short-answers",
                "warning",
                text,
                "The server ignores ignore_eos; compare with equal output lengths only.",
            )
        )
    if m.output_tokens is None and m.ok:
        text = "The server does not tell output tokens (no usage), so TPOT and throughput are missing."
        found.append(Finding("no-usage", "warning", text, "Use a server that honours stream_options.include_usage."))
    counted = ok & (table.prompt_tokens >= 0)
    other = int((counted & (table.prompt_tokens != table.prompt_tokens_asked)).sum())
    if other:
        text = f"For {other:,} requests the server counts another prompt length than was sent."
        found.append(
            Finding("prompt-length", "warning", text, "The server adds or cuts tokens; give the right --tokenizer.")
        )
    return found


def _server(m: TrialMetrics, server: ServerMetrics) -> Finding | None:
    client_s, server_s = m.latencies["ttft_s"].mean, server.ttft_s
    if client_s is None or server_s is None or server.requests is None:
        return None
    if abs(server.requests - m.ok) > max(1.0, 0.02 * m.ok):
        return Finding(
            "server-disagrees",
            "warning",
            f"The server counted {server.requests:,} first tokens, the client {m.ok:,} finished requests.",
            "Something else uses the server; measure on an idle one.",
        )
    away = client_s - server_s
    if abs(away) <= max(SERVER_SLACK_S, SERVER_SLACK * server_s):
        return None
    return Finding(
        "server-disagrees",
        "warning",
        f"Mean TTFT is {duration(client_s)} at the client and {duration(server_s)} at the server.",
        "Look for a slow network or proxy, a busy API process of the server, or a client short of processor time.",
    )


def _preempted(server: ServerMetrics) -> Finding | None:
    if not server.preemptions:
        return None
    return Finding(
        "preempted",
        "warning",
        f"The engine preempted {server.preemptions:,} requests: its key-value cache was full.",
        "Raise gpu-memory-utilization, or lower max-num-seqs or the rate, unless that is what you measure.",
    )


def check_spread(name: str, values: Sequence[float], point: str, arm: Arm) -> Finding | None:
    """Do trials of one arm at one point agree? A finding when (max − min)/mean of `name` exceeds `DRIFT`."""
    if len(values) < 2 or min(values) <= 0:
        return None
    mean = math.fsum(values) / len(values)
    spread = (max(values) - min(values)) / mean
    if spread <= DRIFT:
        return None
    text = f"{name} differs by {percent(spread, 0)} between {len(values)} trials of the same arm."
    step = "Add repeats, and look for another load, changing clocks or a hot machine."
    return Finding("drift", "warning", text, step, point=point, arm=arm, trials=len(values))


def check_samples(requests: int, point: str) -> Finding | None:
    """Which usual percentiles the pooled requests of an arm do not support."""
    missing = [(q, requests_needed(q)) for q in (0.5, 0.9, 0.99) if requests < requests_needed(q)]
    if not missing:
        return None
    needs = ", ".join(f"p{q * 100:g} ({needed:,})" for q, needed in missing)
    return Finding(
        "too-few-samples",
        "note",
        f"{requests:,} requests an arm are too few for {needs}.",
        "Raise --requests or --repeats where a tail matters.",
        point=point,
    )


def merge(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """One finding for the same code, point, arm, column and severity; it keeps the first text and counts trials."""
    found: dict[tuple[str, str | None, str | None, str | None, str], Finding] = {}
    for f in findings:
        key = (f.code, f.point, f.arm, f.column, f.severity)
        found[key] = replace(found[key], trials=found[key].trials + f.trials) if key in found else f
    order = {"invalid": 0, "warning": 1, "note": 2}
    return tuple(sorted(found.values(), key=lambda f: order[f.severity]))


def check_answers(column: str, arm: Arm, *, n: int, truncated: int, unfinished: int) -> list[Finding]:
    """Answers of one arm that were not what the protocol wants."""
    found = []
    if truncated:
        text = f"{truncated:,} of {n:,} prompts were cut to fit the context."
        step = "Raise max-model-len: a cut prompt loses its head."
        found.append(Finding("truncated-prompts", "warning", text, step, arm=arm, column=column))
    if unfinished:
        text = f"{unfinished:,} of {n:,} answers reached the token limit unfinished."
        step = "Read them in the item browser; looping text is a sign of a broken engine."
        found.append(Finding("unfinished-answers", "note", text, step, arm=arm, column=column))
    return found


def check_unparsed(column: str, arm: Arm, n: int, unparsed: int, reference: int) -> Finding | None:
    """A rise of unparsed answers over the reference arm's, of `UNPARSED_RISE` or more, on the same n items."""
    if n == 0 or (unparsed - reference) / n < UNPARSED_RISE:
        return None
    text = (
        f"Unparsed answers rose from {reference:,} to {unparsed:,} of {n:,}: often the first sign of a broken engine."
    )
    step = "Filter the item browser to unparsed answers and read them."
    return Finding("unparsed-rise", "warning", text, step, arm=arm, column=column)


def check_chance(column: str, chance: float | None, scores: Sequence[Score]) -> Finding | None:
    """Every arm scores no better than guessing, so that a difference between them means nothing."""
    if chance is None or not scores:
        return None
    if any(s.interval is None or s.interval.low > chance for s in scores):
        return None
    text = f"No arm is better than guessing ({percent(chance, 0)}): a model that knows nothing cannot lose quality."
    step = "Use trained weights, or more items; the verdict on this column says nothing."
    return Finding("chance-level", "warning", text, step, column=column)


def check_margin(column: str, noise: ItemDelta, margin: float) -> Finding | None:
    """The margin must exceed what two runs of the same engine differ by."""
    interval = noise.interval
    if interval is None or interval.half_width < margin:
        return None
    text = (
        f"The margin of {margin * 100:.1f} points is below the noise between two runs of the baseline "
        f"(±{interval.half_width * 100:.1f} points)."
    )
    return Finding("margin-below-noise", "invalid", text, "Use more items or a wider margin.", column=column)
