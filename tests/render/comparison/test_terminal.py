"""The terminal: verdict first, golden, nothing wider than the screen."""

import io

import pytest
from rich.console import Console

from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.judgement import Verdicts
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.render.comparison.summary import headline, statements
from swiftkv_bench.render.comparison.terminal import terminal
from tests.render.golden import check


def _printed(found: RunComparison, width: int) -> str:
    out = io.StringIO()
    terminal(found, Console(file=out, width=width, color_system=None))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def test_terminal(comparison: RunComparison) -> None:
    text = _printed(comparison, 140)
    assert text.startswith("FAIL: results/candidate against results/main\n")
    check("comparison.txt", text)


@pytest.mark.parametrize("width", [100, 140])
def test_no_line_is_wider_than_the_screen(comparison: RunComparison, width: int) -> None:
    assert max(len(line) for line in _printed(comparison, width).splitlines()) <= width


def test_a_pass_says_no(comparison: RunComparison) -> None:
    lines = tuple(x for x in comparison.lines if x.verdict is Verdict.PASS)
    verdicts = Verdicts(overall=Verdict.PASS, accuracy=Verdict.PASS, performance=Verdict.PASS)
    passed = comparison.model_copy(update={"lines": lines, "verdicts": verdicts})
    assert statements(passed)[0].headline == "No: every claim that decides is within its margin"


def test_what_is_not_decided_says_what_would_decide(comparison: RunComparison) -> None:
    change = {"verdict": Verdict.INCONCLUSIVE, "n_to_decide": 2_000, "reason": "the sample is small"}
    primary = tuple(x.model_copy(update=change) for x in comparison.lines if x.role == "primary")[:2]
    verdicts = Verdicts(overall=Verdict.INCONCLUSIVE, accuracy=Verdict.INCONCLUSIVE)
    found = comparison.model_copy(update={"lines": primary, "verdicts": verdicts})
    assert headline(found) == "2 claims that decide cannot be told from the margin yet"
    assert "the sample is small; about 2,000 items would decide" in statements(found)[0].text
