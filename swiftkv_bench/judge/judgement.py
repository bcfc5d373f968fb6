"""`judge(reference, candidate, policy) -> Judgement`: every claim of a report and what may be said of it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from swiftkv_bench.errors import InputError
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.accuracy import AccuracyClaims, accuracy_claims, published_claims
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.judge.pairs import pairs
from swiftkv_bench.judge.performance import controlled, performance_claims
from swiftkv_bench.judge.policy import Policy, suggestion
from swiftkv_bench.judge.verdict import judged, of_lines, overall
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.schema.base import Record


class Verdicts(Record):
    """What the report says in one word; None for a part that was not compared."""

    overall: Verdict = Field(description="FAIL if a part fails, else INCONCLUSIVE if one is, else PASS")
    accuracy: Verdict | None = Field(None, description="of the accuracy lines")
    performance: Verdict | None = Field(None, description="of the lines under load")


@dataclass(frozen=True)
class Judgement:
    """What may be said of a candidate against a reference.

    Attributes:
        run_id: the candidate's.
        claims: claims that decide or guard, which were corrected together.
        compared: the arms that were held against each other, with their columns.
    """

    run_id: str
    lines: tuple[Line, ...]
    claims: int
    verdicts: Verdicts
    compared: tuple[AccuracyClaims, ...]

    @property
    def failed(self) -> tuple[Line, ...]:
        """Lines that make the report fail."""
        return tuple(line for line in self.lines if line.fails)

    def line(self, where: str, metric: str, candidate_arm: str, reference: str) -> Line | None:
        """The line of a claim; None where there is none."""
        wanted = (where, metric, candidate_arm, reference)
        return next((x for x in self.lines if (x.where, x.metric, x.candidate_arm, x.reference) == wanted), None)


def judge(reference: Evidence, candidate: Evidence, policy: Policy) -> Judgement:
    """Two runs, like arm with like; or, of sides that name an arm, the arms of one run.

    Raises:
        InputError: the sides have nothing in common, or the policy names what these runs cannot have.
        IncomparableError: items do not pair.
    """
    _check_policy(reference, candidate, policy)
    every = list(pairs(reference, candidate, policy))
    if not every:
        named = ", ".join(policy.references)
        raise InputError(
            f"the policy's references ({named}) leave nothing to compare in {candidate.side.label}; two runs need "
            "`reference run` and an arm in common, an accepted one `accepted run`, one run's arms `baseline arm`"
        )
    accuracy = tuple(accuracy_claims(pair, policy) for pair in every)
    _some_common_item(reference, candidate, accuracy)
    drafts = [draft for found in accuracy for draft in found.drafts]
    drafts += published_claims(candidate, policy)
    drafts += [draft for pair in every for draft in performance_claims(pair, policy)]
    drafts = controlled(drafts, reference, candidate)
    lines, claims = judged(drafts, policy.alpha, correct=policy.correction == "holm")
    return Judgement(candidate.manifest.run_id, tuple(lines), claims, _verdicts(lines), accuracy)


def judge_arms(run: Evidence, policy: Policy) -> Judgement:
    """One run's SwiftKV arms against its baseline arm.

    Raises:
        InputError: an arm is missing.
        IncomparableError: items do not pair.
    """
    return judge(*arms_of(run), policy)


def arms_of(run: Evidence) -> tuple[Evidence, Evidence]:
    """The baseline and the SwiftKV arm of a run as two sides.

    Raises:
        InputError: an arm is missing.
    """
    for arm in ("baseline", "swiftkv"):
        if arm not in run.arms:
            raise InputError(f"{run.side.label} has no {arm} arm; give a second run to compare with")
    return run.as_arm("baseline"), run.as_arm("swiftkv")


def _verdicts(lines: Sequence[Line]) -> Verdicts:
    accuracy, performance = (of_lines([x for x in lines if x.part == part]) for part in ("accuracy", "performance"))
    return Verdicts(overall=overall((accuracy, performance)), accuracy=accuracy, performance=performance)


def _some_common_item(reference: Evidence, candidate: Evidence, accuracy: Sequence[AccuracyClaims]) -> None:
    """Raises: InputError: two runs answered columns of the same name and share no item at all."""
    if reference.side.arm is not None or any(found.columns for found in accuracy):
        return
    for column, arm, repeat in candidate.answers:
        theirs = reference.answers.get((column, arm, repeat))
        if theirs is not None:
            counts = f"{len(theirs):,} and {len(candidate.answers[column, arm, repeat]):,} items"
            raise InputError(
                f"{reference.side.label} and {candidate.side.label} answered no common item of {column} ({counts}); "
                "run both with the same --seed and --limit"
            )


_REPAIR = {
    "goodput": "give performance.slo, or run with --slo",
    "joule_per_token": "it needs GPUs that tell their power",
}


def _check_policy(reference: Evidence, candidate: Evidence, policy: Policy) -> None:
    """Raises: InputError: the policy names a column or a metric that neither side can have."""
    sides = (reference, candidate)
    plans = [side.manifest.plan.accuracy for side in sides]
    known = {column.name: None for plan in plans if plan is not None for column in plan.columns}
    for name in policy.accuracy.columns if known else ():
        if name not in known:
            raise InputError(
                f"the policy's accuracy.columns.{name} is no column of these runs{suggestion(name, known)}; they have "
                f"{', '.join(known)}"
            )
    if any(side.manifest.plan.perf is None for side in sides):
        return
    for key in policy.performance.metrics or ():
        if not METRICS[key].paired and not any(key in t.figures for side in sides for t in side.trials):
            raise InputError(
                f"the policy's performance.metrics.{key} cannot be computed: no trial of {reference.side.label} or "
                f"{candidate.side.label} has it; {_REPAIR.get(key, 'leave it out, or measure more requests')}"
            )
