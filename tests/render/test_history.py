"""History on the terminal and as small multiples."""

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from swiftkv_bench.accepted.history import History, HistoryPoint, HistorySeries, HistoryStep
from swiftkv_bench.render.history import bars, draw, terminal

VALUES = (0.80, 0.81, 0.80, 0.75, 0.76)


def _history(**changes: Any) -> History:
    points = tuple(
        HistoryPoint(
            run_id=f"run{i}", created_utc=f"2026-11-0{i + 1}T00:00:00+00:00", value=v, low=v - 0.02, high=v + 0.02
        )
        for i, v in enumerate(VALUES)
    )
    step = HistoryStep(run_id="run3", index=3, before=0.803, after=0.755, p=0.012, worse=True)
    values = {
        "key": "accuracy/gsm8k/swiftkv",
        "title": "GSM8K",
        "metric": "score",
        "arm": "swiftkv",
        "better": "higher",
    }
    series = HistorySeries.model_validate(values | {"points": points, "steps": (step,)})
    runs = tuple(p.run_id for p in points)
    return History(name="main", alpha=0.05, runs=runs, series=(series,)).model_copy(update=changes)


def _printed(found: History) -> str:
    out = io.StringIO()
    terminal(found, Console(file=out, width=160))
    return out.getvalue()


def test_a_step_is_told_with_both_levels_and_the_run_it_begins_with() -> None:
    said = " ".join(_printed(_history()).split())
    assert "main: 5 accepted runs" in said
    assert "worse at run3: 80.3 % to 75.5 % (−4.80 points, p 0.012)" in said
    assert "steps are looked for" not in said


def test_few_runs_and_runs_left_out_are_told() -> None:
    said = _printed(_history(runs=("run0",), left_out={"old": "hardware differs"}))
    assert "steps are looked for from 5 runs on" in said
    assert "left out: old: hardware differs" in said


@pytest.mark.parametrize(("values", "drawn"), [([1.0, 2.0, 3.0], "▁▅█"), ([1.0, 1.0], "▄▄"), ([3.0, 1.0], "█▁")])
def test_bars_run_from_the_least_to_the_greatest(values: list[float], drawn: str) -> None:
    assert bars(values) == drawn


def test_the_plot_has_a_panel_a_series(tmp_path: Path) -> None:
    svg, png = draw(_history(), tmp_path / "plots")
    assert png.read_bytes().startswith(b"\x89PNG")
    root = ElementTree.parse(svg).getroot()
    assert len([g for g in root.iter() if g.get("id", "").startswith("axes_")]) == 3
