"""What is said of answers: columns, comparisons of arms, single items."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, ColumnState, ScoringMethod
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.stats.items import ItemDelta, Score
from swiftkv_bench.stats.missing import Missing
from swiftkv_bench.stats.verdicts import NonInferiority, Verdict


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
        means: reference's and candidate's score over the items that both answered; their difference is `delta`'s.
        verdict: against the column's margin; None for `noise`, and for an average over columns that ended early. FAIL
            stands after Holm's correction over the columns of its kind.
        p_fail_holm: p of a drop beyond the margin, Holm-adjusted over the columns of its kind; None without an error.
        excess: of `engine` where there is an A/A run: share of items whose score changes, beyond the share that
            changes between two runs of the baseline; its verdict is part of `verdict`.
        missing: planned items without an answer on either side; the verdict holds whatever they would have scored.
            None when there are none, or the column ended early.
    """

    kind: ComparisonKind
    means: tuple[float, float]
    delta: ItemDelta
    verdict: NonInferiority | None
    p_fail_holm: float | None = None
    excess: NonInferiority | None = None
    missing: Missing | None = None


@dataclass(frozen=True)
class Published:
    """A published pair of rows for a column, shares of one."""

    model: str
    baseline: float
    candidate: float
    source: str
    status: str


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
        verdicts: over all columns and the macro average, one a kind.
        items: every flip, then a seeded sample of the others, up to a limit; `items_total` says of how many.
    """

    run_id: str
    plan: AccuracyPlan
    columns: tuple[ColumnResult, ...]
    macro: Macro | None
    verdicts: dict[ComparisonKind, Verdict]
    items: tuple[ItemView, ...]
    items_total: int
    flips_total: int
