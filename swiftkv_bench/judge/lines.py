"""What is claimed, what the records say of it, and the line that a report prints: each built once."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import Field

from swiftkv_bench.judge.policy import ReferenceKind
from swiftkv_bench.schema.base import Record
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Point


class Verdict(StrEnum):
    """Outcome of a claim or of a report."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


Role = Literal["primary", "guard", "shown"]
"""`primary`: the report passes only when it passes, fails when it fails. `guard`: the report fails when it fails.
`shown`: says something and decides nothing."""

Part = Literal["accuracy", "performance"]

Family = Literal["score", "flips", "answers", "published", "load", "load guard"]
"""What lines are corrected together. `score`: columns and their average. `flips`: right answers lost, beyond those that
noise loses. `answers`: unparsed and unfinished answers. `published`: against the published difference. `load`: the
figures under load that decide. `load guard`: all others under load."""


class Bounds(Record):
    """One-sided confidence bounds, each at the policy's confidence."""

    low: float | None = Field(description="lower bound; None: unbounded")
    high: float | None = Field(description="upper bound; None: unbounded")
    method: str = Field(description="how they were made, one phrase")


class Flips(Record):
    """Items whose 0/1 score changed sides, and how many of them noise explains."""

    n: int = Field(description="items both sides answered", ge=0)
    lost: int = Field(description="right to wrong", ge=0)
    gained: int = Field(description="wrong to right", ge=0)
    mcnemar_p: float | None = Field(None, description="exact two-sided p that flips fall either way alike")
    floor_flips: int | None = Field(None, description="flips between two answers of one engine; None: not measured")
    floor_n: int | None = Field(None, description="items answered twice; None: not measured")
    floor_rate: float | None = Field(
        None, description="flip rate that counts as noise: measured, else the policy's; None: unknown"
    )


@dataclass(frozen=True)
class Claim:
    """What is claimed: a figure of the candidate is not worse than the reference's by more than a margin.

    Attributes:
        metric: score, flips, changes, unparsed, unfinished, or a key of METRICS.
        where: column key, point id, or `macro`, `all columns`, `all points`.
        scale: the effect is candidate − reference, or candidate / reference.
        strict: FAIL says that it is worse by more than the margin; else that it is worse, and seems to be by more.
    """

    part: Part
    family: Family
    role: Role
    metric: str
    title: str
    where: str
    reference: ReferenceKind
    reference_arm: Arm
    candidate_arm: Arm
    scale: Literal["difference", "ratio"]
    worse: Literal["lower", "higher"]
    margin: float
    n_unit: Literal["items", "pairs of trials", "trials"] = "items"
    unit: Literal["share", "points of the metric"] = "share"
    point: Point | None = None
    strict: bool = True

    @property
    def line_id(self) -> str:
        """A stable name."""
        return f"{self.part}/{self.where}/{self.metric}/{self.candidate_arm}/{self.reference}"

    @property
    def limit(self) -> float:
        """The effect at which tolerance ends."""
        zero = 1.0 if self.scale == "ratio" else 0.0
        return zero + self.margin if self.worse == "higher" else zero - self.margin

    def is_worse(self, one: float, than: float) -> bool:
        """Whether one effect is worse than another."""
        return one > than if self.worse == "higher" else one < than


@dataclass(frozen=True)
class Measured:
    """What the records say of a claim, before anything is decided.

    Attributes:
        effect, low, high: on the claim's scale; bounds one-sided at the policy's level. None: the data allow none.
        p_fail: one-sided p of what a FAIL refutes; None where it cannot be computed.
        no_pass, no_fail: the rule that forbids the word, one sentence.
        why_open: why bounds are absent, or wider than sampling makes them.
        needed: level -> n that would decide with 80 % power if the effect were the one seen.
        to_find: level -> trials that find a change of twice the margin with 90 % power, with the noise seen.
    """

    effect: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""
    n: int = 0
    p_fail: float | None = None
    reference_value: float | None = None
    candidate_value: float | None = None
    reference_trials: tuple[float, ...] = ()
    candidate_trials: tuple[float, ...] = ()
    flips: Flips | None = None
    published_delta: float | None = None
    no_pass: str | None = None
    no_fail: str | None = None
    why_open: str | None = None
    needed: Callable[[float], int | None] | None = None
    to_find: Callable[[float], int | None] | None = None


@dataclass(frozen=True)
class Draft:
    """A claim and what the records say of it."""

    claim: Claim
    measured: Measured


class Line(Record):
    """One claim: a figure of the candidate against a reference, its uncertainty and the verdict.

    `effect` is candidate − reference in the metric's unit (`scale` difference), or candidate / reference (`scale`
    ratio). The bounds and `limit` are on the same scale. PASS: the bounds lie whole on the good side of `limit`. FAIL:
    for scores, answers and published differences they lie whole on the bad side; for flips and figures under load the
    effect is beyond `limit` and it did get worse; both with the corrected p. The effect of flips is the share of items
    lost beyond those that noise loses: half of the flips between two answers of one engine, and where that rate is not
    known as many as were gained.
    """

    line_id: str = Field(description="stable name, e.g. accuracy/gsm8k/score/swiftkv/reference run")
    part: Part = Field(description="which half of the report")
    family: Family = Field(description="lines that are corrected together")
    role: Role = Field(description="what the verdict counts for")
    metric: str = Field(description="score, flips, changes, unparsed, unfinished, or a key of METRICS")
    title: str = Field(description="what is compared, in words: GSM8K, or TTFT mean")
    where: str = Field(description="column key, point id, or `macro`, `all columns`, `all points`")
    point: Point | None = Field(None, description="the load point of a cell")
    reference: ReferenceKind = Field(description="what the candidate is held against")
    reference_arm: Arm = Field(description="arm on the reference side")
    candidate_arm: Arm = Field(description="arm on the candidate side")
    scale: Literal["difference", "ratio"] = Field(description="what `effect` is")
    unit: Literal["share", "points of the metric"] = Field(
        "share", description="of a difference: share of one, or the metric's own unit (BLEU, perplexity)"
    )
    worse: Literal["lower", "higher"] = Field(description="direction in which the effect is worse")
    reference_value: float | None = Field(None, description="figure of the reference: share, seconds, per second")
    candidate_value: float | None = Field(None, description="figure of the candidate")
    effect: float | None = Field(None, description="None where it could not be computed; `reason` says why")
    bounds: Bounds | None = Field(None, description="None where the data allow none; `reason` says why")
    margin: float = Field(description="tolerated change for the worse: share of one (difference), relative (ratio)")
    limit: float = Field(description="the effect at which tolerance ends")
    n: int = Field(description="items, pairs of trials, or trials of the smaller side", ge=0)
    n_unit: Literal["items", "pairs of trials", "trials"] = Field(description="what n counts")
    p_fail: float | None = Field(
        None,
        description="one-sided p of `not worse than the margin` (scores, answers), `no more lost than noise loses` "
        "(flips) or `not worse at all` (under load); small means worse",
    )
    p_fail_corrected: float | None = Field(None, description="the same, corrected over the report's claims")
    verdict: Verdict = Field(description="PASS, FAIL or INCONCLUSIVE")
    n_to_decide: int | None = Field(
        None, description="n that would decide with 80 % power if the effect were the one seen; None when decided"
    )
    n_to_find: int | None = Field(
        None,
        description="trials with which this report would find a change of twice the margin in 90 of 100 cases, with "
        "the noise seen; None without a figure of noise",
    )
    reason: str | None = Field(None, description="why it is undecided, one sentence")
    flips: Flips | None = Field(None, description="of accuracy lines over 0/1 scores")
    published_delta: float | None = Field(None, description="published candidate − baseline; reference `published`")
    reference_trials: tuple[float, ...] = Field((), description="figure of each trial, in order of repeats")
    candidate_trials: tuple[float, ...] = Field((), description="the same of the candidate")

    @property
    def fails(self) -> bool:
        """Whether it makes the report fail."""
        return self.verdict is Verdict.FAIL and self.role != "shown"
