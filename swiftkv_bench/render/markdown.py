"""An analysis as Markdown: summary, tables, findings; for a README, an issue, a pull request."""

from collections.abc import Mapping

from swiftkv_bench.analysis.values import Analysis
from swiftkv_bench.metrics import DEFINITIONS
from swiftkv_bench.render.cells import TableView
from swiftkv_bench.render.findings import grouped_findings, shortened
from swiftkv_bench.render.provenance import commands
from swiftkv_bench.render.summary import compared, statements, title
from swiftkv_bench.render.tables import tables


def markdown(analysis: Analysis, figures: Mapping[str, str] | None = None) -> str:
    """The whole analysis.

    Args:
        figures: path of a picture, relative to where the text will lie -> what it shows.
    """
    parts = [f"# {escape(title(analysis))}"]
    parts += [f"**{escape(s.headline)}.** {escape(s.text)}" for s in statements(analysis)]
    parts.append("\n".join(f"- {escape(name)}: {escape(text)}" for name, text in compared(analysis)))
    parts += [f"![{escape(text)}]({path})" for path, text in (figures or {}).items()]
    parts += [table(view) for view in tables(analysis)]
    parts += _findings(analysis)
    parts.append("## Definitions\n\n" + "\n".join(f"- **{name}**: {text}" for name, text in DEFINITIONS.items()))
    parts.append("## Repeat\n\n" + "\n\n".join(f"{escape(what)}:\n\n    {how}" for what, how in commands(analysis)))
    return "\n\n".join(parts) + "\n"


def _findings(analysis: Analysis) -> list[str]:
    lines = []
    for g in grouped_findings(analysis):
        where = f" ({shortened(g.places, 6)})" if g.places else ""
        lines.append(
            f"- **{g.finding.severity}**: {escape(g.finding.message + where)} Next: {escape(g.finding.next_step)}"
        )
    return ["## What stands against the figures\n\n" + "\n".join(lines)] if lines else []


def table(view: TableView) -> str:
    """Heading, cells and note of a table."""
    return "\n".join([f"## {escape(view.title)}", "", *table_rows(view), "", escape(view.note)])


def table_rows(view: TableView) -> list[str]:
    """The cells of a table as lines."""
    if any(head.group for head in view.heads):
        heads = [f"{_short(h.group)}: {h.text}" if h.group else h.text for h in view.heads]
    else:
        heads = [h.text for h in view.heads]
    lines = ["| " + " | ".join(escape(h) for h in heads) + " |"]
    lines.append("|" + "|".join(" --: " if h.align == "right" else " :-- " for h in view.heads) + "|")
    return [*lines, *("| " + " | ".join(escape(cell.whole) for cell in row) + " |" for row in view.rows)]


def _short(group: str) -> str:
    return group.split(",")[0].split(":")[0]


def escape(text: str) -> str:
    """Text that Markdown and the HTML inside it leave as it is."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return " ".join(text.split())
