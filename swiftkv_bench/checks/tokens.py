"""What can be wrong with the answers of a trial under load: their lengths, how tokens are counted, no stream."""

from collections.abc import Iterator

import numpy as np

from swiftkv_bench.checks.finding import Finding
from swiftkv_bench.metrics import TrialMetrics
from swiftkv_bench.metrics.requests import Bool, told_by_chunks
from swiftkv_bench.schema.perf import STATUS, RequestTable
from swiftkv_bench.units import duration


def check_tokens(table: RequestTable, m: TrialMetrics, *, whole: bool) -> list[Finding]:
    """Everything that tokens and chunks of finished requests say against the figures.

    Args:
        whole: the server was asked for the whole output length, end-of-text ignored.
    """
    ok = table.status == STATUS.index("ok")
    return [*_lengths(table, ok, whole=whole), *_counts(table, m, ok), *_stream(m)]


def _lengths(table: RequestTable, ok: Bool, *, whole: bool) -> Iterator[Finding]:
    told, n = ok & (table.output_tokens >= 0), f"{int(ok.sum()):,}"
    empty = int((told & (table.output_tokens == 0)).sum()) + int((ok & (np.diff(table.chunk_start) == 0)).sum())
    if empty:
        text = f"{empty:,} finished requests brought no token."
        step = "Look at the engine log and at --output-len; the model may be broken."
        yield Finding("zero-tokens", "invalid", text, step)
    short = int((told & (table.output_tokens < table.output_tokens_asked) & (table.output_tokens > 0)).sum())
    if short and whole:
        text = f"{short:,} of {n} answers ended before the output length asked for."
        step = "The server ignores ignore_eos; compare with equal output lengths only."
        yield Finding("short-answers", "warning", text, step)
    long = int((told & (table.output_tokens > table.output_tokens_asked)).sum())
    if long:
        text = f"{long:,} of {n} answers have more tokens, as the server counts, than were asked for."
        step = "The server ignores max_tokens, or counts wrongly; look at an answer."
        yield Finding("long-answers", "warning", text, step)


def _counts(table: RequestTable, m: TrialMetrics, ok: Bool) -> Iterator[Finding]:
    if m.output_tokens is None and m.ok:
        text = "The server does not tell output tokens (no usage), so TPOT and throughput are missing."
        yield Finding("no-usage", "warning", text, "Use a server that honours stream_options.include_usage.")
    per, chunks = m.per_request, np.diff(table.chunk_start)
    running = told_by_chunks(table)
    differs = ok & (chunks > 0) & ~per.counted & (running >= 0) & ~np.isnan(per.output_tokens)
    if differs.any():
        text = (
            f"For {int(differs.sum()):,} of {int(ok.sum()):,} answers the running count of tokens ends at "
            f"{running[differs].mean():,.1f} on average and the usage event at "
            f"{per.output_tokens[differs].mean():,.1f}; the usage event counts."
        )
        step = "The server's continuous_usage_stats are wrong: tokens per chunk are not used."
        yield Finding("usage-differs", "warning", text, step)
    # An end-of-text token may have no chunk.
    hidden = ok & ~per.counted & (per.output_tokens > chunks + 1) & ~np.isnan(per.tpot_s)
    if hidden.any():
        least, used, most = (
            duration(float(values[hidden].mean())) for values in (per.tpot_least_s, per.tpot_s, per.tpot_most_s)
        )
        text = (
            f"{int(per.output_tokens[hidden].sum()):,} tokens came in {int(chunks[hidden].sum()):,} chunks and the "
            f"server does not tell how many in each: TPOT, {used}, takes them as equal and lies between {least} and "
            f"{most}."
        )
        step = "Use a server that honours stream_options.continuous_usage_stats; ITL is between chunks here."
        yield Finding("tokens-per-chunk", "warning", text, step)


def _stream(m: TrialMetrics) -> Iterator[Finding]:
    if m.per_request.streamed:
        return
    at_once = int(m.per_request.at_once.sum())
    text = (
        f"All tokens of {at_once:,} of {m.ok:,} answers came in one read: the server does not stream, or a proxy in "
        "between keeps the answer until it is whole. TTFT, TPOT and ITL are not given."
    )
    step = "Switch the proxy's buffering off (nginx: proxy_buffering off), or ask the server without it."
    yield Finding("no-stream", "warning", text, step)
