"""What can be wrong with a trial under load, and with the trials of a point together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from swiftkv_bench.advice import of_trial
from swiftkv_bench.checks import traffic
from swiftkv_bench.checks.finding import Finding, sentence
from swiftkv_bench.checks.tokens import check_tokens
from swiftkv_bench.metrics import ServerMetrics, TrialMetrics, in_flight, requests_needed
from swiftkv_bench.refusal import likely_cause
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import PROCESSES, UNPACED, ClientTelemetry, RequestTable, SelfTest, TrialRecord
from swiftkv_bench.stats.series import gamma_gaps_fit, growth
from swiftkv_bench.units import count, duration, percent

LATE_S, LATE_SHARE = 0.001, 0.01
"""The client is late when the 99th percentile of lateness is above both: seconds, and share of mean TTFT."""
LATE_INVALID = 0.10
"""Mean lateness, as a share of mean TTFT, that spoils a trial: TTFT from send and from schedule then disagree."""
SLOW_START = 0.05
"""Share of a batch's time that sending it may take."""
KS_P = 0.001
UNSENT_SHARE = 0.05
FAILED_INVALID = 0.05
STARVED_SHARE = 0.05
SATURATION_BLOCKS, SATURATION_P, SATURATION_GROWTH = 12, 0.01, 1.5
SERVER_SLACK, SERVER_SLACK_S = 0.10, 0.005
DRIFT = 0.20


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
        _failed(m, table),
        *_client(record, table, m),
        traffic.prefix_cache(record, table, server),
        traffic.capped(record, table),
        traffic.prompt_lengths(record.trial.point, table),
        traffic.tpot_missing(m),
        saturation,
        *check_tokens(table, m, whole=record.trial.point.form.ignore_eos),
        _server(m, server, record.client),
        _preempted(server),
        _sent_again(record.client),
    ]
    trial = record.trial
    located = (replace(f, point=trial.point.point_id, arm=trial.arm) for f in found if f is not None)
    return TrialCheck(tuple(located), saturation is not None)


def _incomplete(record: TrialRecord) -> Finding | None:
    if record.status == "complete":
        return None
    reason = record.reason or "no reason was recorded"
    return Finding("trial-incomplete", "invalid", sentence(f"The trial {record.status}: {reason}"), of_trial(record))


def _failed(m: TrialMetrics, table: RequestTable) -> Finding | None:
    if not m.failures:
        return None
    total = sum(m.failures.values())
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(m.failures.items()))
    bad = total / m.requests > FAILED_INVALID
    return Finding(
        "failed-requests",
        "invalid" if bad else "warning",
        f"{total:,} of {m.requests:,} requests failed ({kinds}); they have no latency and no tokens here.",
        likely_cause(table.errors.values())
        or "Read the errors in requests.csv and the engine log; lower the rate or mend the engine.",
    )


def _client(record: TrialRecord, table: RequestTable, m: TrialMetrics) -> list[Finding]:
    found: list[Finding | None] = []
    process = record.trial.point.arrivals.process
    if process not in UNPACED:
        free = traffic.free_at_due(record, table)
        found += [_late(m, free), _unsent(record, table, free), _arrivals(record, table)]
    elif process == "all-at-once":
        found.append(_slow_start(table, m))
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


def _late(m: TrialMetrics, free: npt.NDArray[np.bool_]) -> Finding | None:
    late = m.per_request.lateness_s[free & ~np.isnan(m.per_request.lateness_s)]
    ttft = m.per_request.ttft_s[~np.isnan(m.per_request.ttft_s)]
    if len(late) == 0:
        return None
    mean, p99 = float(late.mean()), float(np.quantile(late, 0.99))
    base = float(ttft.mean()) if len(ttft) else 0.0
    if p99 <= max(LATE_S, LATE_SHARE * base):
        return None
    share = f", {percent(mean / base)} of mean TTFT" if base else ""
    return Finding(
        "late-client",
        "invalid" if mean > max(LATE_S, LATE_INVALID * base) else "warning",
        f"Requests left the client {duration(mean)} after their scheduled time on average{share}; 1 % left "
        f"{duration(p99)} late or more.",
        "Keep other work off the client's processors, use more client processes (--workers), or a lower rate.",
    )


def _slow_start(table: RequestTable, m: TrialMetrics) -> Finding | None:
    sent = table.sent_s[~np.isnan(table.sent_s)]
    late = float(np.ptp(sent)) if len(sent) else 0.0
    if m.measured_s <= 0 or late <= SLOW_START * m.measured_s:
        return None
    return Finding(
        "late-client",
        "warning",
        f"Sending the batch took {duration(late)} of {duration(m.measured_s)}: it was not sent at once.",
        "Use more client processes (--workers), or fewer requests.",
    )


def _unsent(record: TrialRecord, table: RequestTable, free: npt.NDArray[np.bool_]) -> Finding | None:
    due = free & (table.scheduled_s <= record.window_s)
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
    if not PROCESSES[arrivals.process].random or arrivals.rate is None or arrivals.cap is not None:
        return None
    sent = table.sent_s[traffic.opening(table) & ~np.isnan(table.sent_s)]
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


def _saturation(record: TrialRecord, table: RequestTable) -> Finding | None:
    arrivals = record.trial.point.arrivals
    if arrivals.process in UNPACED or len(table) < 2 * SATURATION_BLOCKS or record.window_s <= 0:
        return None
    ended = table.end_s - table.sent_s
    ended = ended[~np.isnan(ended)]
    start = min(float(np.median(ended)), record.window_s / 2) if len(ended) else 0.0
    edges = np.linspace(start, record.window_s, SATURATION_BLOCKS * 8 + 1)[1:]
    # Later turns come on top until the first conversations end.
    blocks = in_flight(table, edges, traffic.opening(table)).reshape(SATURATION_BLOCKS, 8).mean(axis=1)
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


def _server(m: TrialMetrics, server: ServerMetrics, client: ClientTelemetry | None) -> Finding | None:
    client_s, server_s = m.latencies["ttft_s"].mean, server.ttft_s
    if client_s is None or server_s is None or server.requests is None:
        return None
    # The server also counts first tokens of the load kept on after the window; how many came is not recorded.
    tail = None if client is None else client.tail_requests
    slack = max(1.0, 0.02 * m.ok)
    if not m.ok - slack <= server.requests <= m.ok + (math.inf if tail is None else tail) + slack:
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
        "Raise gpu-memory-utilization, or kv-cache-memory-bytes where that is set, or lower max-num-seqs or the rate, "
        "unless that is what you measure.",
    )


def _sent_again(client: ClientTelemetry | None) -> Finding | None:
    if client is None or not client.sent_again:
        return None
    return Finding(
        "sent-again",
        "note",
        f"{client.sent_again:,} requests were sent once more: the server had closed the connection they went out on.",
        "Raise the server's keep-alive time where their lateness matters; they are stamped anew.",
    )


def check_self_test(found: SelfTest | None, failure: str | None = None) -> Finding | None:
    """Did the client hold the plan's load against the fake engine before the run? `failure`: why nobody knows."""
    if failure is not None:
        text = f"The client was not tested before the run: {failure}."
        return Finding("self-test", "note", text, "Judge it by the lateness of its requests in the report.")
    if found is None or found.verdict == "holds":
        return None
    load = f"{found.rate:.3g} requests/s of {found.output_tokens} tokens"
    if found.verdict == "engine-late":
        text = f"The self-test at {load} decides nothing: the fake engine itself was late."
        return Finding("self-test", "note", text, "Free a processor for it and give the command again with --fresh.")
    if found.failed:
        text = f"{found.failed:,} of {found.requests:,} requests of the self-test at {load} failed."
    else:
        late = max(found.send_lateness_p90_s, found.token_lag_p99_s)
        text = f"Against the fake engine at {load} the client was {duration(late)} late, before any engine ran."
    step = "Use more client processes (--workers), a lower rate, or a machine with a free processor."
    return Finding("self-test", "warning", text, step)


def check_spread(
    name: str, values: Sequence[float], point: str, arm: Arm, *, own_arrivals: bool = False
) -> Finding | None:
    """Do trials of one arm at one point agree? A finding when (max − min)/mean of `name` exceeds `DRIFT`.

    Args:
        own_arrivals: every repeat has arrivals of its own, which move the figure too.
    """
    if len(values) < 2 or min(values) <= 0:
        return None
    mean = math.fsum(values) / len(values)
    spread = (max(values) - min(values)) / mean
    if spread <= DRIFT:
        return None
    text = f"{name} differs by {percent(spread, 0)} between {len(values)} trials of the same arm."
    step = "Add repeats, and look for another load, changing clocks or a hot machine."
    if own_arrivals:
        step = "Each repeat has other arrivals: lengthen it (--requests or --duration), or add repeats."
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
