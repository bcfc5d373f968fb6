"""Claims about items: columns and their average, against a reference and against the published difference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from swiftkv_bench.evidence.published import MACRO, published_rows
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.answers import all_flips, column_flips, flip_claims, unanswered
from swiftkv_bench.judge.columns import ColumnPair, column_pair, who_lacks
from swiftkv_bench.judge.differences import measured
from swiftkv_bench.judge.lines import Claim, Draft, Measured
from swiftkv_bench.judge.pairs import Pair
from swiftkv_bench.judge.policy import AccuracyPolicy, Policy
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.stats.items import ItemDelta, mean_delta
from swiftkv_bench.stats.missing import Missing, mean_with_missing


@dataclass
class AccuracyClaims:
    """Columns and claims of one pair of arms; `average` is None below two columns whose figures are shares."""

    pair: Pair
    columns: list[ColumnPair] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    average: "Average | None" = None


@dataclass(frozen=True)
class Average:
    """Unweighted mean of columns whose figures are shares, each turned so that more is better.

    Attributes:
        claimed: what bounds are made from: `delta`, or the answered shares of it where items are missing.
    """

    columns: tuple[ColumnPair, ...]
    delta: ItemDelta
    claimed: ItemDelta
    missing: Missing | None
    noise: ItemDelta | None

    @property
    def means(self) -> tuple[float, float]:
        """The reference's and the candidate's average on the common items; errors count as one minus themselves."""
        ends = [[x if c.sign == 1 else 1 - x for x in c.means] for c in self.columns]
        both = np.mean(ends, axis=0).tolist()
        return both[0], both[1]


def accuracy_claims(pair: Pair, policy: Policy) -> AccuracyClaims:
    """Every accuracy claim of a pair; none when either side has no accuracy part.

    Raises:
        IncomparableError: an item has another document, prompt or target on the other side.
    """
    out = AccuracyClaims(pair)
    plan = pair.candidate.manifest.plan.accuracy
    if plan is None or pair.reference.manifest.plan.accuracy is None:
        return out
    for column in plan.columns:
        found = column_pair(pair, column, plan)
        if found is not None:
            out.columns.append(found)
            out.drafts += _column_drafts(pair, found, policy)
        elif (lacks := who_lacks(pair, column)) is not None:
            claim = score_claim(pair, column, margin_of(column, policy.accuracy))
            out.drafts.append(Draft(claim, Measured(why_open=lacks)))
    out.average = average(out.columns)
    if out.average is not None:
        title = f"average of {len(out.average.columns)}"
        title += "" if len(out.average.columns) == len(plan.columns) else f" of {len(plan.columns)} columns"
        out.drafts.append(_average_draft(pair, out.average, title, plan, policy))
    if pair.same_weights and len(out.columns) > 1:
        out.drafts += all_flips(pair, out.columns, policy)
    return out


def _column_drafts(pair: Pair, found: ColumnPair, policy: Policy) -> Iterator[Draft]:
    margin = margin_of(found.column, policy.accuracy)
    yield Draft(score_claim(pair, found.column, margin), column_measured(found, margin, policy))
    if pair.same_weights:
        yield from flip_claims(pair, found, policy)
    if found.candidate.generated:
        yield unanswered(pair, found, "unparsed", policy)
        yield unanswered(pair, found, "unfinished", policy)


def score_claim(pair: Pair, column: Column, margin: float) -> Claim:
    """A column's figure is not worse than the margin allows."""
    return _claim(pair, column.name, column.title, margin, higher=column.measure.higher_is_better,
                  share=column.measure.is_share)  # fmt: skip


def _claim(pair: Pair, where: str, title: str, margin: float, *, higher: bool = True, share: bool = True) -> Claim:
    published = pair.kind == "published"
    return Claim(
        "accuracy", "published" if published else "score", pair.role, "score", title, where, pair.kind,
        pair.reference_arm, pair.candidate_arm, "difference", "lower" if higher else "higher", margin,
        unit="share" if share else "points of the metric",
    )  # fmt: skip


def column_measured(found: ColumnPair, margin: float, policy: Policy, published: float | None = None) -> Measured:
    """What the items say of a column against a margin."""
    return measured(
        found.delta, margin, policy.alpha, means=found.means, sign=found.sign, share=found.share, missing=found.missing,
        noise=found.noise, withheld=found.guessed, published=published, why_open=found.cut_short,
        flips=column_flips(found, policy),
    )  # fmt: skip


def average(columns: Sequence[ColumnPair]) -> Average | None:
    """Over the columns whose figures are shares; None below two."""
    shares = [c for c in columns if c.column.measure.is_share]
    delta = mean_delta([c.delta for c in shares]) if len(shares) > 1 else None
    if delta is None:
        return None
    joined = mean_with_missing([c.delta for c in shares], [c.missing for c in shares])
    claimed, missing = (delta, None) if joined is None else joined
    again = [c.noise for c in shares if c.noise is not None]
    noise = mean_delta(again) if len(again) == len(shares) else None
    return Average(tuple(shares), delta, claimed, missing, noise)


def _average_draft(
    pair: Pair, found: Average, title: str, plan: AccuracyPlan, policy: Policy, published: float | None = None
) -> Draft:
    margin = plan.macro_margin if policy.accuracy.macro_margin is None else policy.accuracy.macro_margin
    cut = ", ".join(c.column.title for c in found.columns if c.missing is not None)
    return Draft(
        _claim(pair, "macro", title, margin),
        measured(
            found.delta, margin, policy.alpha, means=found.means, claimed=found.claimed, missing=found.missing,
            noise=found.noise, withheld=_average_withheld(found), published=published,
            why_open=f"items without an answer might turn the verdict ({cut})" if cut else None,
        ),
    )  # fmt: skip


def _average_withheld(found: Average) -> str | None:
    """Why an average makes no claim."""
    early = [c.column.title for c in found.columns if c.ended_early]
    if early:
        return f"a column of it ended early, on a verdict of its own ({', '.join(early)})"
    guessed = [c.column.title for c in found.columns if c.guessed is not None]
    return f"a column of it says nothing of quality ({', '.join(guessed)})" if guessed else None


def published_claims(candidate: Evidence, policy: Policy) -> Iterator[Draft]:
    """The candidate's SwiftKV − baseline, held against the published difference of the same models and suite."""
    plan = candidate.manifest.plan.accuracy
    if plan is None or "published" not in policy.references:
        return
    rows = published_rows(candidate.manifest, plan)
    pair = Pair("published", candidate, "baseline", candidate, "swiftkv", "guard", same_weights=False)
    found = [c for column in plan.columns if column.name in rows and (c := column_pair(pair, column, plan)) is not None]
    for one in found:
        margin, row = margin_of(one.column, policy.accuracy), rows[one.column.name]
        said = column_measured(one, margin, policy, row.candidate - row.baseline)
        yield Draft(score_claim(pair, one.column, margin), said)
    whole = average(found)
    if whole is not None and MACRO in rows and len(whole.columns) == len(plan.columns):
        row = rows[MACRO]
        yield _average_draft(pair, whole, f"average of {len(found)}", plan, policy, row.candidate - row.baseline)


def margin_of(column: Column, policy: AccuracyPolicy) -> float:
    """The policy's margin of a column, else the suite's."""
    return policy.columns.get(column.name, column.margin if policy.margin is None else policy.margin)
