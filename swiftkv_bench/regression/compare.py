"""`compare(baseline, candidate, policy) -> RunComparison`: pure but for the texts of flipped items."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from swiftkv_bench import __version__
from swiftkv_bench.errors import InputError
from swiftkv_bench.regression.accuracy import accuracy_lines, published_lines
from swiftkv_bench.regression.comparison import KeyCheck, Line, Note, RunComparison, Verdicts
from swiftkv_bench.regression.evidence import Evidence
from swiftkv_bench.regression.flipped import flipped_items
from swiftkv_bench.regression.keys import check_keys, same_engine
from swiftkv_bench.regression.pairs import Pair, pairs
from swiftkv_bench.regression.performance import performance_lines, points_apart
from swiftkv_bench.regression.policy import Policy
from swiftkv_bench.stats.verdicts import Verdict, holm


@dataclass(frozen=True)
class Request:
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


def compare_runs(baseline: Evidence, candidate: Evidence, request: Request) -> RunComparison:
    """Two runs, like arm with like arm.

    Raises:
        IncomparableError: a key differs and may not, or items do not pair.
        InputError: nothing is common to the runs.
    """
    keys = check_keys(baseline, candidate, allow=request.allow, variables=request.policy.variables)
    return _compared(baseline, candidate, keys, request)


def compare_arms(run: Evidence, request: Request) -> RunComparison:
    """One run's SwiftKV arm against its baseline arm.

    Raises:
        InputError: an arm is missing.
        IncomparableError: items do not pair.
    """
    sides = []
    for arm in ("baseline", "swiftkv"):
        if arm not in run.arms:
            raise InputError(f"{run.side.label} has no {arm} arm; give a second run to compare with")
        label = f"{run.side.label}, {arm}"
        sides.append(replace(run, side=run.side.model_copy(update={"kind": "arm", "arm": arm, "label": label})))
    return _compared(sides[0], sides[1], (), request)


def _compared(baseline: Evidence, candidate: Evidence, keys: tuple[KeyCheck, ...], request: Request) -> RunComparison:
    policy = request.policy
    every = list(pairs(baseline, candidate, policy))
    accuracy = [accuracy_lines(pair, policy) for pair in every]
    lines = [line for found in accuracy for line in found.lines]
    lines += published_lines(candidate, policy)
    lines += [line for pair in every for line in performance_lines(pair, policy)]
    if not lines:
        raise InputError(
            f"{baseline.side.label} and {candidate.side.label} have no accuracy column and no load point in common; "
            "run the same suite or the same grid on both"
        )
    decided, claims = corrected(lines, policy)
    decided = _controlled(decided, baseline, candidate)
    shown, total = flipped_items(accuracy)
    return RunComparison(
        harness_version=__version__,
        created_utc=request.created_utc,
        mode="runs" if baseline.side.arm is None else "arms",
        baseline=baseline.side,
        candidate=candidate.side,
        keys=keys,
        policy=policy,
        policy_source=request.policy_source,
        verdicts=_verdicts(decided),
        lines=tuple(decided),
        claims=claims,
        notes=(*_notes(baseline, candidate, every), *_moved(decided, baseline, candidate)),
        flipped=shown,
        flipped_total=total,
        commands=_commands(baseline, candidate, request),
    )


def corrected(lines: Sequence[Line], policy: Policy) -> tuple[list[Line], int]:
    """Lines whose FAIL stands after the correction over all claims that decide, and how many claims those are.

    Holm's procedure with an equal share of the error rate for each family, so that thirty load points do not
    outvote one average. A FAIL that does not stand is INCONCLUSIVE.
    """
    rows = [i for i, line in enumerate(lines) if line.role != "shown" and line.p_fail is not None]
    p_values = [line.p_fail for i, line in enumerate(lines) if i in set(rows) and line.p_fail is not None]
    sizes: dict[str, int] = {}
    for i in rows:
        sizes[lines[i].family] = sizes.get(lines[i].family, 0) + 1
    weights = [1 / sizes[lines[i].family] for i in rows]
    adjusted = holm(p_values, weights) if policy.correction == "holm" else tuple(p_values)
    out = list(lines)
    for i, p in zip(rows, adjusted, strict=True):
        update: dict[str, object] = {"p_fail_corrected": p}
        if lines[i].verdict is Verdict.FAIL and p > policy.alpha:
            update["verdict"] = Verdict.INCONCLUSIVE
            update["reason"] = f"beyond the margin by itself, but not after the correction over {len(rows)} claims"
        out[i] = lines[i].model_copy(update=update)
    return out, len(rows)


def _controlled(lines: Sequence[Line], baseline: Evidence, candidate: Evidence) -> list[Line]:
    """A FAIL under load is undecided where it is within the margin of what the original model on the same engine did.

    Both arms of a run take turns, so that a machine that is slower now than then slows both.
    """
    control = _control(lines, baseline, candidate)
    out = []
    for line in lines:
        moved = control.get((line.metric, line.where))
        counts = line.verdict is Verdict.FAIL and line.candidate_arm != "baseline"
        if counts and moved is not None and _explained(line, moved):
            reason = (
                f"the baseline arm, whose engine did not change, moved by {_percent(moved)} as well, and the rest is "
                "within the margin: the machine changed; repeat both runs side by side"
            )
            line = line.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "reason": reason})
        out.append(line)
    return out


def _explained(line: Line, control: Line) -> bool:
    """Whether the effect is within the margin once a control that got worse is taken off it."""
    if line.effect is None or control.effect is None:
        return False
    if line.worse == "higher":
        return line.effect / max(1.0, control.effect) <= line.limit
    return line.effect / min(1.0, control.effect) >= line.limit


def _control(lines: Sequence[Line], baseline: Evidence, candidate: Evidence) -> dict[tuple[str, str], Line]:
    """(metric, where) -> line of the baseline arm, where its engine is the same in both runs."""
    if baseline.side.arm is not None or not same_engine(baseline, candidate, "baseline"):
        return {}
    return {
        (line.metric, line.where): line
        for line in lines
        if line.part == "performance" and line.candidate_arm == "baseline" and line.role == "shown"
    }


def _moved(lines: Sequence[Line], baseline: Evidence, candidate: Evidence) -> list[Note]:
    """Of a metric's average over the points where there is one, else of its points."""
    found = [line for line in _control(lines, baseline, candidate).values() if line.verdict is Verdict.FAIL]
    averaged = {line.metric for line in found if line.family == "overall"}
    return [
        Note(
            code="control-moved",
            severity="warning",
            message=f"{line.title} of the baseline arm, whose engine did not change, moved by {_percent(line)}.",
            next_step="The machine differs between the runs; repeat both side by side, or compare one run's arms.",
            side="both",
            where=line.where,
            arm="baseline",
        )
        for line in found
        if line.family == "overall" or line.metric not in averaged
    ]


def _verdicts(lines: Sequence[Line]) -> Verdicts:
    parts = {part: _verdict([line for line in lines if line.part == part]) for part in ("accuracy", "performance")}
    known = [verdict for verdict in parts.values() if verdict is not None]
    if Verdict.FAIL in known:
        overall = Verdict.FAIL
    else:
        overall = Verdict.PASS if known and all(v is Verdict.PASS for v in known) else Verdict.INCONCLUSIVE
    return Verdicts(overall=overall, accuracy=parts["accuracy"], performance=parts["performance"])


def _verdict(lines: Sequence[Line]) -> Verdict | None:
    """FAIL when a line that counts fails, PASS when there are primary lines and all pass; None without a line."""
    if not lines:
        return None
    if any(line.verdict is Verdict.FAIL and line.role != "shown" for line in lines):
        return Verdict.FAIL
    primary = [line.verdict for line in lines if line.role == "primary"]
    return Verdict.PASS if primary and all(v is Verdict.PASS for v in primary) else Verdict.INCONCLUSIVE


def _notes(baseline: Evidence, candidate: Evidence, every: Sequence[Pair]) -> list[Note]:
    notes = []
    if baseline.side.arm is None:
        notes += [note.model_copy(update={"side": "baseline"}) for note in baseline.notes]
        notes += [note.model_copy(update={"side": "candidate"}) for note in candidate.notes]
    else:
        notes += list(candidate.notes)
    apart = dict.fromkeys(found for pair in every for found in points_apart(pair))
    for side, point_id in apart:
        notes.append(
            Note(
                code="unmatched-point",
                severity="note",
                message=f"Load point {point_id} was run on the {side} side only and is not compared.",
                next_step="Run the same grid on both.",
                side="baseline" if side == "baseline" else "candidate",
                where=point_id,
            )
        )
    return notes


def _commands(baseline: Evidence, candidate: Evidence, request: Request) -> tuple[str, ...]:
    runs = [baseline.side.argv] if baseline.side.arm is not None else [baseline.side.argv, candidate.side.argv]
    return tuple(shlex.join(command) for command in (*runs, request.command) if command)


def _percent(line: Line) -> str:
    return "an unknown amount" if line.effect is None else f"{(line.effect - 1) * 100:+.1f} %"
