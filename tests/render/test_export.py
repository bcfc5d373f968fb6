"""Files for other programs."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from swiftkv_bench.analysis import Analysis
from swiftkv_bench.render.export import (
    SUMMARY_SCHEMA,
    export_points,
    export_requests,
    export_vllm,
    summary_json,
    vllm_bench_json,
)  # fmt: skip
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.schema.perf import Arrivals
from tests.synthetic import load_run, manifest, point, table, trial_record, with_failures


def test_summary_is_json_without_requests_items_or_not_a_number(analysis: Analysis) -> None:
    found = json.loads(summary_json(analysis), parse_constant=lambda name: pytest.fail(name))
    assert found["schema"] == SUMMARY_SCHEMA
    assert set(found) == {"schema", "runs", "accuracy", "perf", "findings"}
    first = found["perf"][0]["points"][0]
    assert first["gains"]["ttft_mean_s"]["pairs"] == 3
    assert "sample" not in first["arms"]["baseline"]
    assert "items" not in found["accuracy"][0]


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_points_are_the_same_in_csv_and_parquet(analysis: Analysis, tmp_path: Path) -> None:
    paths = export_points(analysis, tmp_path)
    assert [p.name for p in paths] == ["points.csv", "points.parquet"]
    rows = _csv(paths[0])
    table = pq.read_table(paths[1])
    assert len(rows) == table.num_rows
    assert [r["metric"] for r in rows] == table["metric"].to_pylist()
    gains = {
        (r["arm"], bool(r["gain"])) for r in rows if r["metric"] == "ttft_mean_s" and r["process"] == "all-at-once"
    }
    assert gains == {("baseline", False), ("swiftkv", True)}


def test_every_request_is_a_row_and_failures_have_their_error(tmp_path: Path) -> None:
    run = load_run(tmp_path / "r", requests=24, repeats=1)
    record, given = next(iter(run.trials()))
    run.write_trial(record, with_failures(given, [2]))
    paths = export_requests(run, tmp_path / "out")
    rows = pq.read_table(paths[1]).to_pylist()
    assert len(rows) == len(_csv(paths[0])) == sum(len(t) for _, t in run.trials())
    assert (rows[2]["status"], rows[2]["error"], rows[2]["ttft_s"]) == ("reset", "the peer reset", None)
    assert rows[0]["ttft_s"] == pytest.approx(given.chunk_s[0] - given.sent_s[0], abs=1e-6)


# Keys of a file written by `vllm bench serve --save-result --save-detailed` of vLLM 0.32 with the default metrics.
VLLM_KEYS = {
    "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts", "request_rate",
    "burstiness", "max_concurrency", "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput", "input_lens",
    "output_lens", "ttfts", "itls", "latencies", "start_times", "generated_texts", "errors", "mean_ttft_ms",
    "median_ttft_ms", "std_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "median_tpot_ms", "std_tpot_ms", "p99_tpot_ms",
    "mean_itl_ms", "median_itl_ms", "std_itl_ms", "p99_itl_ms",
}  # fmt: skip


def test_vllm_file_has_the_names_and_units_of_that_program() -> None:
    at = point(100, Arrivals(process="poisson", rate=100.0), 700, output_len=4)
    given = with_failures(table(np.arange(700) / 100, np.full(700, 0.05), itl_s=0.01), [1])
    found = vllm_bench_json(manifest("r", RunPlan()), trial_record(at), given)
    assert VLLM_KEYS - set(found) == {"std_itl_ms"}
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
