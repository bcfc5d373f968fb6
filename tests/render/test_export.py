"""Files for other programs."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from swiftkv_bench.analysis import Analysis
from swiftkv_bench.render.export import SUMMARY_SCHEMA, export_points, export_requests, summary_json
from tests.synthetic import load_run, with_failures


def test_summary_is_json_without_requests_items_or_not_a_number(analysis: Analysis) -> None:
    found = json.loads(summary_json(analysis), parse_constant=lambda name: pytest.fail(name))
    assert found["schema"] == SUMMARY_SCHEMA
    assert set(found) == {"schema", "runs", "accuracy", "perf", "findings", "judgements"}
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
    texts = _csv(paths[0])
    assert (texts[2]["status"], texts[2]["error"], texts[2]["ttft_s"]) == ("reset", "the peer reset", "")
    assert (texts[0]["prompt_tokens"], rows[0]["prompt_tokens"]) == ("2000", 2000)
    assert float(texts[0]["ttft_s"]) == rows[0]["ttft_s"]
    assert rows[0]["ttft_s"] == pytest.approx(given.chunk_s[0] - given.sent_s[0], abs=1e-6)
