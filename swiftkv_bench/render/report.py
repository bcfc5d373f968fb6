"""Writes the report of an analysis: one self-contained HTML page, Markdown, figures, and figures as data.

The page makes no request, works without scripts but for the item browser, and escapes every text that came from a
model, a server or a file.
"""

from collections.abc import Sequence
from pathlib import Path

from swiftkv_bench.analysis.values import Analysis
from swiftkv_bench.render.browser import PACKED_BYTES, browser
from swiftkv_bench.render.drawing import Figure
from swiftkv_bench.render.export import export_points, summary_json
from swiftkv_bench.render.figures import figures
from swiftkv_bench.render.findings import MEANING, grouped_findings
from swiftkv_bench.render.markdown import markdown
from swiftkv_bench.render.page import TERMS, page_table, picture, render
from swiftkv_bench.render.provenance import commands, provenance
from swiftkv_bench.render.publication import comma_separated, latex
from swiftkv_bench.render.several import kind
from swiftkv_bench.render.summary import compared, models, statements, title
from swiftkv_bench.render.tables import tables

_QUALITY = ("accuracy", "origin", "answers", "statistics")
"""Tables of the part about quality; all others are about load."""
_FIGURES_OF_QUALITY = ("accuracy_difference",)


def write_report(analysis: Analysis, folder: Path) -> list[Path]:
    """Writes report.html, report.md, summary.json, points.csv and .parquet, figures/ and tables/.

    Figures are PNG, SVG and PDF, tables CSV and LaTeX. Returns the files written, the page first.
    """
    drawn = figures(analysis, ("svg", "png", "pdf"))
    for part in ("figures", "tables"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    written = []
    for figure in drawn:
        for suffix, content in figure.files.items():
            path = folder / "figures" / f"{figure.name}.{suffix}"
            path.write_bytes(content)
            written.append(path)
    texts = {
        "report.html": html(analysis, drawn),
        "report.md": markdown(analysis, {f"figures/{f.name}.png": f"{f.title}. {f.description}" for f in drawn}),
        "summary.json": summary_json(analysis),
    }
    for view in tables(analysis):
        texts[f"tables/{view.key}.csv"] = comma_separated(view)
        texts[f"tables/{view.key}.tex"] = latex(view)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [*(folder / name for name in texts), *written, *export_points(analysis, folder)]


def html(analysis: Analysis, drawn: Sequence[Figure]) -> str:
    """The page; `drawn` must hold SVG."""
    views = tables(analysis)
    pictures = [picture(figure) for figure in drawn]
    asked = [part for part in analysis.accuracy if part.items]
    return render(
        "report.html.j2",
        title=title(analysis),
        heading="SwiftKV against its baseline",
        subtitle=models(analysis),
        compared=compared(analysis),
        statements=statements(analysis),
        quality={
            "figures": [f for f in pictures if kind(f.name) in _FIGURES_OF_QUALITY],
            "tables": [page_table(view) for view in views if kind(view.key) in _QUALITY],
        },
        load={
            "figures": [f for f in pictures if kind(f.name) not in _FIGURES_OF_QUALITY],
            "tables": [page_table(view) for view in views if kind(view.key) not in (*_QUALITY, "claims")],
        },
        claims=[page_table(view) for view in views if kind(view.key) == "claims"],
        findings=grouped_findings(analysis),
        meaning=MEANING,
        browsers=[browser(part, PACKED_BYTES // len(asked)) for part in asked],
        terms=TERMS,
        provenance=[
            (found, page_table(found.sides), page_table(found.probes) if found.probes is not None else None)
            for found in (provenance(run, i) for i, run in enumerate(analysis.runs, 1))
        ],
        commands=commands(analysis),
    )
