"""The page in a real browser: no error, no request, the item filter, hostile texts, narrow screens, contrast, keys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swiftkv_bench.analysis import Analysis
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.render.comparison.page import html as comparison_html
from swiftkv_bench.render.drawing import Figure
from swiftkv_bench.render.report import html
from tests.render.chromium import Browser, Page, chromium
from tests.render.comparison.hostile import hostile as hostile_comparison
from tests.render.hostile import EVIL, hostile

pytestmark = pytest.mark.browser

READY = """new Promise(done => {
  const look = () => document.querySelector('.browser[data-ready]') ? done(true) : setTimeout(look, 10);
  look();
})"""

OPEN_FIRST = """new Promise(done => {
  const details = document.querySelector('.browser .list details');
  details.addEventListener('toggle', () => done(true));
  details.open = true;
})"""

CONTRAST = """(() => {
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = text => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return n.length === 4 && n[3] === 0 ? null : n;
  };
  const behind = node => {
    for (let n = node; n; n = n.parentElement) {
      const found = parse(getComputedStyle(n).backgroundColor);
      if (found) return found;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || node.matches('script, style, noscript, noscript *, option') || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const ink = parse(node instanceof SVGElement ? style.fill : style.color), paper = behind(node);
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push([node.tagName, node.className.toString(), node.textContent.trim().slice(0, 40), ratio]);
  }
  return low;
})()"""


@pytest.fixture(scope="module")
def path(analysis: Analysis, drawn: tuple[Figure, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an analysis with hostile texts."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(html(hostile(analysis), drawn), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def compared(
    comparison: RunComparison, drawn_comparison: tuple[Figure, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The page of a comparison with hostile texts."""
    file = tmp_path_factory.mktemp("page") / "comparison.html"
    file.write_text(comparison_html(hostile_comparison(comparison), drawn_comparison), encoding="utf-8")
    return file


@pytest.fixture(params=["report", "comparison"])
def each(request: pytest.FixtureRequest, path: Path, compared: Path) -> Path:
    """Either page."""
    return path if request.param == "report" else compared


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    """The page with its items unpacked."""
    with browser.page(path) as found:
        assert found.run(READY)
        yield found


def _pick(page: Page, name: str, value: str) -> str:
    """Sets a filter as a person does; the count that is then told."""
    script = f"""(() => {{
      const form = document.querySelector('.browser form');
      form.elements[{name!r}].value = {value!r};
      form.dispatchEvent(new Event('input', {{bubbles: true}}));
      return form.elements.count.value;
    }})()"""
    return str(page.run(script))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_logs_nothing_asks_for_nothing_and_reads_well(browser: Browser, each: Path, scheme: str) -> None:
    with browser.page(each, scheme=scheme) as page:
        assert page.run(READY)
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.run(CONTRAST) == []
        ink = {"light": "rgb(31, 37, 48)", "dark": "rgb(230, 233, 238)"}[scheme]
        assert page.run("getComputedStyle(document.querySelector('figure svg text')).fill") == ink
        assert (page.logged, page.requested) == ([], [each.as_uri()])


def test_the_filter_finds_flips_columns_and_texts(page: Page, analysis: Analysis) -> None:
    items = analysis.accuracy[0].items
    flips = [item.flip for item in items]
    first = page.run("document.querySelector('.browser form').elements.count.value")
    assert first == f"{len(flips) - flips.count('same')} items"
    assert _pick(page, "flip", "lost") == f"{flips.count('lost')} items"
    assert _pick(page, "flip", "") == f"{len(flips)} items"
    assert _pick(page, "column", "gsm8k") == f"{sum(item.column == 'gsm8k' for item in items)} items"
    _pick(page, "column", "")
    assert _pick(page, "text", "ONERROR") == "1 item"
    assert _pick(page, "text", "no such text") == "0 items"
    assert page.run("document.querySelector('.browser output').getAttribute('aria-live')") == "polite"


def test_more_items_come_on_demand_and_take_the_focus(page: Page) -> None:
    _pick(page, "flip", "")
    rows = "document.querySelectorAll('.browser .list details').length"
    assert page.run(rows) == 50
    page.run("document.querySelector('.more').click()")
    assert page.run(rows) == 100
    place = "[...document.querySelectorAll('.list summary')].indexOf(document.activeElement)"
    assert page.run(place) == 50


def test_hostile_texts_stay_texts(page: Page) -> None:
    _pick(page, "text", "onerror")
    page.run(OPEN_FIRST)
    seen: dict[str, Any] = page.run("""({
      texts: [...document.querySelectorAll('.list .text')].map(n => n.textContent),
      images: document.querySelectorAll('img').length,
      title: document.title,
    })""")
    assert set(seen["texts"]) == {EVIL}
    assert (seen["images"], seen["title"][:29]) == (0, "SwiftKV against its baseline:")


def test_hostile_texts_stay_texts_in_a_comparison(browser: Browser, compared: Path) -> None:
    with browser.page(compared) as page:
        assert page.run(READY)
        assert page.run("document.querySelector('.browser form').elements.count.value") == "48 items"
        _pick(page, "text", "onerror")
        page.run(OPEN_FIRST)
        assert page.run("document.querySelector('.list .text').textContent") == EVIL
        assert page.run("document.querySelectorAll('img').length") == 0
        assert page.run("document.title").startswith("FAIL: ")


def test_an_item_opens_by_key_alone(page: Page) -> None:
    page.run("document.querySelector('.list summary').focus()")
    page.press("Enter", 13)
    opened = """new Promise(done => {
      const look = () => {
        const found = document.querySelector('.list details[open] .item h4');
        found ? done(found.textContent) : setTimeout(look, 10);
      };
      look();
    })"""
    assert page.run(opened) == "Prompt"


def test_the_first_key_goes_to_the_skip_link(page: Page) -> None:
    page.press("Tab", 9)
    assert page.run("document.activeElement.className") == "skip"
    assert page.run("document.activeElement.getBoundingClientRect().x >= 0")


@pytest.mark.parametrize("width", [320, 400, 768])
def test_a_narrow_screen_scrolls_tables_and_not_the_page(browser: Browser, each: Path, width: int) -> None:
    with browser.page(each, width=width) as page:
        assert page.run(READY)
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.run("document.documentElement.scrollWidth") <= width


def test_on_paper_nothing_is_folded_or_cut(browser: Browser, each: Path) -> None:
    # A4 landscape between margins of 12 mm, in CSS pixels.
    with browser.page(each, width=1032) as page:
        assert page.run(READY)
        page.call("Emulation.setEmulatedMedia", media="print")
        page.run("dispatchEvent(new Event('beforeprint'))")
        folded = "[...document.querySelectorAll('main details')].filter(d => !d.open && !d.closest('.list')).length"
        assert page.run(folded) == 0
        assert page.run("document.documentElement.scrollWidth") <= 1032
