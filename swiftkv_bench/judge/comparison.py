"""The outcome of `swiftkv-bench compare`: frozen values that renderers print and scripts read.

Everything a report of a comparison says is here, computed; `RunComparison.model_json_schema()` is its JSON Schema.

Format history:
    swiftkv-bench/comparison/2  sides are `reference` and `candidate`; families, `unit`, `n_to_find`.
    swiftkv-bench/comparison/1  first format.
"""

from typing import Literal

from pydantic import Field

from swiftkv_bench.checks import Finding, Severity
from swiftkv_bench.evidence.run import Side
from swiftkv_bench.judge.judgement import Verdicts
from swiftkv_bench.judge.keys import KeyCheck
from swiftkv_bench.judge.lines import Line
from swiftkv_bench.judge.policy import Policy, ReferenceKind
from swiftkv_bench.schema.base import Record
from swiftkv_bench.schema.engine import Arm

SCHEMA_ID: Literal["swiftkv-bench/comparison/2"] = "swiftkv-bench/comparison/2"

NoteSide = Literal["reference", "candidate", "both"]


class FlippedItem(Record):
    """An item whose score changed; texts only where both run folders have them."""

    column: str = Field(description="column key")
    task: str = Field(description="lm-eval task")
    doc_id: int = Field(description="document")
    arm: Arm = Field(description="candidate's arm")
    reference: ReferenceKind = Field(description="what it is held against")
    reference_score: float = Field(description="score of the reference")
    candidate_score: float = Field(description="score of the candidate")
    prompt: str | None = Field(None, description="prompt text")
    target: str | None = Field(None, description="expected answer")
    reference_answer: str | None = Field(None, description="what the reference answered")
    candidate_answer: str | None = Field(None, description="what the candidate answered")


class Note(Record):
    """Something the reader must know before using the comparison."""

    code: str = Field(description="stable key")
    severity: Severity = Field(description="how much it matters")
    message: str = Field(description="what was seen")
    next_step: str = Field(description="what to do about it")
    side: NoteSide = Field(description="which side it is about")
    where: str | None = Field(None, description="column or point; None for the whole run")
    arm: Arm | None = Field(None, description="None for all arms")

    @classmethod
    def of(cls, finding: Finding, side: NoteSide) -> "Note":
        """A finding of one side, or of the run that both arms are of."""
        return cls(
            code=finding.code,
            severity=finding.severity,
            message=finding.message,
            next_step=finding.next_step,
            side=side,
            where=finding.point or finding.column,
            arm=finding.arm,
        )


class RunComparison(Record):
    """A finished comparison of two runs, or of one run's two arms."""

    schema_id: Literal["swiftkv-bench/comparison/2"] = Field(SCHEMA_ID, description="format of this document")
    harness_version: str = Field(description="version of swiftkv-bench that compared")
    created_utc: str = Field(description="when it was compared, ISO 8601")
    mode: Literal["runs", "arms"] = Field(description="two runs, like arm with like; or one run's two arms")
    reference: Side = Field(description="what the candidate is held against")
    candidate: Side = Field(description="side under test")
    keys: tuple[KeyCheck, ...] = Field(description="what was checked to be equal, and what differs")
    policy: Policy = Field(description="as used, defaults filled in")
    policy_source: str | None = Field(None, description="policy file; None for the default policy")
    verdicts: Verdicts = Field(description="in one word")
    lines: tuple[Line, ...] = Field(description="every claim, accuracy first")
    claims: int = Field(description="claims that the correction covers", ge=0)
    notes: tuple[Note, ...] = Field((), description="what must be known")
    flipped: tuple[FlippedItem, ...] = Field((), description="items that changed, up to a limit")
    flipped_total: int = Field(0, description="items that changed", ge=0)
    commands: tuple[str, ...] = Field((), description="exact commands that repeat both runs and the comparison")

    @property
    def failed(self) -> tuple[Line, ...]:
        """Lines that make the report fail."""
        return tuple(line for line in self.lines if line.fails)
