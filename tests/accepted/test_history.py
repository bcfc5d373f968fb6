"""Accepted runs over time."""

from pathlib import Path
from typing import Any

import pytest

from swiftkv_bench.accepted.history import History, history
from swiftkv_bench.errors import InputError
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.policy import Policy
from tests.judge.planted import answered, loaded, read, right

LEVELS = [0.100, 0.101, 0.099, 0.100, 0.112, 0.111, 0.113, 0.112]
CORRECT = [150, 151, 150, 149, 150, 151, 149, 150]


def _day(i: int) -> dict[str, Any]:
    return {"created_utc": f"2026-11-{i + 1:02d}T00:00:00+00:00"}


def _load(folder: Path, i: int, **changes: Any) -> Evidence:
    values = {"baseline": [0.2, 0.201], "swiftkv": [LEVELS[i], LEVELS[i] * 1.01]}
    return read(loaded(folder / f"run{i}", values, **(_day(i) | changes)))  # type: ignore[arg-type]


def _series(found: History, key: str) -> Any:
    return next(s for s in found.series if s.key.endswith(key))


def test_a_step_is_named_by_the_first_run_of_the_new_level(tmp_path: Path) -> None:
    found = history("main", [_load(tmp_path, i) for i in reversed(range(8))], Policy())
    assert found.runs == tuple(f"run{i}" for i in range(8))
    ttft = _series(found, "ttft_mean_s/swiftkv")
    assert [(s.run_id, s.worse) for s in ttft.steps] == [("run4", True)]
    assert ttft.steps[0].after / ttft.steps[0].before == pytest.approx(1.12, abs=0.003)
    assert _series(found, "ttft_mean_s/baseline").steps == ()


def test_accuracy_has_a_series_an_arm_with_intervals(tmp_path: Path) -> None:
    runs = [
        read(answered(tmp_path / f"run{i}", {("gsm8k", "baseline", 0): right(200, n)}, **_day(i)))
        for i, n in enumerate(CORRECT)
    ]
    found = history("main", runs, Policy())
    assert [s.key for s in found.series] == ["accuracy/gsm8k/baseline"]
    assert [p.value for p in found.series[0].points] == pytest.approx([n / 200 for n in CORRECT])
    assert all(p.low is not None and p.low < p.value for p in found.series[0].points)
    assert found.series[0].steps == ()


def test_runs_that_cannot_stand_beside_the_newest_are_left_out_by_name(tmp_path: Path) -> None:
    machine = read(loaded(tmp_path / "x", {"baseline": [0.1], "swiftkv": [0.1]})).manifest.machine
    other = machine.model_copy(update={"cpu": "Imaginary 1"})
    runs = [_load(tmp_path, 0, machine=other), *(_load(tmp_path, i) for i in range(1, 4))]
    found = history("main", runs, Policy())
    assert found.left_out == {"run0": "hardware differs"}
    assert len(found.runs) == 3
    assert history("main", runs, Policy(), allow=("hardware",)).left_out == {}


def test_no_accepted_run_is_an_error() -> None:
    with pytest.raises(InputError, match="no run is accepted as main"):
        history("main", [], Policy())
