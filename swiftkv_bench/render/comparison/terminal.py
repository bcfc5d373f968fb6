"""A comparison on the terminal: what was compared, the answers, the claims to read first, what must be known."""

from typing import TYPE_CHECKING

from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.render.comparison.summary import compared, grouped_notes, statements, title
from swiftkv_bench.render.comparison.tables import claims_table
from swiftkv_bench.render.findings import shortened
from swiftkv_bench.render.tables import STYLE, answers, facts, note_lines, rich_table

if TYPE_CHECKING:
    from rich.console import Console


def terminal(found: RunComparison, console: "Console") -> None:
    """Prints the verdict first; the page has every line."""
    from rich.padding import Padding
    from rich.text import Text

    said = statements(found)
    console.print(Text(title(found), style=f"bold {STYLE[said[0].tone]}"))
    console.print(facts(compared(found)))
    console.print()
    console.print(answers(said))
    view = claims_table(found.lines, found.policy.confidence)
    console.print(rich_table(view))
    console.print(Padding(Text(view.note, style="dim"), (0, 0, 1, 1)))
    for group in grouped_notes(found):
        note = group.finding
        console.print(note_lines(note.severity, note.message, shortened(group.places, 2), note.next_step))
