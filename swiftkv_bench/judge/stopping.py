"""When a column may end early: the judge has said PASS or FAIL of each of its scores, and will say it at the end."""

from collections.abc import Mapping, Sequence
from typing import get_args

from swiftkv_bench.accuracy.looks import Decide, Scores
from swiftkv_bench.evidence.answers import Answers, Key
from swiftkv_bench.evidence.coverage import Coverage
from swiftkv_bench.judge.accuracy import column_measured
from swiftkv_bench.judge.columns import ColumnSide, compared_column
from swiftkv_bench.judge.lines import Claim, Family, Measured, Role, Verdict
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.judge.verdict import multiplier, verdict_of
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column
from swiftkv_bench.schema.engine import Arm

_PAIRS: tuple[tuple[Arm, Arm, Role], ...] = (
    ("baseline", "swiftkv", "primary"), ("baseline", "swiftkv-full", "shown"), ("swiftkv-full", "swiftkv", "guard"),
)  # fmt: skip
"""(reference, candidate) of one run's arms, and what their lines count for."""


def decider(plan: AccuracyPlan, *, with_load: bool) -> Decide:
    """What `run_accuracy` asks after each part of a column; `with_load`: the run's report has claims under load too."""
    columns = {column.name: column for column in plan.columns}
    return lambda name, scores: is_decided(plan, columns[name], scores, with_load=with_load)


def is_decided(plan: AccuracyPlan, column: Column, scores: Scores, *, with_load: bool = False) -> bool:
    """Whether every score of the column has a verdict that stands in the finished report.

    With `--repeat-baseline` nothing is decided before the end, since the noise that a claim must exceed is known only
    then. A column whose items come in groups, or whose figure is no mean of items, is not looked at early.
    """
    if plan.repeat_baseline or not column.measure.is_mean or column.group_by is not None:
        return False
    found = verdicts_now(plan, column, scores, with_load=with_load)
    return bool(found) and all(verdict is not Verdict.INCONCLUSIVE for verdict in found)


def verdicts_now(plan: AccuracyPlan, column: Column, scores: Scores, *, with_load: bool = False) -> list[Verdict]:
    """What may be said of each pair of arms by what they have answered so far.

    A FAIL must stand if no other claim of the report is made: Holm's correction then lets it stand whatever the others
    say.
    """
    found = []
    for reference, candidate, role in _PAIRS:
        left, right = scores.get((reference, 0)), scores.get((candidate, 0))
        if left and right:
            times = multiplier(_sizes(plan, role, with_load=with_load), "score")
            found.append(_verdict(plan, column, (left, right), (reference, candidate), role, times))
    return found


def _sizes(plan: AccuracyPlan, role: Role, *, with_load: bool) -> Mapping[Family, int]:
    """Most claims of each family that are corrected together with a score of this role."""
    columns = len(plan.columns)
    deciding = 1 if role == "shown" else 1 + ("swiftkv-full" in plan.arms)
    sizes = dict.fromkeys(get_args(Family), 1)
    if role == "shown" or not with_load:
        sizes |= {"load": 0, "load guard": 0}
    if role == "shown" or "swiftkv-full" not in plan.arms:
        sizes |= {"flips": 0}
    if role == "shown" or plan.published is None:
        sizes |= {"published": 0}
    return sizes | {"score": deciding * (columns + (columns > 1))}


def _verdict(
    plan: AccuracyPlan, column: Column, sides: Sequence[Mapping[Key, float]], arms: tuple[Arm, Arm], role: Role,
    times: float,
) -> Verdict:  # fmt: skip
    policy = Policy()
    one, other = (ColumnSide(Answers.of_scores(s), Coverage("ended early", None, len(s))) for s in sides)
    found = compared_column(column, plan, one, other, (), "the arms", looked=True)
    higher = column.measure.higher_is_better
    claim = Claim("accuracy", "score", role, "score", column.title, column.name, "baseline arm", *arms, "difference",
                  "lower" if higher else "higher", column.margin)  # fmt: skip
    measured = Measured() if found is None else column_measured(found, column.margin, policy)
    p = None if measured.p_fail is None else min(1.0, times * measured.p_fail)
    return verdict_of(claim, measured, p, policy.alpha)
