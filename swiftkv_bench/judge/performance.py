"""Claims under load: a metric at each load point over trials, and its geometric mean over the points."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from swiftkv_bench.errors import InputError
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.keys import same_engine
from swiftkv_bench.judge.lines import Claim, Draft, Measured, Role
from swiftkv_bench.judge.pairs import Pair, guarding
from swiftkv_bench.judge.points import PointPair, median_of, over_points, planned_points, point_pairs
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.metrics import METRICS, Metric
from swiftkv_bench.stats.trials import LogRatio

ALL = "all points"


def performance_claims(pair: Pair, policy: Policy) -> list[Draft]:
    """Every claim under load of a pair; none when no side has a load part.

    Raises:
        InputError: the plans have no load point in common, or the policy names a metric that no trial of these runs
            has.
    """
    plans = [side.manifest.plan.perf for side in (pair.reference, pair.candidate)]
    if plans == [None, None] or (None in plans and policy.performance.metrics is None):
        return []
    found = [] if None in plans else _common(pair)
    drafts: list[Draft] = []
    gated = _gated(found, policy)
    for key, margin in gated.items():
        here = _Figure(pair, METRICS[key], margin, policy, tuple(p for p in found if p.stands(METRICS[key])))
        drafts += here.drafts(_role(pair, METRICS[key], gated, here.points))
    if not drafts and gated:
        key, margin = next(iter(gated.items()))
        drafts.append(_Figure(pair, METRICS[key], margin, policy, tuple(found)).absent(pair.role))
    return drafts


def _common(pair: Pair) -> list[PointPair]:
    found = point_pairs(pair.reference, pair.reference_arm, pair.candidate, pair.candidate_arm)
    ours = planned_points(pair.candidate, pair.candidate_arm)
    theirs = planned_points(pair.reference, pair.reference_arm)
    if ours and theirs and not found:
        raise InputError(
            f"{pair.reference.side.label} and {pair.candidate.side.label} have no load point in common (for example "
            f"{next(iter(theirs))} and {next(iter(ours))}); run both with the same lengths, rates and requests"
        )
    return found


def _gated(points: Sequence[PointPair], policy: Policy) -> Mapping[str, float]:
    """The policy's metrics; where it names none the median takes the place of the paired one that cannot be made."""
    gated = policy.performance.gated
    if policy.performance.metrics is not None:
        return gated
    out = {}
    for key, margin in gated.items():
        metric = METRICS[key]
        if metric.paired and not any(p.requests(metric) for p in points):
            key = median_of(metric, paired=False) or key
        out[key] = margin
    return out


def _role(pair: Pair, metric: Metric, gated: Mapping[str, float], points: Sequence[PointPair]) -> Role:
    """What a metric's verdict counts for: other figures of a latency guard where its median is compared, too."""
    for paired in (True, False):
        median = median_of(metric, paired=paired)
        if median in gated and median is not None and any(p.compares(METRICS[median]) for p in points):
            return pair.role if median == metric.key else pair.guard
    return pair.role


@dataclass(frozen=True)
class _Figure:
    """One metric of a pair at the points where it stands."""

    pair: Pair
    metric: Metric
    margin: float
    policy: Policy
    points: tuple[PointPair, ...]

    def drafts(self, role: Role) -> Iterator[Draft]:
        """A claim a point and one over all of them; the only point decides where there is one."""
        has = [p.sides_with(self.metric) for p in self.points]
        points = [p for p, sides in zip(self.points, has, strict=True) if any(sides)]
        if not points:
            if self.policy.performance.metrics is not None:
                yield self.absent(role)
            return
        alone = len(points) == 1
        for p in points:
            yield Draft(self._claim(role if alone else guarding(role), p, p.paired), self._at(p))
        if not alone:
            paired = all(p.paired for p in points)
            yield Draft(self._claim(role, None, paired, len(points)), self._over(points))

    def absent(self, role: Role) -> Draft:
        """A claim that nothing can be said of."""
        return Draft(self._claim(role, None, paired=False), Measured(why_open=self._who_lacks()))

    def _who_lacks(self) -> str:
        names = ("the reference", "the candidate")
        if not self.points:
            sides = (self.pair.reference, self.pair.candidate)
            without = [name for name, side in zip(names, sides, strict=True) if side.manifest.plan.perf is None]
            return f"{without[0]} has no load part" if without else f"{self.metric.title} stands at no load point here"
        if self.metric.paired:
            return "trials of the two sides share no schedule, so that no request pairs; gate the median instead"
        without = [
            n for n, i in zip(names, (0, 1), strict=True) if not any((p.reference, p.candidate)[i] for p in self.points)
        ]
        if without:
            return f"{' and '.join(without)} {'has' if len(without) == 1 else 'have'} no valid trial"
        return f"no trial has {self.metric.title.lower()}"

    def _claim(self, role: Role, at: PointPair | None, paired: bool, count: int = 0) -> Claim:
        title = self.metric.title if at is not None else f"{self.metric.title}, {f'{count} points' if count else ALL}"
        return Claim(
            "performance", "load" if role == "primary" else "load guard", role, self.metric.key, title,
            ALL if at is None else at.point.point_id, self.pair.kind, self.pair.reference_arm, self.pair.candidate_arm,
            "ratio", "higher" if self.metric.better == "lower" else "lower", self.margin,
            "pairs of trials" if paired else "trials", point=None if at is None else at.point, strict=False,
        )  # fmt: skip

    def _at(self, p: PointPair) -> Measured:
        reference, candidate = (tuple(side.values()) for side in p.figures(self.metric))
        return replace(
            self._measured(p.ratio(self.metric), self._absent_at(p), p.unequal(self.metric)),
            reference_value=_geometric(reference),
            candidate_value=_geometric(candidate),
            reference_trials=reference,
            candidate_trials=candidate,
        )

    def _absent_at(self, p: PointPair) -> str:
        """Why there is no ratio at a point."""
        sides = (("the reference", p.reference), ("the candidate", p.candidate))
        for name, trials in sides:
            if not trials:
                return f"no trial of {name} is valid at this point"
            if not self.metric.paired and not any(self.metric.key in t.figures for t in trials.values()):
                return f"no trial of {name} has {self.metric.title.lower()}"
        return "no trial pairs, or a figure is 0"

    def _over(self, points: Sequence[PointPair]) -> Measured:
        """Geometric mean over the points; what moves a whole repeat counts once."""
        absent = sum(not p.compares(self.metric) for p in points)
        if absent:
            return Measured(why_open=f"{absent} of {len(points)} points have no valid figure on both sides")
        unequal = next((why for p in points if (why := p.unequal(self.metric)) is not None), None)
        missing = "at a point no repeat has a figure on both sides, or one is 0"
        return self._measured(over_points(points, self.metric), missing, unequal)

    def _measured(self, ratio: LogRatio | None, absent: str, unequal: str | None) -> Measured:
        """p is of "not worse at all": proving that a change exceeds the margin, and not only that there is one, needs
        about four times as many trials."""
        if ratio is None:
            return Measured(why_open=absent, no_pass=unequal, no_fail=unequal)
        bounds, higher = ratio.bounds(self.policy.alpha), self.metric.better == "lower"
        if bounds is None:
            why = f"{ratio.n} trial a side has no spread; at least 2 are needed, 5 are better"
            return Measured(effect=ratio.ratio, n=ratio.n, why_open=unequal or why)
        limit = 1 + self.margin if higher else 1 - self.margin
        beyond = ratio.ratio > limit if higher else ratio.ratio < limit
        twice = 1 + 2 * self.margin if higher else 1 - 2 * self.margin
        kind = "paired trials" if ratio.paired else "trials, Welch"
        kind += ", each the median over its requests of the ratio of the same request" if self.metric.paired else ""
        return Measured(
            effect=ratio.ratio, low=bounds[0], high=bounds[1],
            method=f"t of the log-ratio, {kind}, {ratio.df:.3g} degrees of freedom", n=ratio.n,
            p_fail=ratio.p_at_most(1.0) if higher else ratio.p_at_least(1.0), no_pass=unequal, no_fail=unequal,
            needed=lambda alpha: ratio.n_to_decide(1.0 if beyond else limit, alpha),
            to_find=lambda alpha: ratio.n_to_find(twice, alpha),
        )  # fmt: skip


def _geometric(values: Sequence[float]) -> float | None:
    if not values or min(values) <= 0:
        return None
    return math.exp(math.fsum(math.log(v) for v in values) / len(values))


def controlled(drafts: Sequence[Draft], reference: Evidence, candidate: Evidence) -> list[Draft]:
    """A figure under load cannot FAIL for what the original model on the same engine did too.

    Both arms of a run take turns, so that a machine that is slower now than then slows both: what the baseline arm got
    worse by, where its engine is the same in both runs, is taken off first.
    """
    if reference.side.arm is not None or not same_engine(reference, candidate, "baseline"):
        return list(drafts)
    control = {
        (d.claim.metric, d.claim.where): d
        for d in drafts
        if d.claim.part == "performance" and d.claim.candidate_arm == "baseline"
    }
    out = []
    for draft in drafts:
        claim, at = draft.claim, control.get((draft.claim.metric, draft.claim.where))
        if (
            claim.part == "performance"
            and claim.candidate_arm != "baseline"
            and at is not None
            and _explained(draft, at)
        ):
            moved = (at.measured.effect or 1.0) - 1
            why = (
                f"the baseline arm, whose engine did not change, moved by {moved * 100:+.1f} % as well, and the rest "
                "is within the margin: the machine changed; repeat both runs side by side"
            )
            draft = Draft(claim, replace(draft.measured, no_fail=draft.measured.no_fail or why))
        out.append(draft)
    return out


def _explained(draft: Draft, control: Draft) -> bool:
    """Whether the effect is within the margin once a control that got worse is taken off it."""
    effect, moved = draft.measured.effect, control.measured.effect
    if effect is None or moved is None:
        return False
    off = max(1.0, moved) if draft.claim.worse == "higher" else min(1.0, moved)
    return not draft.claim.is_worse(effect / off, draft.claim.limit)
