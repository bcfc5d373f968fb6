"""Tables for papers and spreadsheets: the same cells as LaTeX (booktabs) and CSV."""

import csv
import io
from collections.abc import Iterable

from swiftkv_bench.render.cells import TableView

_SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "−": "$-$",
    "±": r"$\pm$", "≈": r"$\approx$", "≤": r"$\le$", "–": "--", "†": r"$\dagger$", "✗": r"$\times$", "<": "$<$",
    ">": "$>$", "µ": r"$\mu$", "∞": r"$\infty$", "÷": r"$\div$",
}  # fmt: skip


def latex(view: TableView) -> str:
    """A `table` with booktabs rules; group heads span their columns, the note stands below."""
    columns = "".join("r" if head.align == "right" else "l" for head in view.heads)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(view.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
    ]
    lines.append(r"\toprule")
    if any(head.group for head in view.heads):
        lines += _groups(view)
    lines += [_row(_escaped(head.text) for head in view.heads), r"\midrule"]
    lines += [_row(_escaped(cell.whole) for cell in row) for row in view.rows]
    lines += [r"\bottomrule", r"\end{tabular}", rf"\par\smallskip\footnotesize {_escaped(view.note)}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _groups(view: TableView) -> list[str]:
    cells, rules, at = [], [], 1
    heads = list(view.heads)
    while at <= len(heads):
        group, span = heads[at - 1].group, 1
        while group and at + span <= len(heads) and heads[at + span - 1].group == group:
            span += 1
        cells.append(rf"\multicolumn{{{span}}}{{c}}{{{_escaped(group)}}}" if group else "")
        rules += [rf"\cmidrule(lr){{{at}-{at + span - 1}}}"] if group else []
        at += span
    return [_row(cells), " ".join(rules)]


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escaped(text: str) -> str:
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def comma_separated(view: TableView) -> str:
    """The cells as CSV; a grouped head reads `group: head`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([f"{head.group}: {head.text}" if head.group else head.text for head in view.heads])
    writer.writerows([cell.whole for cell in row] for row in view.rows)
    return out.getvalue()
