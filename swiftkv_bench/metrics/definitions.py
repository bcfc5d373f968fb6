"""What every printed name means, in sentences."""

from collections.abc import Mapping

DEFINITIONS: Mapping[str, str] = {
    "TTFT": "Time to first token: arrival of the first chunk with non-empty content, minus send. "
    "An empty role delta is no content. None, like TPOT and ITL, where over half of the answers came in one read.",
    "TTFT from schedule": "The same chunk, minus the time the schedule wanted the request sent "
    "(free of coordinated omission).",
    "TPOT": "Time per output token: (last chunk − first chunk) / (output tokens − tokens that came with the first "
    "chunk, in the same read), per request; none below two tokens or two reads. Output tokens are the server's usage "
    "count; chunks whose tokens it does not tell are taken as equal.",
    "ITL": "Inter-token latency: every gap between consecutive chunks of a request, pooled over requests.",
    "ITL per token": "Each gap divided by the tokens of the chunk that ends it, counted once a token; "
    "none where the server does not tell tokens per chunk.",
    "E2E latency": "End of the response, minus send.",
    "Lateness": "Send, minus the time the schedule wanted the request sent.",
    "Output throughput": "Output tokens/s. All at once: all tokens, from the first send to the last response. "
    "Rates and closed loop: tokens delivered inside the arrival window, divided by its length.",
    "Total throughput": "Prompt + output tokens/s over the same time; the model card's combined throughput. "
    "A prompt counts when its first token arrives.",
    "Achieved rate": "Requests sent inside the arrival window, divided by its length.",
    "Goodput": "Requests/s that finish and meet every latency objective; failed requests miss.",
    "Energy per token": "Energy of the engine's GPUs from the start of the window to the last measured response, "
    "divided by the prompt and output tokens that the server counted in that time, load beyond the measured requests "
    "among them.",
    "Percentiles": "Linear interpolation between order statistics. A percentile is printed only from the n at "
    "which, with 99 % confidence, two requests lie above it: p50 11, p90 64, p95 130, p99 662, p99.9 6,636.",
}
"""Names and meanings, in the order in which a report prints them."""
