"""The one function that says PASS, FAIL or INCONCLUSIVE, and the correction over all claims of a report.

No other module turns figures into these words: pages, tables, exit codes and the rule that ends a column early take
them from here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from swiftkv_bench.judge.lines import Bounds, Claim, Draft, Family, Line, Measured, Verdict

SHARES: Mapping[Family, int] = {"score": 3, "flips": 3, "load": 3, "answers": 1, "published": 1, "load guard": 1}
"""Of the error rate, how much each family has that a report holds: those that decide or guard best have most, and
thirty load points do not outvote one average."""


def verdict_of(claim: Claim, m: Measured, p: float | None, alpha: float) -> Verdict:
    """What may be said of a claim.

    Args:
        p: `m.p_fail` corrected over all claims of the report.
        alpha: one-sided level of the report.
    """
    if _beyond(claim, m) and p is not None and p <= alpha and m.no_fail is None:
        return Verdict.FAIL
    end = m.high if claim.worse == "higher" else m.low
    if end is not None and claim.is_worse(claim.limit, end) and m.no_pass is None:
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def _beyond(claim: Claim, m: Measured) -> bool:
    """Worse than allowed as far as the figures go: the whole interval for a strict claim, the effect for others."""
    end = m.effect
    if claim.strict:
        end = m.low if claim.worse == "higher" else m.high
    return end is not None and claim.is_worse(end, claim.limit)


def line_of(draft: Draft, p: float | None, alpha: float, claims: int, share: float) -> Line:
    """The finished line.

    Args:
        p: corrected p; None where it takes no part in a correction.
        claims: claims that were corrected together.
        share: the level that is left to this claim when no other is made.
    """
    claim, m = draft.claim, draft.measured
    verdict = verdict_of(claim, m, p, alpha)
    reopened = _beyond(claim, m) and m.no_fail is None and m.p_fail is not None and m.p_fail <= alpha
    reason, needed = None, None
    if verdict is Verdict.INCONCLUSIVE:
        held = m.no_fail if _beyond(claim, m) else m.no_pass
        reason = held or m.why_open
        if reason is None and reopened:
            reason = f"beyond the margin by itself, but not after the correction over {claims} claims"
        if m.needed is not None and held is None:
            needed = m.needed(share if reopened else alpha)
    bounds = None
    if m.low is not None and m.high is not None:
        low, high = (x if math.isfinite(x) else None for x in (m.low, m.high))
        bounds = Bounds(low=low, high=high, method=m.method)
    return Line(
        line_id=claim.line_id, part=claim.part, family=claim.family, role=claim.role, metric=claim.metric,
        title=claim.title, where=claim.where, point=claim.point, reference=claim.reference,
        reference_arm=claim.reference_arm, candidate_arm=claim.candidate_arm, scale=claim.scale, unit=claim.unit,
        worse=claim.worse, reference_value=m.reference_value, candidate_value=m.candidate_value, effect=m.effect,
        bounds=bounds, margin=claim.margin, limit=claim.limit, n=m.n, n_unit=claim.n_unit, p_fail=m.p_fail,
        p_fail_corrected=p, verdict=verdict, n_to_decide=needed,
        n_to_find=None if m.to_find is None else m.to_find(share), reason=reason, flips=m.flips,
        published_delta=m.published_delta, reference_trials=m.reference_trials, candidate_trials=m.candidate_trials,
    )  # fmt: skip


def judged(drafts: Sequence[Draft], alpha: float, *, correct: bool) -> tuple[list[Line], int]:
    """All lines of a report, and how many claims that decide were corrected together.

    Weighted Holm over every claim that decides or guards, each family with its share of the error rate. Claims that
    decide nothing are corrected apart, pair of arms by pair of arms.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, draft in enumerate(drafts):
        claim = draft.claim
        key = (claim.candidate_arm, claim.reference) if claim.role == "shown" else ()
        groups.setdefault(key, []).append(i)
    lines: dict[int, Line] = {}
    for rows in groups.values():
        counted = [i for i in rows if drafts[i].measured.p_fail is not None]
        families = [drafts[i].claim.family for i in counted]
        weights = [SHARES[family] / families.count(family) for family in families]
        p_values = [p for i in counted if (p := drafts[i].measured.p_fail) is not None]
        adjusted = holm(p_values, weights) if correct else tuple(p_values)
        corrected = dict(zip(counted, adjusted, strict=True))
        shares = {
            i: alpha * w / math.fsum(weights) if correct else alpha for i, w in zip(counted, weights, strict=True)
        }
        for i in rows:
            lines[i] = line_of(drafts[i], corrected.get(i), alpha, len(counted), shares.get(i, alpha))
    return [lines[i] for i in range(len(drafts))], sum(
        x.role != "shown" and x.p_fail is not None for x in lines.values()
    )


def multiplier(sizes: Mapping[Family, int], family: Family) -> float:
    """What a p value is multiplied by when no other claim of the report is made: no correction multiplies by more."""
    return sum(SHARES[f] for f, n in sizes.items() if n) / SHARES[family] * sizes[family]


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> tuple[float, ...]:
    """Holm's step-down adjusted p values, in the order given (Holm 1979, weighted form in section 3.3).

    A claim with adjusted p <= α is made; the chance of any false claim is then at most α, whatever the dependence.

    Args:
        weights: positive shares of α, one a value; None for equal ones. Only their ratios matter.
    """
    w = [1.0] * len(p_values) if weights is None else list(weights)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i] / w[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        remaining = math.fsum(w[i] for i in order[rank:])
        running = max(running, min(1.0, remaining / w[index] * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def of_lines(lines: Sequence[Line]) -> Verdict | None:
    """FAIL when a line that counts fails, PASS when there are primary lines and all pass; None without a line."""
    if not lines:
        return None
    if any(line.fails for line in lines):
        return Verdict.FAIL
    primary = [line.verdict for line in lines if line.role == "primary"]
    return Verdict.PASS if primary and all(v is Verdict.PASS for v in primary) else Verdict.INCONCLUSIVE


def overall(parts: Iterable[Verdict | None]) -> Verdict:
    """FAIL if a part fails, else INCONCLUSIVE if one is or there is none, else PASS."""
    known = [verdict for verdict in parts if verdict is not None]
    if Verdict.FAIL in known:
        return Verdict.FAIL
    return Verdict.PASS if known and all(v is Verdict.PASS for v in known) else Verdict.INCONCLUSIVE
