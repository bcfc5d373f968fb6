"""The page as text: self-contained, escaped, described, small. `test_browser.py` opens it."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.analysis import Analysis
from swiftkv_bench.analysis.values import AnswerView
from swiftkv_bench.render.browser import PACKED_BYTES, browser, question
from swiftkv_bench.render.drawing import Figure
from swiftkv_bench.render.markdown import markdown
from swiftkv_bench.render.report import html, write_report
from swiftkv_bench.schema.engine import Arm
from tests.render.hostile import EVIL, hostile
from tests.render.packed import unpacked
from tests.render.parsed import ParsedPage


@pytest.fixture(scope="module")
def folder(analysis: Analysis, drawn: tuple[Figure, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page and Markdown of an analysis with hostile texts."""
    changed = hostile(analysis)
    out = tmp_path_factory.mktemp("report")
    (out / "report.html").write_text(html(changed, drawn), encoding="utf-8")
    (out / "report.md").write_text(markdown(changed), encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> ParsedPage:
    """The parsed page."""
    return ParsedPage((folder / "report.html").read_text(encoding="utf-8"))


def test_the_report_is_page_markdown_figures_and_data(analysis: Analysis, tmp_path: Path) -> None:
    written = write_report(analysis, tmp_path)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(written)
    names = {p.name for p in written}
    assert {"report.html", "report.md", "summary.json", "points.csv", "points.parquet"} <= names
    assert {p.suffix for p in written if p.parent.name == "figures"} == {".svg", ".png", ".pdf"}
    assert written[0].name == "report.html"


def test_the_same_analysis_gives_the_same_page(analysis: Analysis, drawn: tuple[Figure, ...]) -> None:
    assert html(analysis, drawn) == html(analysis, drawn)


def test_the_page_loads_nothing_from_elsewhere(page: ParsedPage) -> None:
    links = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href", "xlink:href", "action")]
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")


def test_hostile_texts_stay_texts(folder: Path, page: ParsedPage) -> None:
    assert [a for t, a in page.elements if t == "img"] == []
    assert len(page.scripts) == 2
    data = unpacked(page.scripts[0])
    shown = data["items"][0]
    assert {data["texts"][place] for place in (shown["p"], shown["e"], shown["a"][0]["x"])} == {EVIL}
    assert "<script>document" not in (folder / "report.md").read_text(encoding="utf-8")


def test_ids_are_unique_and_every_reference_has_its_target(page: ParsedPage) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for t, a in page.elements if t == "a" and a["href"].startswith("#")}
    labels = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    uses = {a["xlink:href"][1:] for t, a in page.elements if t == "use"}
    assert links | labels | uses <= set(ids)


def test_the_page_can_be_read_without_eyes_and_without_a_mouse(page: ParsedPage) -> None:
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


def test_every_item_of_a_large_run_fits_into_the_page(analysis: Analysis) -> None:
    """500 items in each of seven columns with few-shot prompts of 3 kB; two columns have answers of 120 words."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("etaoinshrdlu"), size=n)) for n in rng.integers(2, 9, size=3_000)])
    part = analysis.accuracy[0]

    def prose(n: int) -> str:
        return " ".join(words[rng.integers(0, len(words), n)])

    shots = prose(450) + "\n\n"
    lengths = {"mmlu_cot": 120, "gsm8k": 120}
    arms: tuple[Arm, ...] = ("baseline", "swiftkv")
    view = part.items[0]
    items = tuple(
        replace(
            view,
            column=column.column.name,
            task=column.column.name,
            doc_id=i,
            prompt=shots + prose(60),
            answers={arm: AnswerView(1.0, prose(lengths.get(column.column.name, 6)), "B", False) for arm in arms},
        )
        for column in part.columns
        for i in range(500)
    )
    found = browser(replace(part, items=items, items_total=len(items)))
    shown = unpacked(found.packed)
    assert len(found.packed) <= PACKED_BYTES
    assert (len(shown["items"]), found.note[:20]) == (3_500, "3,500 of 3,500 items")
    assert len(html(replace(analysis, accuracy=(replace(part, items=items),)), ()).encode()) < 3_000_000


def test_items_that_do_not_fit_are_counted(analysis: Analysis) -> None:
    part = analysis.accuracy[0]
    found = browser(part, room=4_000)
    shown = len(unpacked(found.packed)["items"])
    assert len(found.packed) <= 4_000
    assert 0 < shown < part.items_total
    assert found.note.startswith(f"{shown:,} of {part.items_total:,} items;")
    assert f"{part.items_total - shown:,} more are in items.jsonl" in found.note


def test_prompts_are_put_together_from_the_beginning_a_task_shares(analysis: Analysis) -> None:
    part = analysis.accuracy[0]
    shots = "A line of shots that every prompt of the task begins with.\n" * 10
    views = [replace(part.items[0], doc_id=i, prompt=f"{shots}Question {i}?") for i in range(3)]
    data = unpacked(browser(replace(part, items=tuple(views))).packed)
    assert [data["texts"][x["h"]] + data["texts"][x["p"]] for x in data["items"]] == [v.prompt for v in views]
    assert data["texts"].count(shots) == 1


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Q: one?\nA: 1\n\nQ: two?\nA:", "Q: two? A:"),
        (
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nOld?<|eot_id|><|start_header_id|>assistant"
            "<|end_header_id|>\n\nB<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nNew?\nA. x<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "New? A. x",
        ),
        ("x" * 300, "x" * 160 + " …"),
        ("", ""),
    ],
)
def test_the_question_is_what_tells_prompts_apart(prompt: str, expected: str) -> None:
    assert question(prompt) == expected


def test_a_report_of_two_like_runs_has_files_and_ids_of_its_own_for_each(analysis: Analysis, tmp_path: Path) -> None:
    both = replace(analysis, perf=(*analysis.perf, replace(analysis.perf[0], run_id="second")), accuracy=())
    written = write_report(both, tmp_path)
    assert len(written) == len(set(written)) == len([p for p in tmp_path.rglob("*") if p.is_file()])
    ids = [a["id"] for _, a in ParsedPage((tmp_path / "report.html").read_text(encoding="utf-8")).elements if "id" in a]
    assert len(ids) == len(set(ids))
