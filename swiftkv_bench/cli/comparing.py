"""From the flags of `compare` to its report and exit code."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from swiftkv_bench import redaction
from swiftkv_bench.accepted.runs import find
from swiftkv_bench.errors import InconclusiveError, InputError, RegressionError, writing
from swiftkv_bench.judge.compare import Asked, compare_arms, compare_runs
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.judge.policy import Policy, load_policy
from swiftkv_bench.render.comparison.github import annotations, on_github, refusal, write_summary
from swiftkv_bench.render.comparison.page import write_comparison
from swiftkv_bench.render.comparison.terminal import terminal

_DEFAULT = Path("regression.yaml")


def policy_file(given: Path | None) -> Path | None:
    """The policy file asked for, else `regression.yaml` where there is one."""
    if given is not None:
        return given
    return _DEFAULT if _DEFAULT.exists() else None


def run(
    sides: tuple[str, ...], policy: Path | None, allow: tuple[str, ...], root: Path, *, out: Path | None, as_json: bool
) -> None:
    """Compares, prints, and writes what was asked for.

    Raises:
        InputError: the sides cannot be read or must not be compared.
        RegressionError: a line got worse.
        InconclusiveError: the data cannot decide.
    """
    if len(sides) > 2:
        raise InputError(f"compare takes one run or two, found {len(sides)}: {' '.join(sides)}")
    source = policy_file(policy)
    try:
        found = compared(sides, load_policy(source), None if source is None else str(source), allow, root)
    except InputError as e:
        if on_github():
            print(refusal(str(e)), file=sys.stderr)
        raise
    if as_json:
        print(found.model_dump_json(indent=1))
    else:
        terminal(found, Console(width=None if sys.stdout.isatty() else 140))
    if out is not None:
        with writing(out, "choose another folder with --out"):
            files = write_comparison(found, out)
        print(f"report: {files[0]}", file=sys.stderr)
    if on_github():
        write_summary(found)
        # The runner reads commands from both streams; standard output stays what was asked for.
        for command in annotations(found):
            print(command, file=sys.stderr)
    conclude(found)


def compared(
    sides: tuple[str, ...], policy: Policy, source: str | None, allow: tuple[str, ...], root: Path
) -> RunComparison:
    """The comparison of one or two sides as named on the command line.

    Raises:
        InputError: as `run`.
    """
    asked = Asked(
        policy=policy,
        policy_source=source,
        allow=allow,
        command=redaction.redact_command(["swiftkv-bench", *sys.argv[1:]]),
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    reference = find(sides[0], root, policy)
    if len(sides) == 1:
        return compare_arms(reference, asked)
    if policy.performance.slo is None and reference.slo is not None:
        # The candidate's goodput is counted as the accepted run's was.
        policy = policy.with_slo(reference.slo)
    return compare_runs(reference, find(sides[1], root, policy), asked)


def conclude(found: RunComparison) -> None:
    """Turns the overall verdict into the exit code.

    Raises:
        RegressionError, InconclusiveError: as `run`.
    """
    word = found.verdicts.overall
    if word is Verdict.FAIL:
        failed = found.failed
        names = "; ".join(f"{line.title} ({line.candidate_arm}, {line.where})" for line in failed[:3])
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise RegressionError(f"{word.value}: worse than {found.reference.label}: {names}{more}")
    if word is Verdict.INCONCLUSIVE:
        raise InconclusiveError(
            f"{word.value}: nothing got worse beyond doubt, and not all of it is within the margins; the table says "
            "how many items or trials would decide"
        )
