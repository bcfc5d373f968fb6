"""A comparison as Markdown for a pull request: the verdict, the claims that decide, everything else folded."""

from collections.abc import Sequence

from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.render.cells import TableView
from swiftkv_bench.render.comparison.summary import compared, grouped_notes, headline, statements
from swiftkv_bench.render.comparison.tables import claims_table, keys_table, part_tables
from swiftkv_bench.render.findings import shortened
from swiftkv_bench.render.markdown import escape, table_rows

MARK = "<!-- swiftkv-bench compare -->"
"""First line; a bot that updates its comment finds it by this."""

MOST_CHARACTERS = 60_000
"""GitHub refuses comments above 65,536 characters."""

_SIGN = {Verdict.PASS: "✅", Verdict.FAIL: "❌", Verdict.INCONCLUSIVE: "❔"}


def comment(found: RunComparison, link: str | None = None) -> str:
    """The comment; tables that would make it too long are left out and named.

    Args:
        link: where the whole report is.
    """
    verdict = found.verdicts.overall
    parts = [
        MARK,
        f"### {_SIGN[verdict]} {verdict.value}: {escape(headline(found))}",
        f"{escape(found.candidate.label)} against {escape(found.reference.label)}."
        + (f" [Whole report]({link})." if link else ""),
        " ".join(f"**{escape(s.question)}** {escape(s.headline)}." for s in statements(found)[1:]),
        _rows(claims_table(found.lines, found.policy.confidence, 10)),
    ]
    folded = [_folded("What was compared", [f"- **{escape(n)}**: {escape(t)}" for n, t in compared(found)])]
    notes = [
        f"- **{g.finding.severity}** ({escape(shortened(g.places, 3))}): {escape(g.finding.message)} "
        f"{escape(g.finding.next_step)}"
        for g in grouped_notes(found)
    ]
    folded += [_folded("1 finding" if len(notes) == 1 else f"{len(notes)} findings", notes)] if notes else []
    views = [*part_tables(found, "accuracy"), *part_tables(found, "performance")]
    keys = keys_table(found)
    views += [keys] if keys is not None else []
    repeat = _folded("Repeat it", ["```sh", *(line.replace("```", "") for line in found.commands), "```"])
    room = MOST_CHARACTERS - sum(len(part) + 2 for part in (*parts, *folded, repeat))
    left = []
    for view in views:
        text = _folded(view.title, [*table_rows(view), "", escape(view.note)])
        if len(text) + 200 < room:
            room -= len(text) + 2
            folded.append(text)
        else:
            left.append(view.title)
    if left:
        folded.append(escape(f"Too long for a comment, and in the report: {'; '.join(left)}."))
    return "\n\n".join([*parts, *folded, repeat]) + "\n"


def _rows(view: TableView) -> str:
    return "\n".join([*table_rows(view), "", escape(view.note)])


def _folded(title: str, lines: Sequence[str]) -> str:
    body = "\n".join(lines)
    return f"<details><summary>{escape(title)}</summary>\n\n{body}\n\n</details>"
