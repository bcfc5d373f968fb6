"""Lines of accuracy: columns and their average, and what answers did."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from swiftkv_bench.analysis.published import MACRO, published_rows
from swiftkv_bench.analysis.values import Published
from swiftkv_bench.regression.answers import all_flips_line, column_flips, flip_line, unanswered_line
from swiftkv_bench.regression.claims import accuracy_line
from swiftkv_bench.regression.columns import ColumnPair, column_pair, who_lacks
from swiftkv_bench.regression.comparison import Bounds, Line
from swiftkv_bench.regression.evidence import Evidence
from swiftkv_bench.regression.pairs import Pair
from swiftkv_bench.regression.policy import AccuracyPolicy, Policy
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.stats.items import ItemDelta, item_weights, mean_delta
from swiftkv_bench.stats.verdicts import (
    NonInferiority,
    Verdict,
    average_non_inferiority,
    non_inferiority,
    sequential_non_inferiority,
)


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
        elif (without := who_lacks(pair, column)) is not None:
            line = accuracy_line(pair, "score", "score", column.name, column.title, margin=margin, n=0)
            out.lines.append(line.model_copy(update={"reason": f"{without} to this column"}))
    out.lines += _macro_lines(pair, out.columns, plan, policy)
    return out


def published_lines(candidate: Evidence, policy: Policy) -> Iterator[Line]:
    """The candidate's SwiftKV − baseline, held against the published difference of the same models."""
    plan = candidate.manifest.plan.accuracy
    if plan is None or "published" not in policy.references:
        return
    rows = published_rows(candidate.manifest, plan)
    pair = Pair("published", candidate, "baseline", candidate, "swiftkv", "guard", same_weights=False)
    answered: list[ColumnPair] = []
    for column in plan.columns if rows else ():
        found = column_pair(pair, column, plan, _margin(column, policy.accuracy))
        if found is not None and column.name in rows:
            answered.append(found)
            row = rows[column.name]
            verdict = _judged(found, found.margin - _difference(row), policy)
            line = _published_line(pair, column.name, column.title, found.delta, row, found.margin, verdict)
            yield _allowed(line.model_copy(update=_means(found)), found)
    if MACRO in rows and len(answered) == len(plan.columns) > 1:
        yield from _published_average(pair, answered, plan, rows[MACRO], policy)


def _published_average(
    pair: Pair, columns: list[ColumnPair], plan: AccuracyPlan, row: Published, policy: Policy
) -> Iterator[Line]:
    macro = mean_delta([c.delta for c in columns])
    if macro is not None:
        margin = _macro_margin(plan, policy.accuracy)
        verdict = _averaged(columns, macro, margin - _difference(row), policy)
        line = _published_line(pair, "macro", f"average of {len(columns)}", macro, row, margin, verdict)
        yield _average_allowed(line, columns)


def _column_lines(pair: Pair, found: ColumnPair, policy: Policy) -> Iterator[Line]:
    name, title = found.column.name, found.column.title
    verdict = _judged(found, found.margin, policy)
    flips = column_flips(found, policy)
    line = _score_line(pair, name, title, found.delta, verdict)
    yield _allowed(line.model_copy(update=_means(found) | {"flips": flips}), found)
    if pair.same_weights and flips is not None:
        yield _no_pass(flip_line(pair, name, f"{title} flips", flips, policy), found.cut_short)
    if found.candidate.generated:
        yield _no_pass(unanswered_line(pair, found, "unparsed", policy), found.cut_short)
        yield _no_pass(unanswered_line(pair, found, "unfinished", policy), found.cut_short)


def _judged(found: ColumnPair, margin: float, policy: Policy) -> NonInferiority:
    if found.looked_share is None:
        return non_inferiority(found.delta, margin, policy.alpha, found.missing)
    return sequential_non_inferiority(found.delta, margin, found.looked_share, policy.alpha, found.missing)


def _averaged(columns: list[ColumnPair], mean: ItemDelta, margin: float, policy: Policy) -> NonInferiority:
    deltas, missing = [c.delta for c in columns], [c.missing for c in columns]
    return average_non_inferiority(mean, deltas, missing, margin, policy.alpha)[0]


def _macro_lines(pair: Pair, columns: list[ColumnPair], plan: AccuracyPlan, policy: Policy) -> Iterator[Line]:
    if len(columns) < 2:
        return
    delta = mean_delta([c.delta for c in columns])
    if delta is not None:
        margin = _macro_margin(plan, policy.accuracy)
        verdict = _averaged(columns, delta, margin, policy)
        asked = "" if len(columns) == len(plan.columns) else f" of {len(plan.columns)} columns"
        line = _score_line(pair, "macro", f"average of {len(columns)}{asked}", delta, verdict)
        means = [_means(c) for c in columns]
        ends = {key: float(np.mean([one[key] for one in means])) for key in means[0]}
        yield _average_allowed(line.model_copy(update=ends), columns)
    if pair.same_weights:
        cut_short = next((c.cut_short for c in columns if c.cut_short is not None), None)
        yield from (_no_pass(line, cut_short) for line in all_flips_line(pair, columns, policy))


def _average_allowed(line: Line, columns: list[ColumnPair]) -> Line:
    if any(c.looked_share is not None for c in columns):
        return _undecided(line, "a column ended early, on a verdict of its own")
    open_columns = ", ".join(c.column.title for c in columns if c.withheld is not None)
    if line.verdict is Verdict.PASS and open_columns:
        return _undecided(line, f"a column of it can make no claim ({open_columns})")
    cut_short = [c for c in columns if c.cut_short is not None]
    if line.verdict is Verdict.INCONCLUSIVE and cut_short:
        names = ", ".join(c.column.title for c in cut_short)
        return line.model_copy(update={"reason": f"items without an answer might turn the verdict ({names})"})
    return line


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
    pair: Pair, where: str, title: str, delta: ItemDelta, row: Published, margin: float, found: NonInferiority
) -> Line:
    """Effect: measured difference − published difference; `found` is against the margin less the published one."""
    published = _difference(row)
    line = accuracy_line(pair, "score", "score", where, title, margin=margin, n=delta.n)
    if found.low is None or found.high is None:
        return line.model_copy(update={"reason": "one item has no standard error", "published_delta": published})
    method = "" if delta.interval is None else delta.interval.method
    return line.model_copy(
        update={
            "effect": delta.delta - published,
            "bounds": Bounds(
                low=found.low - published,
                high=found.high - published,
                method=f"{method}; the published difference taken as exact",
            ),
            "p_fail": found.p_fail,
            "verdict": found.verdict,
            "published_delta": published,
        }
    )


def _difference(row: Published) -> float:
    return row.candidate - row.baseline


def _allowed(line: Line, found: ColumnPair) -> Line:
    """The figures stand; a claim stands when noise and coverage allow it.

    Where two answers of the same model differ by as much as the margin, a FAIL needs a drop beyond that noise too.
    """
    if found.withheld is None:
        open_for_items = line.verdict is Verdict.INCONCLUSIVE and found.cut_short is not None
        return line.model_copy(update={"reason": found.cut_short}) if open_for_items else line
    if line.verdict is Verdict.FAIL and line.bounds is not None and line.bounds.high < -(found.noise or 0.0):
        return line
    return _undecided(line, found.withheld)


def _no_pass(line: Line, reason: str | None) -> Line:
    """A claim about the answered items alone: a defect among them is one, its absence says nothing of the others."""
    return line if reason is None or line.verdict is not Verdict.PASS else _undecided(line, reason)


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
