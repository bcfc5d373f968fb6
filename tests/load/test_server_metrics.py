"""Counters of pages with several engines, replicas and models: one rule each."""

import pytest

from swiftkv_bench.load.server_metrics import parse

TWO_ENGINES = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama"} 3
vllm:num_requests_running{engine="1",model_name="llama"} 4
vllm:kv_cache_usage_perc{engine="0",model_name="llama"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="llama"} 0.75
vllm:prompt_tokens_total{engine="0",model_name="llama"} 100
vllm:prompt_tokens_total{engine="1",model_name="llama"} 10.5
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="llama"} 7
vllm:time_to_first_token_seconds_sum{engine="0",model_name="llama"} 1.5 1700000000
vllm:request_success_total{finished_reason="stop",model_name="llama"} 2
vllm:request_success_total{finished_reason="length",model_name="llama"} 3
vllm:prompt_tokens_created{engine="0",model_name="llama"} 1.7e9
vllm:broken{model_name="llama"} many
process_cpu_seconds_total 9
"""
SUMS = {
    "num_requests_running": 7.0,
    "kv_cache_usage_perc": 0.75,
    "prompt_tokens_total": 110.5,
    "time_to_first_token_seconds_sum": 1.5,
    "request_success_total": 5.0,
}
ANOTHER = 'vllm:prompt_tokens_total{engine="0",model_name="adapter"} 1000\n'


@pytest.mark.parametrize("model", ["llama", "an-alias"])
def test_engines_are_summed_and_of_shares_the_largest_counts(model: str) -> None:
    assert parse(TWO_ENGINES, model) == SUMS


def test_of_several_models_the_one_asked_counts() -> None:
    assert parse(TWO_ENGINES + ANOTHER, "llama") == SUMS
    assert parse(TWO_ENGINES + ANOTHER, "adapter") == {"prompt_tokens_total": 1000.0}


def test_a_page_of_several_other_models_says_nothing() -> None:
    assert parse(TWO_ENGINES + ANOTHER, "an-alias") == {}


def test_what_names_no_model_belongs_to_the_one_asked() -> None:
    assert parse(ANOTHER + "vllm:prompt_tokens_total 5\n", "adapter") == {"prompt_tokens_total": 1005.0}
