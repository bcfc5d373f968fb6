"""What every page is made of: the template environment, tables with spanning heads, figures as themed inline SVG."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftkv_bench.metrics import DEFINITIONS
from swiftkv_bench.render.cells import TableView
from swiftkv_bench.render.drawing import COLOUR, FIRST, GRID, INK, PAPER, QUIET, Figure

WIDE = 680
"""Pixels from which a figure takes the page's whole width."""

TEMPLATES = Path(__file__).parent / "templates"

_THEME = {
    INK: "var(--ink)", QUIET: "var(--quiet)", GRID: "var(--grid)", PAPER: "var(--paper)", FIRST: "var(--first)",
    COLOUR["baseline"]: "var(--baseline)", COLOUR["swiftkv"]: "var(--swiftkv)",
    COLOUR["swiftkv-full"]: "var(--swiftkv-full)",
}  # fmt: skip

TERMS = {
    **DEFINITIONS,
    "Trial": "One point of load on one arm, once. Trials of both arms with the same number share seed, schedule and "
    "prompts; intervals are over trials, not over requests.",
    "Gain": "How many times better SwiftKV is in a pair of trials: baseline divided by SwiftKV for latencies, SwiftKV "
    "divided by baseline for throughputs. Above 1 SwiftKV is better.",
    "FLOP bound": "Matrix-product operations of the baseline divided by SwiftKV's, from the models' dimensions alone: "
    "a gain in computing time cannot be larger.",
    "Flip": "An item that one arm answers right and the other wrong. Lost: right on the baseline, wrong on SwiftKV.",
    "Margin": "The drop in score that is still accepted; set before the run, per column.",
    "Verdict": "PASS: the one-sided 95 % bound of the difference lies above −margin. FAIL: it lies below. "
    "INCONCLUSIVE: the data cannot tell, or a check forbids a claim.",
}
"""Every word of the report that has a definition."""


def render(template: str, **values: Any) -> str:
    """A page from a template, with the style and script that all pages share."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shared = {
        "css": own((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "script": own((TEMPLATES / "page.js").read_text(encoding="utf-8")),
    }
    return environment.get_template(template).render(**shared, **values)


def own(text: str) -> Any:
    """Our own text, not to be escaped."""
    import markupsafe

    return markupsafe.Markup(text)


@dataclass(frozen=True)
class Picture:
    """A figure ready to stand in a page; `facts` says in words what it shows."""

    name: str
    title: str
    caption: str
    facts: str
    svg: Any
    wide: bool
    least: int


def picture(figure: Figure) -> Picture:
    """The SVG made ready to stand in a page: themed, with ids of its own, described."""
    text = figure.files["svg"].decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    prefix = f"{figure.name}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = text.replace("url(#", f"url(#{prefix}").replace('xlink:href="#', f'xlink:href="#{prefix}')
    text = re.sub(r"#[0-9a-f]{6}\b", lambda m: _THEME.get(m.group(), m.group()), text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"\n\s*", "\n", text)
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', text)
    width = float(size.group(1)) * 4 / 3 if size else 640.0
    label = _attribute(f"{figure.title}. {figure.description}")
    text = re.sub(
        r'width="[\d.]+pt" height="[\d.]+pt"',
        f'role="img" aria-label="{label}" style="max-width:{width:.0f}px"',
        text,
        count=1,
    )
    return Picture(
        figure.name, figure.title, figure.caption, figure.description, own(text), width > WIDE, round(width * 0.8)
    )


def _attribute(text: str) -> str:
    import markupsafe

    return str(markupsafe.escape(text))


@dataclass(frozen=True)
class Group:
    """A head over `span` columns."""

    text: str
    span: int


@dataclass(frozen=True)
class PageTable:
    """A table with neighbouring equal groups joined; `starts` are columns that begin one."""

    view: TableView
    groups: tuple[Group, ...]
    starts: frozenset[int]


def page_table(view: TableView) -> PageTable:
    """With neighbouring equal groups joined into spanning heads."""
    groups: list[Group] = []
    starts = set()
    for i, head in enumerate(view.heads):
        if head.group and groups and groups[-1].text == head.group:
            groups[-1] = Group(head.group, groups[-1].span + 1)
        else:
            groups.append(Group(head.group, 1))
            if head.group or (i and view.heads[i - 1].group):
                starts.add(i)
    return PageTable(view, tuple(groups) if any(g.text for g in groups) else (), frozenset(starts))
