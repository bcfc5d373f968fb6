"""The outcome of `swiftkv-bench compare`: frozen values that renderers print and scripts read.

Everything a report of a comparison says is here, computed; `RunComparison.model_json_schema()` is its JSON Schema.

Format history:
    swiftkv-bench/comparison/1  first format.
"""

from typing import Literal

from pydantic import Field

from swiftkv_bench.checks import Severity
from swiftkv_bench.regression.policy import Policy, ReferenceKind
from swiftkv_bench.schema.base import Record
from swiftkv_bench.schema.engine import Arm, EngineSpec
from swiftkv_bench.schema.manifest import GitState, Machine
from swiftkv_bench.schema.perf import Point
from swiftkv_bench.stats.verdicts import Verdict

SCHEMA_ID: Literal["swiftkv-bench/comparison/1"] = "swiftkv-bench/comparison/1"

Role = Literal["primary", "guard", "shown"]
"""`primary`: the report passes only when it passes, fails when it fails. `guard`: the report fails when it fails.
`shown`: says something and decides nothing."""

Family = Literal["score", "flips", "answers", "overall", "cell"]
"""What lines are corrected together, each kind with an equal share of the error rate. `score`: columns and their
average. `flips`: right answers lost, beyond those that noise loses. `answers`: unparsed and unfinished answers.
`overall`: a metric's geometric mean over the load points. `cell`: a metric at one load point."""


class Side(Record):
    """One side of a comparison and where it comes from."""

    label: str = Field(description="as the command line named it")
    kind: Literal["run folder", "accepted run", "arm"] = Field(description="what was read")
    source: str = Field(description="folder it was read from")
    arm: Arm | None = Field(None, description="the arm, when one run's arms are compared; None: like arm with like")
    run_id: str = Field(description="run")
    status: Literal["running", "complete", "incomplete"] = Field(description="how far the run got")
    created_utc: str = Field(description="start of the run, ISO 8601")
    accepted_utc: str | None = Field(None, description="when it was accepted; None for a run folder")
    profile: str = Field(description="profile name")
    suite: str | None = Field(None, description="accuracy suite; None without an accuracy part")
    suite_hash: str | None = Field(None, description="its content hash")
    git: GitState | None = Field(None, description="checkout of the harness that ran")
    machine: Machine = Field(description="where it ran")
    packages: dict[str, str] = Field(description="versions of the packages that matter")
    engines: tuple[EngineSpec, ...] = Field(description="resolved configuration of every arm")
    engine_versions: dict[Arm, str] = Field({}, description="arm -> version as the server reported it")
    harness_version: str = Field(description="version of swiftkv-bench that ran")
    argv: tuple[str, ...] = Field((), description="command line that made the run, secrets redacted")


class KeyCheck(Record):
    """One thing that a comparison holds fixed, or that is known to differ."""

    key: str = Field(description="name, as --allow takes it")
    baseline: str = Field(description="value on the baseline side")
    candidate: str = Field(description="value on the candidate side")
    status: Literal["equal", "allowed", "variable", "noted"] = Field(
        description="equal; differs and --allow was given; differs and the policy names it as the variable; "
        "differs and need not be equal (package versions, commit)"
    )


class Bounds(Record):
    """One-sided confidence bounds, each at the policy's confidence."""

    low: float = Field(description="lower bound")
    high: float = Field(description="upper bound")
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


class Line(Record):
    """One claim: a figure of the candidate against a reference, its uncertainty and the verdict.

    `effect` is candidate − reference, share of one (`scale` difference), or candidate / reference (`scale` ratio).
    The bounds and `limit` are on the same scale. "Not worse than the margin" is PASS when the bounds lie whole on the
    good side of `limit`. A score FAILs when they lie whole on the bad side and the corrected p agrees; a figure under
    load when it got worse (corrected p) and the effect is beyond `limit`. The effect of flips is the share of items
    lost beyond those that noise loses: half of the flips between two answers of one engine, and where that rate is not
    known as many as were gained. They FAIL when more are lost than noise loses (corrected p) and the effect is beyond
    `limit`.
    """

    line_id: str = Field(description="stable name, e.g. accuracy/gsm8k/score/swiftkv/baseline run")
    part: Literal["accuracy", "performance"] = Field(description="which half of the report")
    family: Family = Field(description="lines that are corrected together")
    role: Role = Field(description="what the verdict counts for")
    metric: str = Field(description="score, flips, unparsed, unfinished, or a key of METRICS")
    title: str = Field(description="what is compared, in words: GSM8K, or TTFT mean")
    where: str = Field(description="column key, point id, or `macro`, `all columns`, `all points`")
    point: Point | None = Field(None, description="the load point of a cell")
    reference: ReferenceKind = Field(description="what the candidate is held against")
    reference_arm: Arm = Field(description="arm on the reference side")
    candidate_arm: Arm = Field(description="arm on the candidate side")
    scale: Literal["difference", "ratio"] = Field(description="what `effect` is")
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
    reason: str | None = Field(None, description="why it is undecided or decides nothing, one sentence")
    flips: Flips | None = Field(None, description="of accuracy lines over 0/1 scores")
    published_delta: float | None = Field(None, description="published candidate − baseline; reference `published`")
    reference_trials: tuple[float, ...] = Field((), description="figure of each trial, in order of repeats")
    candidate_trials: tuple[float, ...] = Field((), description="the same of the candidate")


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
    side: Literal["baseline", "candidate", "both"] = Field(description="which side it is about")
    where: str | None = Field(None, description="column or point; None for the whole run")
    arm: Arm | None = Field(None, description="None for all arms")


class Verdicts(Record):
    """What the report says in one word; None for a part that was not compared."""

    overall: Verdict = Field(description="FAIL if a part fails, else INCONCLUSIVE if one is, else PASS")
    accuracy: Verdict | None = Field(None, description="of the accuracy lines")
    performance: Verdict | None = Field(None, description="of the lines under load")


class RunComparison(Record):
    """A finished comparison of two runs, or of one run's two arms."""

    schema_id: Literal["swiftkv-bench/comparison/1"] = Field(SCHEMA_ID, description="format of this document")
    harness_version: str = Field(description="version of swiftkv-bench that compared")
    created_utc: str = Field(description="when it was compared, ISO 8601")
    mode: Literal["runs", "arms"] = Field(description="two runs, like arm with like; or one run's two arms")
    baseline: Side = Field(description="reference side")
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
        return tuple(line for line in self.lines if line.verdict is Verdict.FAIL and line.role != "shown")
