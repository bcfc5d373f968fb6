"""Lines of accuracy: columns and their average, flips against the noise floor, unparsed and unfinished answers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swiftkv_bench.analysis.published import MACRO, published_rows
from swiftkv_bench.analysis.values import Published
from swiftkv_bench.checks import Finding, check_chance, check_margin
from swiftkv_bench.errors import IncomparableError, InputError
from swiftkv_bench.regression.comparison import Bounds, Family, Flips, Line, Role
from swiftkv_bench.regression.evidence import Answers, Evidence, Key
from swiftkv_bench.regression.pairs import Pair
from swiftkv_bench.regression.policy import AccuracyPolicy, Policy
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.schema.perf import Float
from swiftkv_bench.stats.flips import FlipExcess, flip_excess
from swiftkv_bench.stats.items import ItemDelta, compare_items, mean_delta, score
from swiftkv_bench.stats.verdicts import NonInferiority, Verdict, non_inferiority

_PRINTS = ("document", "prompt", "target")


@dataclass(frozen=True)
class ColumnPair:
    """One column of a pair: the items that both sides answered, in the same order.

    Attributes:
        floor: (flips, items) between two answers of the original model; None when there are none.
        withheld: why the column can claim nothing; None when it can.
    """

    column: Column
    reference: Answers
    candidate: Answers
    delta: ItemDelta
    floor: tuple[int, int] | None
    withheld: str | None
    margin: float


@dataclass
class AccuracyLines:
    """Lines of one pair of arms."""

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
        found, missing = _column_pair(pair, column, plan, policy)
        if found is not None:
            out.columns.append(found)
            out.lines += _column_lines(pair, found, policy)
        elif missing is not None:
            out.lines.append(missing)
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
        found, _ = _column_pair(pair, column, plan, policy)
        if found is not None and column.name in rows:
            deltas.append(found.delta)
            ends = found.reference.score.mean(), found.candidate.score.mean()
            line = _published_line(
                pair, column.name, column.title, found.delta, rows[column.name], found.margin, policy
            )
            yield _withheld(line.model_copy(update=_values(*ends)), found.withheld)
    macro = mean_delta(deltas) if MACRO in rows and len(deltas) == len(plan.columns) > 1 else None
    if macro is not None:
        margin = _macro_margin(plan, policy.accuracy)
        yield _published_line(pair, "macro", f"average of {len(deltas)}", macro, rows[MACRO], margin, policy)


def _column_pair(
    pair: Pair, column: Column, plan: AccuracyPlan, policy: Policy
) -> tuple[ColumnPair | None, Line | None]:
    """The column's common items; or a line that says what is missing on the candidate."""
    reference = pair.reference.answers.get((column.name, pair.reference_arm, 0))
    candidate = pair.candidate.answers.get((column.name, pair.candidate_arm, 0))
    if reference is None:
        return None, None
    margin = _margin(column, policy.accuracy)
    if candidate is None:
        reason = "the candidate has no answer to this column"
        return None, _line(pair, "score", "score", column.name, column.title, margin, 0, reason=reason)
    rows = _common(column.name, pair, reference, candidate)
    ours, theirs = candidate.at([j for _, j in rows]), reference.at([i for i, _ in rows])
    tasks = [task for task, _ in ours.keys]
    delta = compare_items(theirs.score, ours.score, tasks, column.weight_by, seed=plan.seed)
    floor = _floor(column.name, pair)
    withheld = _cannot_claim(column, pair, theirs, ours, margin, len(reference))
    return ColumnPair(column, theirs, ours, delta, floor, withheld, margin), None


def _common(column: str, pair: Pair, reference: Answers, candidate: Answers) -> list[tuple[int, int]]:
    """Rows of the items that both answered.

    Raises:
        IncomparableError, InputError: as `accuracy_lines`.
    """
    at = {key: i for i, key in enumerate(reference.keys)}
    rows = [(at[key], j) for j, key in enumerate(candidate.keys) if key in at]
    labels = f"{pair.reference.side.label} and {pair.candidate.side.label}"
    if not rows:
        raise InputError(
            f"{labels} answered no common item of {column} ({len(reference):,} and {len(candidate):,} items); run both "
            "with the same --seed and --limit"
        )
    index = np.array(rows)
    differs = reference.prints[index[:, 0]] != candidate.prints[index[:, 1]]
    if differs.any():
        first, which = (int(x) for x in np.argwhere(differs)[0])
        task, doc_id = candidate.keys[int(index[first, 1])]
        count = int(differs.any(axis=1).sum())
        raise IncomparableError(
            f"{_PRINTS[which]}_hash",
            f"{column}: {count:,} of {len(rows):,} items have another {_PRINTS[which]} in {labels} (first: "
            f"{task}/{doc_id}), so scores do not pair; answer both with the same suite, data and tokenizer",
        )
    return rows


def _floor(column: str, pair: Pair) -> tuple[int, int] | None:
    """(flips, items) of the original model against itself, in the reference's run, else in the candidate's."""
    for side in (pair.reference, pair.candidate):
        first, second = (side.answers.get((column, "baseline", repeat)) for repeat in (0, 1))
        if first is not None and second is not None and _binary(first.score) and _binary(second.score):
            again = {key: float(second.score[i]) for i, key in enumerate(second.keys)}
            both = [(float(first.score[i]), again[key]) for i, key in enumerate(first.keys) if key in again]
            if both:
                return sum(a != b for a, b in both), len(both)
    return None


def _noise(column: str, pair: Pair) -> ItemDelta | None:
    for side in (pair.reference, pair.candidate):
        first, second = (side.answers.get((column, "baseline", repeat)) for repeat in (0, 1))
        if first is not None and second is not None and first.keys == second.keys:
            return compare_items(first.score, second.score, [task for task, _ in first.keys])
    return None


def _cannot_claim(
    column: Column, pair: Pair, reference: Answers, candidate: Answers, margin: float, answered: int
) -> str | None:
    """Why no claim is made on the column."""
    scores = [score(side.score, [task for task, _ in side.keys], column.weight_by) for side in (reference, candidate)]
    noise = _noise(column.name, pair)
    findings: list[Finding | None] = [
        check_chance(column.name, column.chance, scores),
        None if noise is None else check_margin(column.name, noise, margin),
    ]
    found = next((f.message for f in findings if f is not None), None)
    status = next(
        (s for s in pair.candidate.statuses if (s.column, s.arm, s.repeat) == (column.name, pair.candidate_arm, 0)),
        None,
    )
    if found is None and status is not None and status.status == "incomplete" and len(candidate) < answered:
        return f"The candidate answered only {len(candidate):,} of {answered:,} items: {status.reason}"
    return found


def _column_lines(pair: Pair, found: ColumnPair, policy: Policy) -> Iterator[Line]:
    name, title = found.column.name, found.column.title
    verdict = non_inferiority(found.delta, found.margin, policy.alpha)
    line = _score_line(pair, "score", name, title, found.delta, verdict, found.margin)
    update = _values(found.reference.score.mean(), found.candidate.score.mean()) | {"flips": _flips(found, policy)}
    if found.column.weight_by != "item":
        update |= _values(None, None)
    yield _withheld(line.model_copy(update=update), found.withheld)
    flips = _flips(found, policy)
    if pair.same_weights and flips is not None:
        yield _flip_line(pair, name, f"{title} flips", flips, policy)
    if found.candidate.generated:
        for metric in ("unparsed", "unfinished"):
            yield _answer_line(pair, found, metric, policy)


def _macro_lines(pair: Pair, columns: list[ColumnPair], plan: AccuracyPlan, policy: Policy) -> Iterator[Line]:
    if len(columns) < 2:
        return
    delta = mean_delta([c.delta for c in columns])
    if delta is not None:
        margin = _macro_margin(plan, policy.accuracy)
        verdict = non_inferiority(delta, margin, policy.alpha)
        title = f"average of {len(columns)}"
        line = _score_line(pair, "score", "macro", title, delta, verdict, margin)
        ends = [float(np.mean([side.score.mean() for side in sides])) for sides in _sides(columns)]
        yield line.model_copy(update=_values(*ends))
    counted = [(flips, c.floor) for c in columns if (flips := _flips(c, policy)) is not None]
    if pair.same_weights and len(counted) > 1:
        floors = [floor for _, floor in counted if floor is not None]
        floor = (sum(f for f, _ in floors), sum(n for _, n in floors)) if len(floors) == len(counted) else None
        n = sum(f.n for f, _ in counted)
        lost, gained = sum(f.lost for f, _ in counted), sum(f.gained for f, _ in counted)
        excess = flip_excess(lost + gained, n, floor, policy.accuracy.flip_floor)
        whole = _flips_of(n, lost, gained, None, excess)
        yield _flip_line(pair, "all columns", "flips of all columns", whole, policy)


def _sides(columns: list[ColumnPair]) -> tuple[list[Answers], list[Answers]]:
    return [c.reference for c in columns], [c.candidate for c in columns]


def _score_line(
    pair: Pair, metric: str, where: str, title: str, delta: ItemDelta, verdict: NonInferiority, margin: float
) -> Line:
    method = "" if delta.interval is None else delta.interval.method
    bounds = None
    if verdict.low is not None and verdict.high is not None:
        bounds = Bounds(low=verdict.low, high=verdict.high, method=method)
    return _line(pair, "score", metric, where, title, margin, delta.n).model_copy(
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
    line = _line(pair, "score", "score", where, title, margin, delta.n)
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


def _flip_line(pair: Pair, where: str, title: str, flips: Flips, policy: Policy) -> Line:
    floor = None if flips.floor_n is None or flips.floor_flips is None else (flips.floor_flips, flips.floor_n)
    found = flip_excess(flips.lost + flips.gained, flips.n, floor, policy.accuracy.flip_floor)
    margin, (low, high) = policy.accuracy.flip_margin, found.bounds(policy.alpha)
    if found.p_more <= policy.alpha and found.excess > margin:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.PASS if high < margin else Verdict.INCONCLUSIVE
    method = "Wilson bounds, noise floor assumed" if floor is None else "Newcombe bounds against measured A/A flips"
    role: Role = "guard" if pair.role == "primary" else pair.role
    return _line(pair, "flips", "flips", where, title, margin, flips.n, role=role, worse="higher").model_copy(
        update={
            "reference_value": found.floor_rate,
            "candidate_value": found.flips / found.n,
            "effect": found.excess,
            "bounds": Bounds(low=low, high=high, method=method),
            "p_fail": found.p_more,
            "verdict": verdict,
            "n_to_decide": found.n_to_decide(margin, policy.alpha) if verdict is Verdict.INCONCLUSIVE else None,
            "flips": flips,
        }
    )


def _answer_line(pair: Pair, found: ColumnPair, metric: str, policy: Policy) -> Line:
    """Rise of unparsed or unfinished answers on the same items."""
    before, after = (getattr(side, metric).astype(float) for side in (found.reference, found.candidate))
    delta = compare_items(1 - before, 1 - after, [found.column.name] * len(before))
    margin = policy.accuracy.unanswered_margin
    verdict = non_inferiority(delta, margin, policy.alpha)
    role: Role = "guard" if pair.role == "primary" else pair.role
    title = f"{found.column.title} {metric} answers"
    line = _line(pair, "answers", metric, found.column.name, title, margin, delta.n, role=role, worse="higher")
    bounds = None
    if verdict.low is not None and verdict.high is not None:
        bounds = Bounds(low=-verdict.high, high=-verdict.low, method="paired score interval (Tango)")
    return line.model_copy(
        update=_values(before.mean(), after.mean())
        | {
            "effect": -delta.delta,
            "bounds": bounds,
            "p_fail": verdict.p_fail,
            "verdict": verdict.verdict,
            "n_to_decide": verdict.n_to_decide,
        }
    )


def _flips(found: ColumnPair, policy: Policy) -> Flips | None:
    """None for continuous scores."""
    d = found.delta
    if d.lost is None or d.gained is None:
        return None
    excess = flip_excess(d.lost + d.gained, d.n, found.floor, policy.accuracy.flip_floor)
    return _flips_of(d.n, d.lost, d.gained, d.mcnemar_p, excess)


def _flips_of(n: int, lost: int, gained: int, p: float | None, excess: FlipExcess) -> Flips:
    floor = excess.floor
    return Flips(
        n=n, lost=lost, gained=gained, mcnemar_p=p,
        floor_flips=None if floor is None else floor[0],
        floor_n=None if floor is None else floor[1],
        floor_rate=excess.floor_rate,
    )  # fmt: skip


def _line(
    pair: Pair,
    family: Family,
    metric: str,
    where: str,
    title: str,
    margin: float,
    n: int,
    *,
    role: Role | None = None,
    worse: str = "lower",
    reason: str | None = None,
) -> Line:
    """An undecided line, to be filled in."""
    return Line(
        line_id=f"accuracy/{where}/{metric}/{pair.candidate_arm}/{pair.kind}",
        part="accuracy",
        family=family,
        role=pair.role if role is None else role,
        metric=metric,
        title=title,
        where=where,
        reference=pair.kind,
        reference_arm=pair.reference_arm,
        candidate_arm=pair.candidate_arm,
        scale="difference",
        worse="lower" if worse == "lower" else "higher",
        margin=margin,
        limit=-margin if worse == "lower" else margin,
        n=n,
        n_unit="items",
        verdict=Verdict.INCONCLUSIVE,
        reason=reason,
    )


def _withheld(line: Line, reason: str | None) -> Line:
    """The figures stand; the claim does not."""
    if reason is None:
        return line
    return line.model_copy(
        update={"verdict": Verdict.INCONCLUSIVE, "p_fail": None, "n_to_decide": None, "reason": reason}
    )


def _values(reference: float | None, candidate: float | None) -> dict[str, Any]:
    return {
        "reference_value": None if reference is None else float(reference),
        "candidate_value": None if candidate is None else float(candidate),
    }


def _margin(column: Column, policy: AccuracyPolicy) -> float:
    return policy.columns.get(column.name, column.margin if policy.margin is None else policy.margin)


def _macro_margin(plan: AccuracyPlan, policy: AccuracyPolicy) -> float:
    return plan.macro_margin if policy.macro_margin is None else policy.macro_margin


def _binary(values: Float) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def flipped_keys(found: ColumnPair) -> list[tuple[Key, float, float]]:
    """(item, reference's score, candidate's score) of every item whose score differs."""
    changed = np.flatnonzero(found.reference.score != found.candidate.score)
    return [
        (found.candidate.keys[i], float(found.reference.score[i]), float(found.candidate.score[i])) for i in changed
    ]
