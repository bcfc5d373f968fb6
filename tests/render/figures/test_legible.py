"""Every figure of a report and a comparison can be read at its true size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter

from swiftkv_bench.analysis import Analysis, analyse_all
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.notation import parse_objective
from swiftkv_bench.render.comparison.figures import figures as comparison_figures
from swiftkv_bench.render.figures import figures
from tests.render.figures.legible import canvases, problems
from tests.synthetic import load_run


def _problems(saved: list[Canvas]) -> dict[int, list[str]]:
    return {number: found for number, canvas in enumerate(saved) if (found := problems(canvas))}


def test_figures_of_a_report_can_be_read(analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    with canvases(monkeypatch) as saved:
        drawn = figures(analysis, ("png",))
    assert len(saved) == len(drawn) == 6
    assert _problems(saved) == {}


def test_figures_of_a_comparison_can_be_read(comparison: RunComparison, monkeypatch: pytest.MonkeyPatch) -> None:
    with canvases(monkeypatch) as saved:
        comparison_figures(comparison, ("png",))
    assert len(saved) == 2
    assert _problems(saved) == {}


@pytest.mark.parametrize("kept", ["one point", "rates alone", "objective"])
def test_figures_of_other_runs_can_be_read(kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load_run(tmp_path / "run", requests=12, repeats=2)
    found = analyse_all([run], parse_objective("ttft=1s,tpot=20ms") if kept == "objective" else None)
    [perf] = found.perf
    points = {
        "one point": perf.points[:1],
        "rates alone": tuple(p for p in perf.points if p.point.arrivals.rate is not None),
        "objective": perf.points,
    }[kept]
    with canvases(monkeypatch) as saved:
        drawn = figures(replace(found, perf=(replace(perf, points=points),)), ("png",))
    names = {figure.name for figure in drawn}
    assert ("objective_vs_rate" in names) == (kept == "objective")
    assert {"gain_vs_input", "throughput_vs_input" if kept == "one point" else "requests"} <= names
    assert _problems(saved) == {}


def test_signs_and_directions_are_those_of_the_table(
    comparison: RunComparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    with canvases(monkeypatch) as saved:
        comparison_figures(comparison, ("svg",))
    slower, less = saved[1].axes
    assert (slower.get_xlabel(), less.get_xlabel()) == ("change, %     worse →", "← worse     change, %")
    lines = {x.title: x for x in comparison.lines if x.part == "performance" and x.effect is not None}
    ttft, throughput = lines["TTFT mean"], lines["Total throughput"]
    assert ttft.effect is not None
    assert throughput.effect is not None
    for ax, line in ((slower, ttft), (less, throughput)):
        to_limit = [np.asarray(drawn.get_xdata()).tolist() for drawn in ax.lines]
        ends = [(line.effect or 0.0) - 1, line.limit - 1]
        assert any(found == pytest.approx([100 * end for end in ends]) for found in to_limit)
    assert ttft.effect > 1 > throughput.effect


def test_what_cannot_be_read_is_found() -> None:
    canvas = Canvas(figsize=(2, 2))
    ax = canvas.subplots()
    ax.set_yscale("log")
    ax.set_ylim(12, 90)
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.plot([0, 1], [20, 40], color="red", label="one")
    canvas.legend(*ax.get_legend_handles_labels())
    ax.lines[0].set_color("blue")
    ax.set_title("a title that is far too long for so small a figure")
    ax.text(0.5, 30, "here")
    ax.text(0.5, 30, "there")
    found = problems(canvas)
    assert [start for start in ("y axis", "the legend's 'one'", "'a title", "'here' and 'there'") if not any(
        text.startswith(start) for text in found
    )] == []  # fmt: skip
