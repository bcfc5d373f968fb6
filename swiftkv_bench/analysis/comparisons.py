"""Two arms on one column: pairing, the difference, its verdict, and the correction over columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from swiftkv_bench.advice import ASKED
from swiftkv_bench.analysis.coverage import Coverage, missing_items
from swiftkv_bench.analysis.values import SIDES, ColumnResult, Comparison, ComparisonKind
from swiftkv_bench.checks import Finding, check_margin, check_missing, check_unparsed
from swiftkv_bench.errors import IncomparableError
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, ItemRecord, ScoringMethod
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Float
from swiftkv_bench.stats.items import ALPHA, ItemDelta, compare_items, score
from swiftkv_bench.stats.missing import Missing
from swiftkv_bench.stats.sequential import nominal_level
from swiftkv_bench.stats.verdicts import (
    NonInferiority,
    Verdict,
    both,
    holm,
    non_inferiority,
    sequential_non_inferiority,
)

Key = tuple[str, int]
Side = tuple[Arm, int]


@dataclass
class Answers:
    """One side of one column, compact: (task, doc_id) -> what comparisons need."""

    scores: dict[Key, float] = field(default_factory=dict)
    hashes: dict[Key, tuple[str, str, str]] = field(default_factory=dict)
    unparsed: set[Key] = field(default_factory=set)
    methods: dict[ScoringMethod, None] = field(default_factory=dict)
    truncated: int = 0
    unfinished: int = 0

    def add(self, item: ItemRecord) -> None:
        """Takes in one item."""
        key = (item.task, item.doc_id)
        self.scores[key] = item.score
        self.hashes[key] = (item.doc_hash, item.prompt_hash, item.target_hash)
        self.methods[item.method] = None
        self.truncated += item.truncated
        self.unfinished += item.unfinished
        if item.unparsed:
            self.unparsed.add(key)


def compare_sides(
    column: Column, plan: AccuracyPlan, sides: Mapping[Side, Answers], reached: Mapping[Side, Coverage]
) -> tuple[dict[ComparisonKind, Comparison], list[Finding]]:
    """Every comparison that the answered sides of a column allow.

    Args:
        reached: how much of the column each of them answered.

    Raises:
        IncomparableError: two sides answered different documents, prompts or targets under the same id.
    """
    found: dict[ComparisonKind, Comparison] = {}
    findings: list[Finding] = []
    for kind, (reference, candidate) in SIDES.items():
        if reference in sides and candidate in sides:
            pair = [(reached[side], sides[side].scores) for side in (reference, candidate)]
            missing = missing_items(column, *pair)
            comparison, notes = _compare(kind, column, plan, (sides[reference], sides[candidate]), missing)
            findings += notes
            if comparison is not None:
                found[kind] = comparison
    if "engine" in found and "noise" in found:
        found["engine"] = _beyond_noise(found["engine"], found["noise"], column, plan, sides)
    return found, findings


def _compare(
    kind: ComparisonKind, column: Column, plan: AccuracyPlan, pair: tuple[Answers, Answers], missing: Missing | None
) -> tuple[Comparison | None, list[Finding]]:
    reference, candidate = pair
    keys = _paired(column.name, reference, candidate)
    if not keys:
        return None, []
    tasks = [task for task, _ in keys]
    left, right = _values(reference, keys), _values(candidate, keys)
    delta = compare_items(left, right, tasks, column.weight_by, seed=plan.seed)
    verdict = None
    if kind != "noise" and plan.stop_when_decided:
        share = len(keys) / plan.planned(column)
        delta = replace(delta, tail=nominal_level(share, delta.tail))
        verdict = sequential_non_inferiority(delta, column.margin, share, missing=missing)
    elif kind != "noise":
        verdict = non_inferiority(delta, column.margin, missing=missing)
    arm = SIDES[kind][1][0]
    lone = len(reference.scores.keys() ^ candidate.scores.keys())
    notes: list[Finding | None] = []
    if missing is not None and kind != "noise":
        notes.append(check_missing(column.name, arm, missing.n, missing.n + len(keys)))
    elif lone:
        text = f"{lone:,} items were answered by one side of the {kind} comparison only and are not compared."
        notes.append(Finding("unpaired-items", "note", text, ASKED, arm=arm, column=column.name))
    if kind != "noise":
        both_sides = set(keys)
        counts = (len(candidate.unparsed & both_sides), len(reference.unparsed & both_sides))
        notes.append(check_unparsed(column.name, arm, len(keys), *counts))
    means = tuple(score(values, tasks, column.weight_by).mean for values in (left, right))
    return Comparison(kind, (means[0], means[1]), delta, verdict, missing=missing), [n for n in notes if n is not None]


def _paired(column: str, reference: Answers, candidate: Answers) -> list[Key]:
    """Keys that both sides answered, sorted.

    Raises:
        IncomparableError: a document, prompt or target differs.
    """
    keys = sorted(reference.scores.keys() & candidate.scores.keys())
    for key in keys:
        names = ("document", "prompt", "target")
        for name, a, b in zip(names, reference.hashes[key], candidate.hashes[key], strict=True):
            if a != b:
                raise IncomparableError(
                    f"{name}_hash",
                    f"{column}: item {key[0]}/{key[1]} has another {name} on one arm ({a} and {b}), so scores do not "
                    f"pair; answer both arms with the same suite, data and tokenizer",
                )
    return keys


def _values(answers: Answers, keys: Sequence[Key]) -> Float:
    return np.array([answers.scores[key] for key in keys], dtype=float)


def _beyond_noise(
    engine: Comparison, noise: Comparison, column: Column, plan: AccuracyPlan, sides: Mapping[Side, Answers]
) -> Comparison:
    """The engine comparison with a second test: more scores change than between two runs of the baseline.

    An engine defect may lose and gain alike, so that the difference stays small. Per item, the absolute change of the
    score between full depth and skipping is set against that between the two baseline runs, paired.
    """
    changes = []
    keys = sorted(set.intersection(*(set(sides[side].scores) for kind in ("engine", "noise") for side in SIDES[kind])))
    if not keys or engine.verdict is None:
        return engine
    for kind in ("noise", "engine"):
        reference, candidate = (_values(sides[side], keys) for side in SIDES[kind])
        changes.append(np.abs(candidate - reference))
    excess = compare_items(changes[1], changes[0], [task for task, _ in keys], column.weight_by, seed=plan.seed)
    missing = None
    if engine.missing is not None or noise.missing is not None:
        planned = plan.planned(column)
        missing = Missing.unknown(planned - len(keys), planned, column.weight_by)
    found = non_inferiority(excess, column.margin, missing=missing)
    return replace(engine, excess=found, verdict=both(engine.verdict, found))


def withheld(
    comparisons: Mapping[ComparisonKind, Comparison], name: str, margin: float, *, guessing: bool
) -> tuple[dict[ComparisonKind, Comparison], Finding | None]:
    """The same figures without the claims that do not hold, and the finding where noise forbids them.

    Where two runs of the baseline differ by as much as the margin, PASS falls, and so does FAIL unless the drop is
    beyond that noise too.

    Args:
        name: of the column, or `average`.
        guessing: no arm is better than guessing: no claim about weights.
    """
    noise = comparisons["noise"].delta if "noise" in comparisons else None
    below = None if noise is None else check_margin(name, noise, margin)
    out = dict(comparisons)
    for kind, comparison in comparisons.items():
        verdict = comparison.verdict
        if verdict is None:
            continue
        if (guessing and kind != "engine") or (
            noise is not None and below is not None and not _beyond(comparison, noise)
        ):
            open_verdict = replace(verdict, verdict=Verdict.INCONCLUSIVE, n_to_decide=None)
            out[kind] = replace(comparison, verdict=open_verdict)
    return out, below


def _beyond(comparison: Comparison, noise: ItemDelta) -> bool:
    """A FAIL that noise of this width cannot explain."""
    verdict, width = comparison.verdict, noise.interval
    if verdict is None or verdict.verdict is not Verdict.FAIL or width is None:
        return False
    if comparison.excess is not None and comparison.excess.verdict is Verdict.FAIL:
        return True
    return verdict.high is not None and verdict.high < -width.half_width


def corrected(columns: Sequence[ColumnResult]) -> list[ColumnResult]:
    """Adds Holm-adjusted p values over the columns, kind by kind; a FAIL whose adjusted p is above 5 % is open."""
    out = list(columns)
    for kind in SIDES:
        verdicts = {i: c.comparisons[kind].verdict for i, c in enumerate(out) if kind in c.comparisons}
        known = {i: v for i, v in verdicts.items() if v is not None and v.p_fail is not None}
        adjusted = holm([v.p_fail for v in known.values() if v.p_fail is not None])
        for (i, verdict), p in zip(known.items(), adjusted, strict=True):
            comparison = out[i].comparisons[kind]
            if verdict.verdict is Verdict.FAIL and p > ALPHA:
                verdict = _reopened(verdict, comparison, ALPHA / len(known))
            compared = replace(comparison, verdict=verdict, p_fail_holm=p)
            out[i] = replace(out[i], comparisons={**out[i].comparisons, kind: compared})
    return out


def _reopened(verdict: NonInferiority, comparison: Comparison, alpha: float) -> NonInferiority:
    delta, needed = comparison.delta, None
    if comparison.missing is None:
        needed = non_inferiority(delta, verdict.margin, alpha).n_to_decide or delta.n + 1
    return replace(verdict, verdict=Verdict.INCONCLUSIVE, n_to_decide=needed)
