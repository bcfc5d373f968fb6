"""From answers and a judgement to columns: scores, differences with their verdicts, and the items worth reading."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from swiftkv_bench.advice import ASKED
from swiftkv_bench.analysis.item_views import item_view
from swiftkv_bench.analysis.values import (
    AccuracyAnalysis,
    ColumnArm,
    ColumnResult,
    Comparison,
    ComparisonKind,
    ItemView,
    Macro,
)
from swiftkv_bench.checks import (
    Finding,
    check_answers,
    check_margin,
    check_missing,
    check_noticed,
    check_reached,
    check_unparsed,
)
from swiftkv_bench.evidence.answers import Answers, Key, common_rows
from swiftkv_bench.evidence.coverage import coverage
from swiftkv_bench.evidence.published import MACRO, published_rows
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.accuracy import AccuracyClaims, Average
from swiftkv_bench.judge.columns import ColumnPair, better_scores, difference, figure_of, guessing, sign, turned
from swiftkv_bench.judge.judgement import Judgement
from swiftkv_bench.judge.policy import ReferenceKind
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, ItemRecord
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.stats.items import Score, score

ITEMS_SHOWN = 4_000
"""Items kept for the browser, flips first."""

_KINDS: Mapping[tuple[ReferenceKind, Arm], ComparisonKind] = {
    ("baseline arm", "swiftkv"): "total",
    ("baseline arm", "swiftkv-full"): "model",
    ("full depth", "swiftkv"): "engine",
}


def analyse_accuracy(
    run: Evidence, plan: AccuracyPlan, judgement: Judgement | None
) -> tuple[AccuracyAnalysis, list[Finding]]:
    """All columns of a run and what stands against their figures; texts of shown items are read from its folder."""
    published = published_rows(run.manifest, plan)
    judged = {} if judgement is None else {_KINDS[p.pair.kind, p.pair.candidate_arm]: p for p in judgement.compared}
    columns: list[ColumnResult] = []
    findings: list[Finding] = []
    for column in plan.columns:
        arms = {arm: _column_arm(run, column, arm) for arm in plan.arms}
        comparisons = _comparisons(run, column, plan, judged, judgement)
        columns.append(ColumnResult(column, arms, comparisons, published.get(column.name)))
        findings += _findings(run, column, arms, judged)
    macro = _macro(run, columns, plan, judged, judgement)
    if macro is not None:
        same = {c.column.name for c in columns if c.published is not None} == {c.column.name for c in columns}
        macro = replace(macro, published=published.get(MACRO) if same and len(macro.columns) == len(columns) else None)
        findings += _present(_unjudged_average(macro, judged))
    shown, total, flips = _shown(run, plan)
    analysis = AccuracyAnalysis(
        run_id=run.manifest.run_id,
        plan=plan,
        columns=tuple(columns),
        macro=macro,
        verdict=None if judgement is None else judgement.verdicts.accuracy,
        failed=() if judgement is None else tuple(x for x in judgement.failed if x.part == "accuracy"),
        items=shown,
        items_total=total,
        flips_total=flips,
    )
    return analysis, findings


def _column_arm(run: Evidence, column: Column, arm: Arm) -> ColumnArm:
    answers = run.answers.get((column.name, arm, 0))
    reached = coverage(column, (arm, 0), 0 if answers is None else len(answers), run.manifest, run.statuses)
    if answers is None or not len(answers):
        return ColumnArm(arm, reached.state, reached.reason, None, 0, 0, 0, ())
    cut, open_ended, unread = (int(x.sum()) for x in (answers.truncated, answers.unfinished, answers.unparsed))
    found = _score(column, answers)
    return ColumnArm(arm, reached.state, reached.reason, found, cut, open_ended, unread, answers.methods)


def _score(column: Column, answers: Answers) -> Score:
    """One arm's figure; without an error where it is no mean of items."""
    measure = column.measure
    if not measure.is_mean:
        return Score(len(answers), figure_of(column, answers), None, None)
    return score(answers.score, answers.tasks, column.weight_by, ends=(measure.low, measure.high))


def _comparisons(
    run: Evidence, column: Column, plan: AccuracyPlan, judged: Mapping[ComparisonKind, AccuracyClaims],
    judgement: Judgement | None,
) -> dict[ComparisonKind, Comparison]:  # fmt: skip
    out: dict[ComparisonKind, Comparison] = {}
    for kind, claims in judged.items():
        found = next((c for c in claims.columns if c.column.name == column.name), None)
        if found is not None and judgement is not None:
            score_line, flips = (_line(judgement, claims, column.name, m) for m in ("score", "flips"))
            effect = found.sign * found.delta.delta
            out[kind] = Comparison(
                kind, found.means, effect, found.interval, found.delta, score_line, flips, found.missing
            )
    first, second = (run.answers.get((column.name, "baseline", repeat)) for repeat in (0, 1))
    if first is not None and second is not None:
        left, right = common_rows(first, second)
        if len(left):
            once, again = first.at(left), second.at(right)
            delta, way = difference(column, once, again, plan.seed), sign(column)
            means = (figure_of(column, once), figure_of(column, again))
            out["noise"] = Comparison("noise", means, way * delta.delta, turned(delta.interval, way), delta, None)
    return out


def _line(judgement: Judgement, claims: AccuracyClaims, where: str, metric: str) -> Any:
    return judgement.line(where, metric, claims.pair.candidate_arm, claims.pair.kind)


def _findings(
    run: Evidence, column: Column, arms: Mapping[Arm, ColumnArm], judged: Mapping[ComparisonKind, AccuracyClaims]
) -> Iterator[Finding]:
    for kind, claims in judged.items():
        found = next((c for c in claims.columns if c.column.name == column.name), None)
        if found is not None:
            yield from _pair_findings(run, kind, claims, found)
    for arm, a in arms.items():
        if a.score is not None:
            n, cut, open_ended = a.score.n, a.truncated, a.unfinished
            yield from check_answers(column.name, arm, n=n, truncated=cut, unfinished=open_ended)
        yield from _present(check_reached(column.name, arm, a.status, a.reason))
    for state in run.statuses:
        if state.column == column.name and state.repeat == 0:
            yield from check_noticed(column.name, state.arm, state.notices)
    sides = [answers for arm in arms if (answers := run.answers.get((column.name, arm, 0))) is not None]
    yield from _present(guessing(column, sides))
    noise = next((c.noise for p in judged.values() for c in p.columns if c.column.name == column.name), None)
    if noise is not None:
        yield from _present(check_margin(column.name, noise, column.margin))


def _pair_findings(run: Evidence, kind: ComparisonKind, claims: AccuracyClaims, found: ColumnPair) -> Iterator[Finding]:
    arm, name, n = claims.pair.candidate_arm, found.column.name, found.delta.n
    if found.missing is not None:
        yield check_missing(name, arm, found.missing.n, found.missing.n + n)
    else:
        answered = [run.answers[name, one, 0] for one in (claims.pair.reference_arm, arm)]
        lone = sum(len(side) - n for side in answered)
        if lone:
            text = f"{lone:,} items were answered by one side of the {kind} comparison only and are not compared."
            yield Finding("unpaired-items", "note", text, ASKED, arm=arm, column=name)
    ours, theirs = int(found.candidate.unparsed.sum()), int(found.reference.unparsed.sum())
    yield from _present(check_unparsed(name, arm, n, ours, theirs))


def _macro(
    run: Evidence, columns: Sequence[ColumnResult], plan: AccuracyPlan,
    judged: Mapping[ComparisonKind, AccuracyClaims], judgement: Judgement | None,
) -> Macro | None:  # fmt: skip
    """Over the columns that every arm answered and whose figures are shares; None below two."""
    whole = [
        c
        for c in columns
        if c.column.measure.is_share and all(a.score is not None for a in c.arms.values())
    ]  # fmt: skip
    if len(whole) < 2:
        return None
    scores = {arm: float(np.mean([_upright(c, arm) for c in whole])) for arm in plan.arms}
    comparisons: dict[ComparisonKind, Comparison] = {}
    for kind, claims in judged.items():
        if claims.average is not None and judgement is not None:
            comparisons[kind] = _averaged(kind, claims.average, _line(judgement, claims, "macro", "score"))
    noise = next((p.average.noise for p in judged.values() if p.average is not None), None)
    if noise is not None:
        means = np.mean([c.comparisons["noise"].means for c in whole if "noise" in c.comparisons], axis=0).tolist()
        comparisons["noise"] = Comparison("noise", (means[0], means[1]), noise.delta, noise.interval, noise, None)
    return Macro(tuple(c.column.name for c in whole), scores, comparisons, None)


def _upright(c: ColumnResult, arm: Arm) -> float:
    """The arm's figure, turned so that more is better."""
    found = c.arms[arm].score
    value = 0.0 if found is None else found.mean
    return value if c.column.measure.higher_is_better else 1 - value


def _averaged(kind: ComparisonKind, found: Average, line: Any) -> Comparison:
    delta = found.delta
    return Comparison(kind, found.means, delta.delta, delta.interval, delta, line, None, found.missing)


def _unjudged_average(macro: Macro, judged: Mapping[ComparisonKind, AccuracyClaims]) -> Finding | None:
    total = judged.get("total")
    if total is None or total.average is None or not any(c.ended_early for c in total.average.columns):
        return None
    text = "The average has no verdict: columns that end once they are decided leave its level unknown."
    return Finding("average-not-judged", "note", text, "Run without --stop-when-decided to have one.")


def _shown(run: Evidence, plan: AccuracyPlan) -> tuple[tuple[ItemView, ...], int, int]:
    """The items for the browser, how many there are, and how many of them flipped."""
    keys, flip = _every_item(run, plan)
    flips = [key for key in keys if key in flip]
    rng = np.random.default_rng(plan.seed)
    others = sorted(key for key in keys if key not in flip)
    room = max(0, ITEMS_SHOWN - len(flips))
    kept = [flips[i] for i in sorted(rng.permutation(len(flips))[:ITEMS_SHOWN])]
    kept += [others[i] for i in sorted(rng.permutation(len(others))[:room])]
    wanted = set(kept)
    texts: dict[tuple[str, str, int], dict[Arm, ItemRecord]] = {}
    for item in run.run.items() if run.run is not None else ():
        key = (item.column, item.task, item.doc_id)
        if key in wanted and item.repeat == 0:
            texts.setdefault(key, {})[item.arm] = item
    metrics = {column.name: column.metric for column in plan.columns}
    views = tuple(item_view(texts[key], flip.get(key, "same"), metrics[key[0]]) for key in kept if key in texts)
    return views, len(keys), len(flips)


def _every_item(
    run: Evidence, plan: AccuracyPlan
) -> tuple[list[tuple[str, str, int]], dict[tuple[str, str, int], Any]]:
    """All items of the plan's columns, and which of them flipped between baseline and SwiftKV."""
    keys: list[tuple[str, str, int]] = []
    flip: dict[tuple[str, str, int], Any] = {}
    for column in plan.columns:
        sides = {(arm, repeat): answers for (name, arm, repeat), answers in run.answers.items() if name == column.name}
        every: set[Key] = set()
        every.update(*(answers.keys for answers in sides.values()))
        keys += [(column.name, *key) for key in sorted(every)]
        base, swift = sides.get(("baseline", 0)), sides.get(("swiftkv", 0))
        if base is None or swift is None:
            continue
        before = dict(zip(base.keys, better_scores(column, base).tolist(), strict=True))
        for key, after in zip(swift.keys, better_scores(column, swift).tolist(), strict=True):
            first = before.get(key)
            if first is not None and first != after and {first, after} <= {0.0, 1.0}:
                flip[column.name, *key] = "lost" if after < first else "gained"
    return keys, flip


def _present(finding: Finding | None) -> Iterator[Finding]:
    if finding is not None:
        yield finding
