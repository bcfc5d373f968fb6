"""Which arm of which side is held against which, and what its lines count for."""

from collections.abc import Iterator
from dataclasses import dataclass

from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.keys import same_model
from swiftkv_bench.judge.lines import Role
from swiftkv_bench.judge.policy import Policy, ReferenceKind
from swiftkv_bench.schema.engine import Arm


@dataclass(frozen=True)
class Pair:
    """A candidate arm and its reference.

    Attributes:
        same_weights: both served the same weights, so that nothing but noise should flip an answer.
    """

    kind: ReferenceKind
    reference: Evidence
    reference_arm: Arm
    candidate: Evidence
    candidate_arm: Arm
    role: Role
    same_weights: bool

    @property
    def sides(self) -> tuple[tuple[Evidence, Arm], tuple[Evidence, Arm]]:
        """(run, arm) of the reference and of the candidate."""
        return (self.reference, self.reference_arm), (self.candidate, self.candidate_arm)

    @property
    def guard(self) -> Role:
        """What a line counts for that guards where the pair decides."""
        return guarding(self.role)


def guarding(role: Role) -> Role:
    """What a line counts for that guards where others of this role decide."""
    return "guard" if role == "primary" else role


def pairs(reference: Evidence, candidate: Evidence, policy: Policy) -> Iterator[Pair]:
    """Every pair that the policy asks for and both sides have.

    Two runs: like arm with like, and the candidate's own skipping against full depth. One run: its arms.
    """
    arms = candidate.arms
    if reference.side.arm is None:
        kind: ReferenceKind = "accepted run" if reference.side.kind == "accepted run" else "reference run"
        for arm in arms if kind in policy.references else ():
            if arm in reference.arms:
                role: Role = "primary" if arm in policy.arms else "shown"
                yield Pair(kind, reference, arm, candidate, arm, role, same_model(reference, candidate, arm))
    elif "baseline arm" in policy.references:
        for arm in arms:
            if arm not in ("baseline", "baseline-repeat"):
                role = "primary" if arm == "swiftkv" else "shown"
                yield Pair("baseline arm", candidate, "baseline", candidate, arm, role, same_weights=False)
    if "full depth" in policy.references and {"swiftkv", "swiftkv-full"} <= set(arms):
        yield Pair("full depth", candidate, "swiftkv-full", candidate, "swiftkv", "guard", same_weights=True)
