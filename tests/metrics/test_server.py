"""Differences of the server's counters."""

from swiftkv_bench.metrics import ServerMetrics, server_metrics

BEFORE = {
    "time_to_first_token_seconds_sum": 10.0,
    "time_to_first_token_seconds_count": 5.0,
    "prefix_cache_queries_total": 1000.0,
    "prefix_cache_hits_total": 10.0,
    "num_preemptions_total": 3.0,
}
AFTER = BEFORE | {
    "time_to_first_token_seconds_sum": 12.0,
    "time_to_first_token_seconds_count": 9.0,
    "prefix_cache_queries_total": 3000.0,
    "prefix_cache_hits_total": 510.0,
    "request_queue_time_seconds_sum": 0.4,
    "request_queue_time_seconds_count": 4.0,
}


def test_means_are_differences_of_sums_by_differences_of_counts() -> None:
    assert server_metrics(BEFORE, AFTER) == ServerMetrics(
        requests=4, ttft_s=0.5, queue_s=0.1, prefill_s=None, decode_s=None, prompt_tokens=None, output_tokens=None,
        preemptions=0, prefix_hit_share=0.25,
    )  # fmt: skip


def test_a_server_without_counters_says_nothing() -> None:
    found = server_metrics({}, {})
    assert set(vars(found).values()) == {None}
