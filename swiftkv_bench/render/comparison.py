"""A comparison on the terminal: the verdict, the lines that decide, what must be known."""

from typing import TYPE_CHECKING

from swiftkv_bench import units
from swiftkv_bench.regression.comparison import Line, RunComparison
from swiftkv_bench.render import wording
from swiftkv_bench.render.wording import ARM, MISSING
from swiftkv_bench.stats.verdicts import Verdict

if TYPE_CHECKING:
    from rich.console import Console

_STYLE = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "yellow"}


def terminal(found: RunComparison, console: "Console") -> None:
    """Prints the verdict, the lines and the notes."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print(
        Text.assemble((found.verdicts.overall.value, _STYLE[found.verdicts.overall]), f"  {_sentence(found)}")
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("line", "arm", "against", "reference", "candidate", "effect", "bounds", "limit", "n", "verdict"):
        table.add_column(head, justify="left" if head in ("line", "arm", "against", "verdict") else "right")
    for line in found.lines:
        style = "dim" if line.role == "shown" else ""
        cells = [Text(text, style=style) for text in _cells(line)]
        table.add_row(*cells, Text(line.verdict.value, style=style or _STYLE[line.verdict]))
    console.print(table)
    for line in found.lines:
        if line.reason is not None and line.role != "shown":
            console.print(f"{_where(line)}: {line.reason}", highlight=False, markup=False)
    for key in found.keys:
        if key.status in ("allowed", "variable"):
            text = f"{key.key} differs and was allowed: {key.baseline} and {key.candidate}"
            console.print(text, highlight=False, markup=False)
    for note in found.notes:
        console.print(f"{note.severity} ({note.side}): {note.message} {note.next_step}", highlight=False, markup=False)


def _sentence(found: RunComparison) -> str:
    parts = [
        f"{name} {verdict.value}"
        for name, verdict in (("accuracy", found.verdicts.accuracy), ("performance", found.verdicts.performance))
        if verdict is not None
    ]
    return f"{found.candidate.label} against {found.baseline.label}: {', '.join(parts)}"


def _cells(line: Line) -> list[str]:
    bounds = (
        MISSING if line.bounds is None else f"[{_effect(line, line.bounds.low)}, {_effect(line, line.bounds.high)}]"
    )
    needed = f" of {line.n_to_decide:,}" if line.n_to_decide is not None else ""
    return [
        _where(line), ARM[line.candidate_arm], line.reference, _value(line, line.reference_value),
        _value(line, line.candidate_value), MISSING if line.effect is None else _effect(line, line.effect), bounds,
        _effect(line, line.limit), f"{line.n:,}{needed}",
    ]  # fmt: skip


def _where(line: Line) -> str:
    return f"{line.title}, {wording.point(line.point)}" if line.point is not None else line.title


def _value(line: Line, value: float | None) -> str:
    if value is None:
        return MISSING
    return wording.figure(line.metric, value) if line.part == "performance" else units.percent(value)


def _effect(line: Line, value: float) -> str:
    return f"{(value - 1) * 100:+.1f} %" if line.scale == "ratio" else units.points(value)
