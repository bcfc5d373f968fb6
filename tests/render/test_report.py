"""The page: self-contained, escaped, described, small; and in a real browser."""

import itertools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from swiftkv_bench.analysis import Analysis
from swiftkv_bench.render.markdown import markdown
from swiftkv_bench.render.plots import Figure
from swiftkv_bench.render.report import html, write_report

EVIL = '</script><script>document.title="broken"</script><img src=x onerror="document.title=1">'


class _Page(HTMLParser):
    """Elements with their attributes, ids, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def folder(analysis: Analysis, drawn: tuple[Figure, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page and Markdown with a hostile model answer, prompt, profile name and finding."""
    part = analysis.accuracy[0]
    first = part.items[0]
    answers = {arm: (score, EVIL, unparsed) for arm, (score, _, unparsed) in first.answers.items()}
    hostile = replace(first, prompt=EVIL, target=EVIL, answers=answers)
    findings = tuple(replace(f, message=f.message + EVIL) for f in analysis.findings)
    run = analysis.runs[0]
    named = replace(run, manifest=run.manifest.model_copy(update={"profile": EVIL}))
    changed = replace(
        analysis,
        runs=(named, *analysis.runs[1:]),
        accuracy=(replace(part, items=(hostile, *part.items[1:])),),
        findings=findings,
    )
    out = tmp_path_factory.mktemp("report")
    (out / "report.html").write_text(html(changed, drawn), encoding="utf-8")
    (out / "report.md").write_text(markdown(changed), encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> _Page:
    """The parsed page."""
    return _Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_report_is_page_markdown_figures_and_data(analysis: Analysis, tmp_path: Path) -> None:
    written = write_report(analysis, tmp_path)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(written)
    names = {p.name for p in written}
    assert {"report.html", "report.md", "summary.json", "points.csv", "points.parquet"} <= names
    assert {p.suffix for p in written if p.parent.name == "figures"} == {".svg", ".png", ".pdf"}
    assert written[0].name == "report.html"


def test_the_same_analysis_gives_the_same_page(analysis: Analysis, drawn: tuple[Figure, ...]) -> None:
    assert html(analysis, drawn) == html(analysis, drawn)


def test_the_page_loads_nothing_from_elsewhere(page: _Page) -> None:
    links = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href", "xlink:href", "action")]
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")


def test_hostile_texts_stay_texts(folder: Path, page: _Page) -> None:
    assert [a for t, a in page.elements if t == "img"] == []
    assert len(page.scripts) == 2
    shown = json.loads(page.scripts[0])["items"][0]
    assert (shown["prompt"], shown["answers"][0]["text"]) == (EVIL, EVIL)
    assert "<script>document" not in (folder / "report.md").read_text(encoding="utf-8")


def test_ids_are_unique_and_every_reference_has_its_target(page: _Page) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for t, a in page.elements if t == "a" and a["href"].startswith("#")}
    labels = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    uses = {a["xlink:href"][1:] for t, a in page.elements if t == "use"}
    assert links | labels | uses <= set(ids)


def test_the_page_can_be_read_without_eyes_and_without_a_mouse(page: _Page) -> None:
    pictures = [a for t, a in page.elements if t == "svg"]
    assert len(pictures) == 6
    assert [a for a in pictures if a.get("role") != "img" or len(a.get("aria-label", "")) < 40] == []
    heads = [a for t, a in page.elements if t == "th"]
    assert [a for a in heads if a.get("scope") not in ("col", "row", "colgroup")] == []
    scrolling = [a for t, a in page.elements if "scroll" in a.get("class", "").split()]
    assert [a for a in scrolling if a.get("tabindex") != "0"] == []
    assert next(a for t, a in page.elements if t == "html")["lang"] == "en"
    levels = [int(t[1]) for t, _ in page.elements if re.fullmatch("h[1-6]", t)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_the_page_is_below_three_megabytes(folder: Path) -> None:
    assert (folder / "report.html").stat().st_size < 3_000_000


def test_long_texts_are_bounded(analysis: Analysis) -> None:
    part = analysis.accuracy[0]
    long = [replace(view, prompt="x" * 100_000, target="y" * 9_000) for view in part.items] * 20
    text = html(replace(analysis, accuracy=(replace(part, items=tuple(long)),)), ())
    assert 1_000_000 < len(text.encode()) < 3_000_000


PROBE = """
<script>
window.addEventListener("load", () => {
  const form = document.querySelector(".browser form"), out = {};
  const count = () => document.querySelectorAll(".browser .list details").length;
  const pick = (name, value) => {
    form.elements[name].value = value;
    form.dispatchEvent(new Event("input", {bubbles: true}));
  };
  out.flips = form.elements.count.value;
  pick("flip", "lost"); out.lost = form.elements.count.value;
  pick("flip", ""); out.all = form.elements.count.value; out.drawn = count();
  document.querySelector(".more").click(); out.more = count();
  pick("text", "onerror"); out.text = form.elements.count.value;
  const item = document.querySelector(".browser .list details");
  item.open = true; item.dispatchEvent(new Event("toggle"));
  out.shown = item.querySelector(".text").textContent;
  out.images = document.querySelectorAll("img").length;
  out.title = document.title;
  out.ink = getComputedStyle(document.body).color;
  out.figure = getComputedStyle(document.querySelector("figure svg text")).fill;
  out.wide = document.documentElement.scrollWidth <= window.innerWidth;
  const node = document.createElement("script"); node.type = "application/json"; node.id = "probe";
  node.textContent = JSON.stringify(out).replaceAll("<", "\\\\u003c"); document.body.append(node);
});
</script>
"""


def _browse(path: Path, scratch: Path, *flags: str) -> tuple[str, str]:
    """The page after its scripts ran, and what the browser logged."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine; `apt-get install chromium` runs this test")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        f"--user-data-dir={scratch}", "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=4000", *flags, "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page_and_filters_items(folder: Path, tmp_path: Path, scheme: str) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    probe = tmp_path / "page.html"
    probe.write_text(text.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    flags = ("--blink-settings=preferredColorScheme=0",) if scheme == "dark" else ()
    dom, log = _browse(probe, tmp_path / "profile", "--window-size=1200,900", *flags)
    found = re.search(r'<script type="application/json" id="probe">(.*?)</script>', dom, re.DOTALL)
    assert found is not None
    seen = json.loads(found.group(1))
    data = json.loads(_Page(text).scripts[0])["items"]
    flips = [item["flip"] for item in data]
    assert seen["flips"] == f"{len(flips) - flips.count('same')} items"
    assert seen["lost"] == f"{flips.count('lost')} items"
    assert seen["all"] == f"{len(flips)} items"
    assert (seen["drawn"], seen["more"], seen["text"]) == (50, 100, "1 item")
    assert (seen["shown"], seen["images"]) == (EVIL, 0)
    assert seen["title"].startswith("SwiftKV against its baseline")
    assert seen["ink"] == seen["figure"] == {"light": "rgb(31, 37, 48)", "dark": "rgb(230, 233, 238)"}[scheme]
    assert seen["wide"]
    assert [line for line in log.splitlines() if "CONSOLE" in line] == []


@pytest.mark.browser
def test_a_narrow_screen_scrolls_tables_and_not_the_page(folder: Path, tmp_path: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    probe = tmp_path / "page.html"
    probe.write_text(text.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    dom, _ = _browse(probe, tmp_path / "profile", "--window-size=500,900")
    found = re.search(r'<script type="application/json" id="probe">(.*?)</script>', dom, re.DOTALL)
    assert found is not None
    assert json.loads(found.group(1))["wide"]
