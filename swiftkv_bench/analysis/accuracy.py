"""From recorded items to columns: scores, paired differences, verdicts, and the items worth reading."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from swiftkv_bench.analysis.comparisons import Answers, Side, compare_sides, corrected, withheld
from swiftkv_bench.analysis.coverage import Coverage, coverage, no_data
from swiftkv_bench.analysis.item_views import item_view
from swiftkv_bench.analysis.published import MACRO, published_rows
from swiftkv_bench.analysis.values import (
    SIDES,
    AccuracyAnalysis,
    ColumnArm,
    ColumnResult,
    Comparison,
    ComparisonKind,
    ItemView,
    Macro,
    Published,
)
from swiftkv_bench.checks import Finding, check_answers, check_chance, check_reached
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, ColumnStatus, ItemRecord
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.stats.items import mean_delta, score
from swiftkv_bench.stats.verdicts import Verdict, average_non_inferiority, overall

ITEMS_SHOWN = 4_000
"""Items kept for the browser, flips first."""

_Columns = dict[str, dict[Side, Answers]]


def analyse_accuracy(
    manifest: Manifest,
    plan: AccuracyPlan,
    items: Callable[[], Iterable[ItemRecord]],
    statuses: Sequence[ColumnStatus],
) -> tuple[AccuracyAnalysis, list[Finding]]:
    """All columns of a run and what stands against their figures.

    Args:
        items: gives the run's items each time it is called; read twice, so that only the shown texts are kept.

    Raises:
        IncomparableError: two arms answered different documents, prompts or targets under the same id.
    """
    answers: _Columns = {column.name: {} for column in plan.columns}
    for item in items():
        if item.column in answers:
            answers[item.column].setdefault((item.arm, item.repeat), Answers()).add(item)
    published = published_rows(manifest, plan)
    findings: list[Finding] = []
    columns = []
    for column in plan.columns:
        result, found = _column(column, manifest, plan, answers[column.name], statuses, published.get(column.name))
        columns.append(result)
        findings += found
    columns = corrected(columns)
    guessing = {f.column for f in findings if f.code == "chance-level"}
    macro, found = _macro(columns, plan, published.get(MACRO), guessing)
    findings += found
    shown, total, flips = _shown(plan, answers, items)
    analysis = AccuracyAnalysis(
        run_id=manifest.run_id,
        plan=plan,
        columns=tuple(columns),
        macro=macro,
        verdicts=_verdicts(columns, macro),
        items=shown,
        items_total=total,
        flips_total=flips,
    )
    return analysis, findings


def _column(
    column: Column,
    manifest: Manifest,
    plan: AccuracyPlan,
    sides: Mapping[Side, Answers],
    statuses: Sequence[ColumnStatus],
    published: Published | None,
) -> tuple[ColumnResult, list[Finding]]:
    wanted = {(arm, 0) for arm in plan.arms} | set(sides)
    counts = {side: len(sides[side].scores) if side in sides else 0 for side in wanted}
    reached = {side: coverage(column, side, counts[side], manifest, statuses) for side in wanted}
    arms = {arm: _column_arm(column, arm, sides.get((arm, 0)), reached[arm, 0]) for arm in plan.arms}
    comparisons, findings = compare_sides(column, plan, sides, reached)
    for arm, answered in ((arm, sides.get((arm, 0))) for arm in plan.arms):
        if answered is not None:
            n, cut, open_ended = len(answered.scores), answered.truncated, answered.unfinished
            findings += check_answers(column.name, arm, n=n, truncated=cut, unfinished=open_ended)
    scores = [found.score for found in arms.values() if found.score is not None]
    for arm, a in arms.items():
        findings += _present(check_reached(column.name, arm, a.status, a.reason))
    chance = list(_present(check_chance(column.name, column.chance, scores)))
    comparisons, below = withheld(comparisons, column.name, column.margin, guessing=bool(chance))
    return ColumnResult(column, arms, comparisons, published), [*findings, *chance, *_present(below)]


def _column_arm(column: Column, arm: Arm, answered: Answers | None, reached: Coverage) -> ColumnArm:
    if answered is None or not answered.scores:
        return ColumnArm(arm, reached.state, reached.reason, None, 0, 0, 0, ())
    keys = sorted(answered.scores)
    values = np.array([answered.scores[key] for key in keys])
    return ColumnArm(
        arm=arm,
        status=reached.state,
        reason=reached.reason,
        score=score(values, [task for task, _ in keys], column.weight_by),
        truncated=answered.truncated,
        unfinished=answered.unfinished,
        unparsed=len(answered.unparsed),
        methods=tuple(answered.methods),
    )


def _macro(
    columns: Sequence[ColumnResult], plan: AccuracyPlan, published: Published | None, guessing: Set[str | None]
) -> tuple[Macro | None, list[Finding]]:
    """Over the columns that every arm answered; None below two. Published only when it is over the same columns.

    A column that is guessed cannot lose, so an average that holds one makes no claim about weights.
    """
    whole = [c for c in columns if all(a.score is not None for a in c.arms.values())]
    if len(whole) < 2:
        return None, []
    scores = {arm: float(np.mean([c.arms[arm].score.mean for c in whole])) for arm in plan.arms}  # type: ignore[union-attr]
    comparisons: dict[ComparisonKind, Comparison] = {}
    early = any(a.status == "ended early" for c in whole for a in c.arms.values())
    for kind in SIDES:
        found = [c.comparisons[kind] for c in whole if kind in c.comparisons]
        delta = mean_delta([one.delta for one in found]) if len(found) == len(whole) else None
        if delta is not None:
            judged, missing = average_non_inferiority(
                delta, [one.delta for one in found], [one.missing for one in found], plan.macro_margin
            )
            verdict = None if kind == "noise" or early else judged
            means = np.mean([one.means for one in found], axis=0).tolist()
            comparisons[kind] = Comparison(kind, (means[0], means[1]), delta, verdict, missing=missing)
    guessed = any(c.column.name in guessing for c in whole)
    comparisons, noisy = withheld(comparisons, "average", plan.macro_margin, guessing=guessed)
    same = {c.column.name for c in whole if c.published is not None} == {c.column.name for c in columns}
    macro = Macro(tuple(c.column.name for c in whole), scores, comparisons, published if same else None)
    return macro, [*_present(_unjudged_average(macro)), *_present(noisy)]


def _unjudged_average(macro: Macro) -> Finding | None:
    if "total" not in macro.comparisons or macro.comparisons["total"].verdict is not None:
        return None
    text = "The average has no verdict: columns that end once they are decided leave its level unknown."
    return Finding("average-not-judged", "note", text, "Run without --stop-when-decided to have one.")


def _verdicts(columns: Sequence[ColumnResult], macro: Macro | None) -> dict[ComparisonKind, Verdict]:
    """All columns and the macro must pass; "all must pass" needs no correction.

    A planned column that a side did not answer is open, unless its data were not at hand.
    """
    out: dict[ComparisonKind, Verdict] = {}
    for kind in SIDES:
        found = [c.comparisons[kind].verdict for c in columns if kind in c.comparisons]
        if macro is not None and kind in macro.comparisons:
            found.append(macro.comparisons[kind].verdict)
        verdicts = [v.verdict for v in found if v is not None]
        if verdicts:
            absent = any(_is_open(c, kind) for c in columns)
            out[kind] = overall([*verdicts, Verdict.INCONCLUSIVE] if absent else verdicts)
    return out


def _is_open(c: ColumnResult, kind: ComparisonKind) -> bool:
    """Whether a comparison lacks the column although its data were at hand."""
    arms = [c.arms[arm] for arm, _ in SIDES[kind] if arm in c.arms]
    return kind not in c.comparisons and any(a.score is None and not no_data(a.status, a.reason) for a in arms)


def _shown(
    plan: AccuracyPlan, answers: _Columns, items: Callable[[], Iterable[ItemRecord]]
) -> tuple[tuple[ItemView, ...], int, int]:
    """The items for the browser, how many there are, and how many of them flipped."""
    keys = [(c, *key) for c, sides in answers.items() for key in sorted({k for a in sides.values() for k in a.scores})]
    flips = [key for key in keys if _flip(answers, *key) != "same"]
    rng = np.random.default_rng(plan.seed)
    others = sorted(set(keys) - set(flips))
    room = max(0, ITEMS_SHOWN - len(flips))
    kept = [flips[i] for i in sorted(rng.permutation(len(flips))[:ITEMS_SHOWN])]
    kept += [others[i] for i in sorted(rng.permutation(len(others))[:room])]
    wanted = set(kept)
    texts: dict[tuple[str, str, int], dict[Arm, ItemRecord]] = {}
    for item in items():
        key = (item.column, item.task, item.doc_id)
        if key in wanted and item.repeat == 0:
            texts.setdefault(key, {})[item.arm] = item
    metrics = {column.name: column.metric for column in plan.columns}
    views = tuple(item_view(texts[key], _flip(answers, *key), metrics[key[0]]) for key in kept if key in texts)
    return views, len(keys), len(flips)


def _flip(answers: _Columns, column: str, task: str, doc_id: int) -> Any:
    key, sides = (task, doc_id), answers[column]
    scores = [sides[side].scores.get(key) for side in SIDES["total"] if side in sides]
    if len(scores) != 2 or scores[0] is None or scores[1] is None or scores[0] == scores[1]:
        return "same"
    if not {scores[0], scores[1]} <= {0.0, 1.0}:
        return "same"
    return "lost" if scores[1] < scores[0] else "gained"


def _present(finding: Finding | None) -> Iterator[Finding]:
    if finding is not None:
        yield finding
