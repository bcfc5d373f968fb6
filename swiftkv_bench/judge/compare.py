"""`compare_runs` and `compare_arms`: the judge's outcome as a document, with where both sides come from."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from swiftkv_bench import __version__
from swiftkv_bench.errors import InputError
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.comparison import Note, NoteSide, RunComparison
from swiftkv_bench.judge.flipped import flipped_items
from swiftkv_bench.judge.judgement import Judgement, arms_of, judge
from swiftkv_bench.judge.keys import KeyCheck, check_keys, same_engine
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.judge.pairs import Pair
from swiftkv_bench.judge.points import planned_points
from swiftkv_bench.judge.policy import Policy


@dataclass(frozen=True)
class Asked:
    """How a comparison was asked for.

    Attributes:
        allow: keys that may differ.
        command: the command line that compares.
        created_utc: now.
    """

    policy: Policy
    policy_source: str | None
    allow: tuple[str, ...]
    command: tuple[str, ...]
    created_utc: str


def compare_runs(reference: Evidence, candidate: Evidence, asked: Asked) -> RunComparison:
    """Two runs, like arm with like arm.

    Raises:
        IncomparableError: a key differs and may not, or items do not pair.
        InputError: nothing is common to the runs.
    """
    keys = check_keys(reference, candidate, allow=asked.allow, variables=asked.policy.variables)
    return _compared(reference, candidate, keys, asked)


def compare_arms(run: Evidence, asked: Asked) -> RunComparison:
    """One run's SwiftKV arm against its baseline arm.

    Raises:
        InputError: an arm is missing.
        IncomparableError: items do not pair.
    """
    return _compared(*arms_of(run), (), asked)


def _compared(reference: Evidence, candidate: Evidence, keys: tuple[KeyCheck, ...], asked: Asked) -> RunComparison:
    found = judge(reference, candidate, asked.policy)
    if not found.lines:
        raise InputError(
            f"{reference.side.label} and {candidate.side.label} have no accuracy column and no load point in common; "
            "run the same suite or the same grid on both"
        )
    shown, total = flipped_items(found.compared)
    return RunComparison(
        harness_version=__version__,
        created_utc=asked.created_utc,
        mode="runs" if reference.side.arm is None else "arms",
        reference=reference.side,
        candidate=candidate.side,
        keys=keys,
        policy=asked.policy,
        policy_source=asked.policy_source,
        verdicts=found.verdicts,
        lines=found.lines,
        claims=found.claims,
        notes=tuple(_notes(reference, candidate, found)),
        flipped=shown,
        flipped_total=total,
        commands=_commands(reference, candidate, asked),
    )


def _notes(reference: Evidence, candidate: Evidence, found: Judgement) -> Iterator[Note]:
    if reference.side.arm is None:
        yield from (Note.of(f, "reference") for f in reference.findings if f.severity != "note")
        yield from (Note.of(f, "candidate") for f in candidate.findings if f.severity != "note")
    else:
        yield from (Note.of(f, "both") for f in candidate.findings if f.severity != "note")
    apart = dict.fromkeys(one for of_pair in found.compared for one in _points_apart(of_pair.pair))
    for side, point_id in apart:
        yield Note(
            code="unmatched-point",
            severity="note",
            message=f"Load point {point_id} was planned on the {side} side only and is not compared.",
            next_step="Run the same grid on both.",
            side=side,
            where=point_id,
        )
    parts = [(side.manifest.plan.accuracy, side.manifest.plan.perf) for side in (reference, candidate)]
    for name, one, other in zip(("accuracy", "load"), *parts, strict=True):
        if (one is None) != (other is None):
            side = "reference" if one is None else "candidate"
            text = f"The {side} has no {name} part, so that nothing of it is compared."
            yield Note(code="part-missing", severity="warning", message=text, next_step="Run both parts on both sides.",
                       side=side)  # fmt: skip
    yield from _moved(found.lines, reference, candidate)


def _points_apart(pair: Pair) -> Iterator[tuple[NoteSide, str]]:
    """(side, point id) of load points that only one side's plan has."""
    theirs = planned_points(pair.reference, pair.reference_arm)
    ours = planned_points(pair.candidate, pair.candidate_arm)
    yield from (("reference", point_id) for point_id in theirs if point_id not in ours)
    yield from (("candidate", point_id) for point_id in ours if point_id not in theirs)


def _moved(lines: Sequence[Line], reference: Evidence, candidate: Evidence) -> Iterator[Note]:
    """Of a metric's average over the points where there is one, else of its points."""
    if reference.side.arm is not None or not same_engine(reference, candidate, "baseline"):
        return
    of_control = [x for x in lines if x.part == "performance" and x.candidate_arm == "baseline"]
    failed = [x for x in of_control if x.role == "shown" and x.verdict is Verdict.FAIL]
    averaged = {x.metric for x in failed if x.point is None}
    for line in failed:
        if line.effect is not None and (line.point is None or line.metric not in averaged):
            moved = f"{(line.effect - 1) * 100:+.1f} %"
            yield Note(
                code="control-moved",
                severity="warning",
                message=f"{line.title} of the baseline arm, whose engine did not change, moved by {moved}.",
                next_step="The machine differs between the runs; repeat both side by side, or compare one run's arms.",
                side="both",
                where=line.where,
                arm="baseline",
            )


def _commands(reference: Evidence, candidate: Evidence, asked: Asked) -> tuple[str, ...]:
    runs = [reference.side.argv] if reference.side.arm is not None else [reference.side.argv, candidate.side.argv]
    return tuple(shlex.join(command) for command in (*runs, asked.command) if command)
