"""An analysis as Markdown: summary, tables, findings; for a README, an issue, a pull request."""

from collections.abc import Sequence

from swiftkv_bench.analysis.values import Analysis
from swiftkv_bench.metrics import DEFINITIONS
from swiftkv_bench.render import wording
from swiftkv_bench.render.cells import TableView
from swiftkv_bench.render.findings import grouped_findings
from swiftkv_bench.render.summary import statements
from swiftkv_bench.render.tables import tables


def markdown(analysis: Analysis, figures: Sequence[str] = ()) -> str:
    """The whole analysis.

    Args:
        figures: paths of pictures, relative to where the text will lie.
    """
    parts = [
        f"# {escape(title(analysis))}",
        *(f"**{escape(s.headline)}.** {escape(s.detail)}" for s in statements(analysis)),
    ]
    parts += [f"![{path.rsplit('/', 1)[-1].rsplit('.', 1)[0].replace('_', ' ')}]({path})" for path in figures]
    parts += [_table(view) for view in tables(analysis)]
    found = grouped_findings(analysis)
    if found:
        lines = []
        for g in found:
            where = f" ({'; '.join(g.places)})" if g.places else ""
            lines.append(escape(f"{g.finding.severity}: {g.finding.message}{where} {g.finding.next_step}"))
        parts.append("## What stands against the figures\n\n" + "\n".join(f"- {line}" for line in lines))
    parts.append("## Definitions\n\n" + "\n".join(f"- **{name}**: {text}" for name, text in DEFINITIONS.items()))
    return "\n\n".join(parts) + "\n"


def title(analysis: Analysis) -> str:
    """`SwiftKV against its baseline: <model> and <model>`."""
    names = wording.models(analysis.runs[0].manifest)
    pair = [names[arm] for arm in ("baseline", "swiftkv") if arm in names]
    return "SwiftKV against its baseline: " + " and ".join(dict.fromkeys(pair))


def _table(view: TableView) -> str:
    lines = [f"## {escape(view.title)}", ""]
    if any(head.group for head in view.heads):
        heads = [f"{_short(h.group)}: {h.text}" if h.group else h.text for h in view.heads]
    else:
        heads = [h.text for h in view.heads]
    lines.append("| " + " | ".join(escape(h) for h in heads) + " |")
    lines.append("|" + "|".join(" --: " if h.align == "right" else " :-- " for h in view.heads) + "|")
    lines += ["| " + " | ".join(escape(cell.whole) for cell in row) + " |" for row in view.rows]
    return "\n".join([*lines, "", escape(view.note)])


def _short(group: str) -> str:
    return group.split(",")[0].split(":")[0]


def escape(text: str) -> str:
    """Text that Markdown and the HTML inside it leave as it is."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return " ".join(text.split())
