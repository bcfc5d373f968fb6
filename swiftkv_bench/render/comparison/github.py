"""What GitHub Actions shows beside a run: annotations as workflow commands, and the job's summary."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from swiftkv_bench import units
from swiftkv_bench.errors import writing
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.render.comparison import lines
from swiftkv_bench.render.comparison.comment import comment
from swiftkv_bench.render.comparison.summary import headline

MOST = 10
"""GitHub shows ten annotations of a kind a step and drops the rest."""


def on_github(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a GitHub Actions runner reads our output."""
    return environment.get("GITHUB_ACTIONS") == "true"


def annotations(found: RunComparison) -> Iterator[str]:
    """`::error` for every claim that fails, `::warning` for every one that is not decided; the last tells the rest."""
    label = f"{found.candidate.label} against {found.reference.label}"
    for command, every in (("error", lines.failed(found.lines)), ("warning", lines.undecided(found.lines))):
        shown = every if len(every) <= MOST else every[: MOST - 1]
        yield from (_command(command, _title(line), f"{lines.sentence(line)} ({label})") for line in shown)
        if len(every) > len(shown):
            rest = len(every) - len(shown)
            more = f"{units.counted(rest, 'more claim')}; the job's summary names {'it' if rest == 1 else 'them'}."
            yield _command(command, "More of the same", f"{more} ({label})")
    if found.verdicts.overall is Verdict.PASS:
        yield _command("notice", f"swiftkv-bench: {found.verdicts.overall.value}", f"{headline(found)} ({label})")


def refusal(reason: str) -> str:
    """The annotation of a comparison that could not be made."""
    return _command("error", "swiftkv-bench: nothing was compared", reason)


def write_summary(found: RunComparison, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Appends the comment to the job's summary; None where there is none.

    Raises:
        InputError: the file that the variable names cannot be written.
    """
    target = environment.get("GITHUB_STEP_SUMMARY")
    if not target:
        return None
    with writing(Path(target), "unset GITHUB_STEP_SUMMARY"), Path(target).open("a", encoding="utf-8") as file:
        file.write(comment(found) + "\n")
    return Path(target)


def _title(line: Line) -> str:
    return f"swiftkv-bench: {line.verdict.value}: {lines.name(line)}"


def _command(command: str, title: str, text: str) -> str:
    return f"::{command} title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
