"""What is said of answers: columns, comparisons of arms, single items."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from swiftkv_bench.evidence.published import Published
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, ColumnState, ScoringMethod
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.stats.intervals import Interval
from swiftkv_bench.stats.items import ItemDelta, Score
from swiftkv_bench.stats.missing import Missing


@dataclass(frozen=True)
class ColumnArm:
    """One arm's answers to one column.

    Attributes:
        reason: why the column is not complete; None when it is.
        score: None when nothing was answered.
        truncated, unfinished, unparsed: counts of answers.
    """

    arm: Arm
    status: ColumnState
    reason: str | None
    score: Score | None
    truncated: int
    unfinished: int
    unparsed: int
    methods: tuple[ScoringMethod, ...]


ComparisonKind = Literal["total", "model", "engine", "noise"]
"""`total`: swiftkv against baseline. `model`: swiftkv-full against baseline. `engine`: swiftkv against swiftkv-full.
`noise`: the baseline's second answers against its first."""

SIDES: Mapping[ComparisonKind, tuple[tuple[Arm, int], tuple[Arm, int]]] = {
    "total": (("baseline", 0), ("swiftkv", 0)),
    "model": (("baseline", 0), ("swiftkv-full", 0)),
    "engine": (("swiftkv-full", 0), ("swiftkv", 0)),
    "noise": (("baseline", 0), ("baseline", 1)),
}
"""(reference, candidate) of each kind, as (arm, repeat)."""


@dataclass(frozen=True)
class Comparison:
    """Two arms on one column, or on the macro average.

    Attributes:
        means: reference's and candidate's figure over the items that both answered.
        effect: candidate − reference, in the metric's direction.
        interval: two-sided 95 % of it; over all looks together where the column is looked at before its end.
        delta: the same of scores of which more is better, with flips and errors.
        line: what the judge said of the score; None for `noise`, which claims nothing.
        flips: the same of flips; None where flips are no claim.
        missing: planned items without an answer on either side; the verdict holds whatever they would have scored.
            None when there are none, or the column ended early.
    """

    kind: ComparisonKind
    means: tuple[float, float]
    effect: float
    interval: Interval | None
    delta: ItemDelta
    line: Line | None
    flips: Line | None = None
    missing: Missing | None = None

    @property
    def verdict(self) -> Verdict | None:
        """The judge's word on the score; None where nothing is claimed."""
        return None if self.line is None else self.line.verdict


@dataclass(frozen=True)
class ColumnResult:
    """One column of the accuracy table."""

    column: Column
    arms: dict[Arm, ColumnArm]
    comparisons: dict[ComparisonKind, Comparison]
    published: Published | None


@dataclass(frozen=True)
class Macro:
    """Unweighted mean of the columns that every arm answered, of all that were planned or of fewer."""

    columns: tuple[str, ...]
    scores: dict[Arm, float]
    comparisons: dict[ComparisonKind, Comparison]
    published: Published | None


@dataclass(frozen=True)
class AnswerView:
    """One arm's answer as the browser shows it.

    Attributes:
        text: the generated text, or the log-likelihood of every choice, one a line.
        read: what the column's filter read from it, or the choice of the highest log-likelihood; None where that is
            not what is scored.
        unparsed: no answer could be read from the text.
    """

    score: float
    text: str
    read: str | None
    unparsed: bool


@dataclass(frozen=True)
class ItemView:
    """One item as the browser shows it: text, never markup.

    Attributes:
        prompt: without the choices, where log-likelihoods were asked.
        answers: an arm, or a side of a comparison -> its answer.
    """

    column: str
    task: str
    doc_id: int
    prompt: str | None
    target: str
    answers: Mapping[str, AnswerView]
    flip: Literal["lost", "gained", "same"]


@dataclass(frozen=True)
class AccuracyAnalysis:
    """The accuracy part of a run.

    Attributes:
        verdict: of all accuracy claims of the run; None without both arms.
        failed: claims that make it fail.
        items: every flip, then a seeded sample of the others, up to a limit; `items_total` says of how many.
    """

    run_id: str
    plan: AccuracyPlan
    columns: tuple[ColumnResult, ...]
    macro: Macro | None
    verdict: Verdict | None
    failed: tuple[Line, ...]
    items: tuple[ItemView, ...]
    items_total: int
    flips_total: int
