"""Every table of an analysis, and the ones that the terminal shows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from swiftkv_bench.analysis.values import Analysis
from swiftkv_bench.checks import Severity
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.render.accuracy_tables import accuracy_table, answers_table, origin_table, statistics_table
from swiftkv_bench.render.cells import Cell, TableView
from swiftkv_bench.render.comparison.tables import claims_table
from swiftkv_bench.render.findings import grouped_findings, shortened
from swiftkv_bench.render.load_tables import bound_table, detail_table, limit_table, load_table, noise_table
from swiftkv_bench.render.machine_table import machine_table
from swiftkv_bench.render.several import kind, tables_apart
from swiftkv_bench.render.summary import Statement, compared, statements, title
from swiftkv_bench.render.traffic_table import reasoning_table, traffic_table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text


def tables(analysis: Analysis) -> tuple[TableView, ...]:
    """Every table of an analysis, in order of reading."""
    found = list(_claims(analysis))
    for perf in analysis.perf:
        if perf.points:
            views = [load_table(perf), traffic_table(perf), reasoning_table(perf), noise_table(perf), limit_table(perf)]
            views += [bound_table(perf), machine_table(perf), detail_table(perf)]
            found += tables_apart(views, perf, analysis.perf)
    for part in analysis.accuracy:
        views = [accuracy_table(part), origin_table(part), answers_table(part), statistics_table(part)]
        found += tables_apart(views, part, analysis.accuracy)
    return tuple(found)


def _claims(analysis: Analysis) -> Iterator[TableView]:
    """What may be said of SwiftKV against its baseline, a table a run: the claims that `compare RUN` prints first."""
    for judgement in analysis.judgements:
        view = claims_table(judgement.lines, Policy().confidence)
        yield from tables_apart([replace(view, title="Claims, as compare judges them")], judgement, analysis.judgements)


STYLE: dict[str, str] = {"good": "green", "bad": "red", "open": "yellow", "quiet": "dim", "plain": ""}
_UNBOUNDED = 1000
_TERMINAL = ("load", "traffic", "reasoning", "noise", "limit", "accuracy", "origin", "answers")


def terminal(analysis: Analysis, console: "Console") -> None:
    """Prints the statements, the main tables and the findings; the report has the rest."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(title(analysis), style="bold"))
    console.print(facts(compared(analysis)))
    console.print()
    console.print(answers(statements(analysis)))
    for view in tables(analysis):
        if kind(view.key) in _TERMINAL:
            for part in _parts(view, console):
                print_whole(rich_table(part), console)
            console.print(Padding(Text(view.note, style="dim"), (0, 0, 1, 1)))
    found = grouped_findings(analysis)
    for g in found:
        f = g.finding
        console.print(note_lines(f.severity, f.message, shortened(g.places, 2), f.next_step))


def note_lines(severity: Severity, message: str, where: str, next_step: str) -> "Text":
    """A finding: how much it matters, what was seen, where, what to do."""
    from rich.text import Text

    style = {"invalid": "bold red", "warning": "yellow", "note": "dim"}[severity]
    return Text.assemble((severity, style), f": {message}{f' ({where})' if where else ''} ", (next_step, "dim"))


def facts(found: Sequence[tuple[str, str]]) -> "Table":
    """Names on the left, texts on the right."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, text in found:
        grid.add_row(name, Text(text))
    return grid


def answers(found: Sequence[Statement]) -> "Table":
    """Questions on the left; on the right the answer and what it rests on."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 1, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for s in found:
        lines = [(s.headline, f"bold {STYLE[s.tone]}"), *((f"\n{figure.text}", "") for figure in s.figures)]
        lines += [(f"\n{s.detail}", "dim")] if s.detail else []
        grid.add_row(s.question, Text.assemble(*lines))
    return grid


def rich_table(view: TableView) -> "Table":
    """Cells with intervals below their figures."""
    from rich import box
    from rich.table import Table

    table = Table(title=view.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.collapse_padding = True
    previous = ""
    for i, head in enumerate(view.heads):
        group = head.group.split(":")[0]
        above = group if group != previous else ""
        previous = group
        width = max((len(row[i].interval) for row in view.rows), default=0)
        table.add_column(f"{above}\n{head.text}", justify=head.align, vertical="top", min_width=width or None)
    for row in view.rows:
        table.add_row(*(_cell(cell) for cell in row))
    return table


def print_whole(table: "Table", console: "Console") -> None:
    """Prints a table with no word or figure cut short, wider than the terminal where it must be.

    Rich narrows columns until the table fits, and `76.07` becomes `76…`.
    """
    console.print(table, width=max(console.width, _widened(table, console)), crop=False)


def _widened(table: "Table", console: "Console") -> int:
    """Gives every column room for its longest word; returns what the table then needs, characters."""
    from rich.measure import Measurement

    def longest_word(content: "RenderableType") -> int:
        return Measurement.get(console, console.options, content).minimum

    for column in table.columns:
        words = [longest_word(content) for content in (column.header, *column.cells)]
        column.min_width = max(column.min_width or 0, *words)
    return Measurement.get(console, console.options.update(max_width=_UNBOUNDED), table).minimum


def _parts(view: TableView, console: "Console") -> list[TableView]:
    """The table, or parts that fit the terminal, below each other: groups of columns whole, each behind the names."""
    if _fits(view, console):
        return [view]
    left = [i for i, head in enumerate(view.heads[:3]) if head.align == "left"]
    names = list(range(1 + max(left, default=0)))
    rest = range(len(names), len(view.heads))
    blocks = [list(block) for _, block in groupby(rest, key=lambda i: view.heads[i].group or i)]
    parts = [names + blocks[0]]
    for block in blocks[1:]:
        if _fits(_columns(view, parts[-1] + block), console):
            parts[-1] += block
        else:
            parts.append(names + block)
    titles = [view.title] + [f"{view.title}, continued"] * (len(parts) - 1)
    return [replace(_columns(view, part), title=title) for part, title in zip(parts, titles, strict=True)]


def _fits(view: TableView, console: "Console") -> bool:
    """Whether a table printed whole stays within the terminal; by its lines, since rich may need more than it says."""
    from rich.segment import Segment

    table = rich_table(view)
    options = console.options.update(max_width=max(console.width, _widened(table, console)))
    lines = Segment.split_lines(console.render(table, options))
    return all(Segment.get_line_length(line) <= console.width for line in lines)


def _columns(view: TableView, chosen: Sequence[int]) -> TableView:
    rows = tuple(tuple(row[i] for i in chosen) for row in view.rows)
    return replace(view, heads=tuple(view.heads[i] for i in chosen), rows=rows)


def _cell(cell: Cell) -> "Text":
    from rich.text import Text

    below = [(f"\n{cell.interval}", "dim")] if cell.interval else []
    return Text.assemble((cell.text, STYLE[cell.tone]), *below)
