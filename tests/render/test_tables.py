"""Tables, Markdown and the terminal, against golden files and single cells."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from swiftkv_bench.analysis import Analysis, analyse
from swiftkv_bench.render.findings import grouped_findings
from swiftkv_bench.render.markdown import escape, markdown
from swiftkv_bench.render.summary import statements
from swiftkv_bench.render.tables import tables, terminal
from tests.render.golden import check
from tests.synthetic import accuracy_run, load_run


def _terminal(analysis: Analysis, width: int) -> str:
    out = io.StringIO()
    terminal(analysis, Console(file=out, width=width, color_system=None))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def test_terminal(analysis: Analysis) -> None:
    check("terminal.txt", _terminal(analysis, 140))


def test_markdown(analysis: Analysis) -> None:
    check("report.md", markdown(analysis, {"figures/latency_vs_rate.png": "TTFT against request rate."}))


def test_every_row_has_a_cell_for_every_head(analysis: Analysis) -> None:
    views = tables(analysis)
    keys = ["claims", "claims-2", "load", "bound", "detail", "accuracy", "origin", "answers", "statistics"]
    assert [v.key for v in views] == keys
    assert {(v.key, len(v.heads), len(row)) for v in views for row in v.rows} == {
        (v.key, len(v.heads), len(v.heads)) for v in views
    }


def test_points_that_are_not_compared_are_marked(analysis: Analysis) -> None:
    load = next(view for view in tables(analysis) if view.key == "load")
    marks = {row[0].text + " " + row[1].text: row[5].text for row in load.rows if row[1].text[-1] in "†✗"}
    assert marks == {"8,000 2/s ✗": "–", "32,000 1.4/s †": "–"}


def test_terminal_keeps_every_figure_at_a_hundred_columns(analysis: Analysis) -> None:
    text = _terminal(analysis, 100)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "INCONCLUSIVE" in text


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_narrow_terminal_cuts_no_figure_and_no_verdict(width: int, analysis: Analysis) -> None:
    words = Counter(_terminal(analysis, width).split())
    assert not any("…" in word for word in words)
    shown = [v for v in tables(analysis) if v.key in ("load", "accuracy", "origin", "answers")]
    cells = [cell for view in shown for row in view.rows for cell in row]
    assert Counter(word for cell in cells for word in f"{cell.text} {cell.interval}".split()) <= words


def test_statements_answer_speed_quality_and_trust(analysis: Analysis) -> None:
    found = statements(analysis)
    assert [s.question for s in found] == ["Is it faster here?", "Does quality hold?", "Can the figures be trusted?"]
    assert found[0].headline.startswith("First token 1.8")
    assert found[2].tone == "bad"


def test_a_single_repeat_claims_nothing(tmp_path: Path) -> None:
    found = statements(analyse(load_run(tmp_path / "r", repeats=1, requests=24)))[0]
    assert found.tone == "open"
    assert found.headline == "Speed is not decided: too few repeats"
    assert found.figures[0].note.startswith("no interval")


def test_an_equal_pair_has_no_clear_difference(tmp_path: Path, analysis: Analysis) -> None:
    perf = analysis.perf[0]
    one = perf.overall["ttft_mean_s"]
    assert one.interval is not None
    around = replace(one, mean=1.01, interval=replace(one.interval, low=0.9, high=1.1))
    found = statements(replace(analysis, perf=(replace(perf, overall={"ttft_mean_s": around}),)))[0]
    assert (found.headline, found.tone) == ("No clear difference in first token", "open")


def test_quality_of_models_that_guess_cannot_be_judged(tmp_path: Path) -> None:
    run = accuracy_run(tmp_path / "r", share=0.01)
    plan = run.manifest.plan.accuracy
    assert plan is not None
    guessing = plan.model_copy(update={"columns": tuple(c.model_copy(update={"chance": 0.99}) for c in plan.columns)})
    changed = run.manifest.model_copy(update={"plan": run.manifest.plan.model_copy(update={"accuracy": guessing})})
    found = statements(analyse(run.write_manifest(changed)))[0]
    assert found.headline == "Quality cannot be judged: no arm is better than guessing"


def test_findings_alike_are_told_once_with_their_places(analysis: Analysis) -> None:
    groups = {(g.finding.severity, g.finding.code): g.places for g in grouped_findings(analysis)}
    assert groups["invalid", "late-client"] == ("8,000 in, 256 out, 2/s, Baseline",)
    assert len(groups["note", "too-few-samples"]) == 14


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", "a\\|b"),
        ("<script>", "&lt;script&gt;"),
        ("*x* `y` [z](u)", "\\*x\\* \\`y\\` \\[z\\](u)"),
        ("a\nb", "a b"),
    ],
)
def test_markdown_text_stays_text(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_several_runs_of_a_kind_are_told_apart(analysis: Analysis) -> None:
    second = replace(analysis.perf[0], run_id="second")
    both = replace(analysis, perf=(*analysis.perf, second))
    views = {view.key: view.title for view in tables(both)}
    assert views["load"] == "Speed under load (synthetic-load)"
    assert views["load-2"] == "Speed under load (second)"
    assert len(views) == len(tables(both))
    questions = [s.question for s in statements(both)]
    assert questions[:2] == ["Is it faster here? (synthetic-load)", "Is it faster here? (second)"]
    assert _terminal(both, 140).count("Speed under load (") == 2
