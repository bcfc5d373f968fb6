"""Trials in the form of `vllm bench serve`'s result files."""

import json
from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.metrics import Objective
from swiftkv_bench.render.vllm_bench import export_vllm, vllm_bench_json
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.schema.perf import Arrivals
from tests.synthetic import load_run, manifest, point, table, trial_record, with_failures

# Keys of a file written by `vllm bench serve --save-result --save-detailed` of vLLM 0.32 with the default metrics.
VLLM_KEYS = {
    "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts", "request_rate",
    "burstiness", "max_concurrency", "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput", "input_lens",
    "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times", "generated_texts", "errors",
    "max_output_tokens_per_s", "max_concurrent_requests", "rtfx", "mean_ttft_ms",
    "median_ttft_ms", "std_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "median_tpot_ms", "std_tpot_ms", "p99_tpot_ms",
    "mean_itl_ms", "median_itl_ms", "std_itl_ms", "p99_itl_ms",
}  # fmt: skip


def test_vllm_file_has_the_names_and_units_of_that_program() -> None:
    at = point(100, Arrivals(process="poisson", rate=100.0), 700, output_len=4)
    given = with_failures(table(np.arange(700) / 100, np.full(700, 0.05), itl_s=0.01), [1])
    found = vllm_bench_json(manifest("r", RunPlan()), trial_record(at), given)
    assert VLLM_KEYS - set(found) == set()
    assert found["mean_ttft_ms"] == pytest.approx(50)
    assert found["p99_tpot_ms"] == pytest.approx(10)
    assert found["mean_itl_ms"] == pytest.approx(10)
    assert (found["completed"], found["failed"], found["request_rate"]) == (699, 1, 100.0)
    assert found["duration"] == pytest.approx(6.99 + 0.05 + 0.03)
    assert found["total_token_throughput"] == pytest.approx(699 * 104 / found["duration"])
    assert (found["ttfts"][1], found["itls"][1], found["output_lens"][1]) == (0.0, [], 0)
    assert found["itls"][0] == pytest.approx([0.01] * 3)
    assert found["label"] == "baseline"
    json.dumps(found, allow_nan=False)


def test_a_batch_is_an_infinite_rate_and_small_samples_have_no_percentile(tmp_path: Path) -> None:
    run = load_run(tmp_path / "r", requests=24, repeats=1)
    paths = export_vllm(run, tmp_path / "vllm")
    found = json.loads(paths[0].read_text())
    assert (found["request_rate"], len(paths)) == ("inf", len(list(run.trials())))
    assert "p99_ttft_ms" not in found


def test_the_busiest_second_counts_its_chunks_and_every_request_under_way_in_it() -> None:
    # Sent at 0, 0.5 and 2.0 s, four chunks each at +0.3, +0.8, +1.3, +1.8 s: seconds 0, 1, 2, 3 hold 3, 4, 3, 2 chunks
    # (0.3 0.8 0.8 | 1.3 1.3 1.8 1.8 | 2.3 2.3 2.8 | 3.3 3.8) and 2, 2, 2, 1 requests.
    at = point(100, Arrivals(process="poisson", rate=1.0), 3, output_len=4)
    given = table([0.0, 0.5, 2.0], [0.3] * 3, itl_s=0.5)
    found = vllm_bench_json(manifest("r", RunPlan()), trial_record(at), given)
    assert (found["max_output_tokens_per_s"], found["max_concurrent_requests"]) == (4.0, 2)


def test_goodput_is_there_when_an_objective_is_given() -> None:
    at = point(100, Arrivals(process="poisson", rate=1.0), 2, output_len=4)
    given = table([0.0, 1.0], [0.3, 0.6], itl_s=0.5)
    whole = vllm_bench_json(manifest("r", RunPlan()), trial_record(at), given, Objective(ttft_s=0.5))
    assert whole["request_goodput"] == pytest.approx(1 / whole["duration"])
    assert vllm_bench_json(manifest("r", RunPlan()), trial_record(at), given)["request_goodput"] is None
