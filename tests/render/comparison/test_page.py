"""The page of a comparison as text, and the files of its report. `../test_browser.py` opens it."""

import itertools
import re
from pathlib import Path

import pytest

from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.render.comparison.page import flipped_items, html, write_comparison
from swiftkv_bench.render.comparison.tables import claims_table, part_tables
from swiftkv_bench.render.drawing import Figure
from tests.render.comparison.hostile import hostile
from tests.render.hostile import EVIL
from tests.render.packed import unpacked
from tests.render.parsed import ParsedPage


@pytest.fixture(scope="module")
def page(comparison: RunComparison, drawn_comparison: tuple[Figure, ...]) -> ParsedPage:
    """The parsed page of a hostile comparison."""
    return ParsedPage(html(hostile(comparison), drawn_comparison))


def test_the_report_is_page_comment_json_junit_and_figures(comparison: RunComparison, tmp_path: Path) -> None:
    written = write_comparison(comparison, tmp_path)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(written)
    assert [p.name for p in written[:4]] == ["comparison.html", "comparison.md", "comparison.json", "junit.xml"]
    assert {p.stem for p in written[4:]} == {"accuracy_change", "performance_change"}
    assert written[0].stat().st_size < 3_000_000


def test_the_page_loads_nothing_and_has_no_markup_of_others(page: ParsedPage) -> None:
    links = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href", "xlink:href", "action")]
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    assert [t for t, _ in page.elements if t == "img"] == []
    assert len(page.scripts) == 2
    assert EVIL in unpacked(page.scripts[0])["texts"]


def test_ids_are_unique_and_headings_step_by_one(page: ParsedPage) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for t, a in page.elements if t == "a"}
    labels = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    assert links | labels <= set(ids)
    levels = [int(t[1]) for t, _ in page.elements if re.fullmatch("h[1-6]", t)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_line_stands_in_a_table(comparison: RunComparison) -> None:
    views = [view for part in ("accuracy", "performance") for view in part_tables(comparison, part)]
    verdicts = [cell.text for view in views for row in view.rows for cell in row if cell.text in _VERDICTS]
    assert len(verdicts) == len(comparison.lines)
    assert {(v.key, len(v.heads), len(row)) for v in views for row in v.rows} == {
        (v.key, len(v.heads), len(v.heads)) for v in views
    }


_VERDICTS = {"PASS", "FAIL", "INCONCLUSIVE"}


def test_failures_are_read_first_with_the_largest_excess_on_top(comparison: RunComparison) -> None:
    verdicts = [row[1].text for row in claims_table(comparison.lines, 0.95).rows]
    assert verdicts == sorted(verdicts, key=["FAIL", "INCONCLUSIVE", "PASS"].index)
    assert verdicts[0] == "FAIL"


def test_items_that_changed_say_who_was_right(comparison: RunComparison) -> None:
    browser = flipped_items(comparison)
    assert browser is not None
    assert (browser.counts["lost"], browser.counts["gained"]) == (45, 3)
    first = unpacked(browser.packed)["items"][0]
    assert (first["f"], [(a["a"], a["s"]) for a in first["a"]]) == ("lost", [("reference", 1), ("candidate", 0)])


def test_no_items_no_browser(comparison: RunComparison, drawn_comparison: tuple[Figure, ...]) -> None:
    none = comparison.model_copy(update={"flipped": (), "flipped_total": 0})
    assert flipped_items(none) is None
    assert 'id="items"' not in html(none, drawn_comparison)
