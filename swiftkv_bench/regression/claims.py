"""Undecided lines: what is claimed of what, to be filled in with an effect and a verdict."""

from typing import Literal

from swiftkv_bench.analysis.values import Metric
from swiftkv_bench.regression.comparison import Family, Line, Role
from swiftkv_bench.regression.pairs import Pair
from swiftkv_bench.stats.verdicts import Verdict


def accuracy_line(
    pair: Pair,
    family: Family,
    metric: str,
    where: str,
    title: str,
    *,
    margin: float,
    n: int,
    worse: Literal["lower", "higher"] = "lower",
) -> Line:
    """A claim about items; differences in shares of one."""
    return Line(
        line_id=f"accuracy/{where}/{metric}/{pair.candidate_arm}/{pair.kind}",
        part="accuracy",
        family=family,
        role=pair.role,
        metric=metric,
        title=title,
        where=where,
        reference=pair.kind,
        reference_arm=pair.reference_arm,
        candidate_arm=pair.candidate_arm,
        scale="difference",
        worse=worse,
        margin=margin,
        limit=-margin if worse == "lower" else margin,
        n=n,
        n_unit="items",
        verdict=Verdict.INCONCLUSIVE,
    )


def performance_line(
    pair: Pair, family: Family, metric: Metric, where: str, title: str, *, margin: float, role: Role, paired: bool
) -> Line:
    """A claim about trials; ratios candidate / reference."""
    higher = metric.better == "lower"
    return Line(
        line_id=f"performance/{where}/{metric.key}/{pair.candidate_arm}/{pair.kind}",
        part="performance",
        family=family,
        role=role,
        metric=metric.key,
        title=title,
        where=where,
        reference=pair.kind,
        reference_arm=pair.reference_arm,
        candidate_arm=pair.candidate_arm,
        scale="ratio",
        worse="higher" if higher else "lower",
        margin=margin,
        limit=1 + margin if higher else 1 - margin,
        n=0,
        n_unit="pairs of trials" if paired else "trials",
        verdict=Verdict.INCONCLUSIVE,
    )
