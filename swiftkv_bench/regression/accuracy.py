"""Lines of accuracy: columns and their average, and what answers did."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from swiftkv_bench.analysis.published import MACRO, published_rows
from swiftkv_bench.analysis.values import Published
from swiftkv_bench.regression.answers import all_flips_line, column_flips, flip_line, unanswered_line
from swiftkv_bench.regression.claims import accuracy_line
from swiftkv_bench.regression.columns import ColumnPair, column_pair
from swiftkv_bench.regression.comparison import Bounds, Line
from swiftkv_bench.regression.evidence import Evidence
from swiftkv_bench.regression.pairs import Pair
from swiftkv_bench.regression.policy import AccuracyPolicy, Policy
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.stats.items import ItemDelta, item_weights, mean_delta
from swiftkv_bench.stats.verdicts import NonInferiority, Verdict, non_inferiority, sequential_non_inferiority


@dataclass
class AccuracyLines:
    """Columns and lines of one pair of arms."""

    pair: Pair
    columns: list[ColumnPair] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


def accuracy_lines(pair: Pair, policy: Policy) -> AccuracyLines:
    """Every accuracy line of a pair; none when either side has no accuracy part.

    Raises:
        IncomparableError: an item has another document, prompt or target on the other side.
        InputError: a column was answered by both sides and they share no item.
    """
    out = AccuracyLines(pair)
    plan = pair.candidate.manifest.plan.accuracy
    if plan is None or pair.reference.manifest.plan.accuracy is None:
        return out
    for column in plan.columns:
        margin = _margin(column, policy.accuracy)
        found = column_pair(pair, column, plan, margin)
        if found is not None:
            out.columns.append(found)
            out.lines += _column_lines(pair, found, policy)
        elif (column.name, pair.reference_arm, 0) in pair.reference.answers:
            reason = "the candidate has no answer to this column"
            line = accuracy_line(pair, "score", "score", column.name, column.title, margin=margin, n=0)
            out.lines.append(line.model_copy(update={"reason": reason}))
    out.lines += _macro_lines(pair, out.columns, plan, policy)
    return out


def published_lines(candidate: Evidence, policy: Policy) -> Iterator[Line]:
    """The candidate's SwiftKV − baseline, held against the published difference of the same models."""
    plan = candidate.manifest.plan.accuracy
    if plan is None or "published" not in policy.references:
        return
    rows = published_rows(candidate.manifest, plan)
    pair = Pair("published", candidate, "baseline", candidate, "swiftkv", "guard", same_weights=False)
    deltas = []
    for column in plan.columns if rows else ():
        found = column_pair(pair, column, plan, _margin(column, policy.accuracy))
        if found is not None and column.name in rows:
            deltas.append(found.delta)
            line = _published_line(
                pair, column.name, column.title, found.delta, rows[column.name], found.margin, policy
            )
            yield _allowed(line.model_copy(update=_means(found)), found)
    macro = mean_delta(deltas) if MACRO in rows and len(deltas) == len(plan.columns) > 1 else None
    if macro is not None:
        margin = _macro_margin(plan, policy.accuracy)
        yield _published_line(pair, "macro", f"average of {len(deltas)}", macro, rows[MACRO], margin, policy)


def _column_lines(pair: Pair, found: ColumnPair, policy: Policy) -> Iterator[Line]:
    name, title = found.column.name, found.column.title
    if found.looked_share is None:
        verdict = non_inferiority(found.delta, found.margin, policy.alpha)
    else:
        verdict = sequential_non_inferiority(found.delta, found.margin, found.looked_share, policy.alpha)
    flips = column_flips(found, policy)
    line = _score_line(pair, name, title, found.delta, verdict)
    yield _allowed(line.model_copy(update=_means(found) | {"flips": flips}), found)
    if pair.same_weights and flips is not None:
        yield flip_line(pair, name, f"{title} flips", flips, policy)
    if found.candidate.generated:
        yield unanswered_line(pair, found, "unparsed", policy)
        yield unanswered_line(pair, found, "unfinished", policy)


def _macro_lines(pair: Pair, columns: list[ColumnPair], plan: AccuracyPlan, policy: Policy) -> Iterator[Line]:
    if len(columns) < 2:
        return
    delta = mean_delta([c.delta for c in columns])
    if delta is not None:
        margin = _macro_margin(plan, policy.accuracy)
        verdict = non_inferiority(delta, margin, policy.alpha)
        line = _score_line(pair, "macro", f"average of {len(columns)}", delta, verdict)
        means = [_means(c) for c in columns]
        ends = {key: float(np.mean([one[key] for one in means])) for key in means[0]}
        early = any(c.looked_share is not None for c in columns)
        yield (
            _undecided(line.model_copy(update=ends), "a column ended early, on a verdict of its own")
            if early
            else (line.model_copy(update=ends))
        )
    if pair.same_weights:
        yield from all_flips_line(pair, columns, policy)


def _score_line(pair: Pair, where: str, title: str, delta: ItemDelta, verdict: NonInferiority) -> Line:
    method = "" if delta.interval is None else delta.interval.method
    bounds = None
    if verdict.low is not None and verdict.high is not None:
        bounds = Bounds(low=verdict.low, high=verdict.high, method=method)
    line = accuracy_line(pair, "score", "score", where, title, margin=verdict.margin, n=delta.n)
    return line.model_copy(
        update={
            "effect": delta.delta,
            "bounds": bounds,
            "p_fail": verdict.p_fail,
            "verdict": verdict.verdict,
            "n_to_decide": verdict.n_to_decide,
            "reason": None if bounds is not None else "one item has no standard error",
        }
    )


def _published_line(
    pair: Pair, where: str, title: str, delta: ItemDelta, row: Published, margin: float, policy: Policy
) -> Line:
    """Effect: measured difference − published difference."""
    published = row.candidate - row.baseline
    found = delta.bound(policy.alpha)
    line = accuracy_line(pair, "score", "score", where, title, margin=margin, n=delta.n)
    if found is None:
        return line.model_copy(update={"reason": "one item has no standard error", "published_delta": published})
    low, high = found[0] - published, found[1] - published
    verdict = Verdict.PASS if low > -margin else Verdict.FAIL if high < -margin else Verdict.INCONCLUSIVE
    method = "" if delta.interval is None else delta.interval.method
    return line.model_copy(
        update={
            "effect": delta.delta - published,
            "bounds": Bounds(low=low, high=high, method=f"{method}; the published difference taken as exact"),
            "p_fail": delta.p_at_most(published - margin),
            "verdict": verdict,
            "published_delta": published,
        }
    )


def _allowed(line: Line, found: ColumnPair) -> Line:
    """The figures stand; a claim stands when noise and coverage allow it.

    Where two answers of the same model differ by as much as the margin, a FAIL needs a drop beyond that noise too.
    """
    if found.withheld is None:
        return line
    if line.verdict is Verdict.FAIL and line.bounds is not None and line.bounds.high < -(found.noise or 0.0):
        return line
    return _undecided(line, found.withheld)


def _undecided(line: Line, reason: str) -> Line:
    return line.model_copy(
        update={"verdict": Verdict.INCONCLUSIVE, "p_fail": None, "n_to_decide": None, "reason": reason}
    )


def _means(found: ColumnPair) -> dict[str, float]:
    """Scores of both sides on the common items, weighted as the column asks."""
    weights = item_weights([task for task, _ in found.candidate.keys], found.column.weight_by)
    return {
        "reference_value": float(weights @ found.reference.score),
        "candidate_value": float(weights @ found.candidate.score),
    }


def _margin(column: Column, policy: AccuracyPolicy) -> float:
    return policy.columns.get(column.name, column.margin if policy.margin is None else policy.margin)


def _macro_margin(plan: AccuracyPlan, policy: AccuracyPolicy) -> float:
    return plan.macro_margin if policy.macro_margin is None else policy.macro_margin
