"""From a run's evidence to everything a report says: `analyse_evidence(run) -> Analysis`, pure, no engine, no network.

Owns which figures stand beside each other. Formulas of metrics are in `metrics`, of intervals in `stats`, thresholds of
findings in `checks`, verdicts in `judge`; how a figure looks is `render`'s.
"""

from collections.abc import Sequence

from swiftkv_bench.analysis.accuracy import analyse_accuracy
from swiftkv_bench.analysis.perf import analyse_perf
from swiftkv_bench.analysis.values import (
    SIDES,
    AccuracyAnalysis,
    Analysis,
    ColumnResult,
    Comparison,
    ComparisonKind,
    Estimate,
    Gain,
    PerfAnalysis,
    PointArm,
    PointResult,
    RunInfo,
)
from swiftkv_bench.checks import merge
from swiftkv_bench.evidence.run import Evidence, read_run
from swiftkv_bench.judge.judgement import judge_arms
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.metrics import Objective
from swiftkv_bench.store import Run

__all__ = [
    "SIDES", "AccuracyAnalysis", "Analysis", "ColumnResult", "Comparison", "ComparisonKind", "Estimate", "Gain",
    "PerfAnalysis", "PointArm", "PointResult", "RunInfo", "analyse", "analyse_all", "analyse_evidence",
]  # fmt: skip


def analyse_evidence(run: Evidence) -> Analysis:
    """Everything there is to say of one run; verdicts are those of `compare RUN` with the default policy.

    Raises:
        IncomparableError: arms answered different items under the same id.
    """
    manifest = run.manifest
    judgement = judge_arms(run, Policy()) if {"baseline", "swiftkv"} <= set(run.arms) else None
    accuracy: tuple[AccuracyAnalysis, ...] = ()
    perf: tuple[PerfAnalysis, ...] = ()
    findings = list(run.findings)
    if manifest.plan.accuracy is not None:
        part, notes = analyse_accuracy(run, manifest.plan.accuracy, judgement)
        accuracy, findings = (part,), [*findings, *notes]
    if manifest.plan.perf is not None:
        load, notes = analyse_perf(run, manifest.plan.perf, judgement)
        perf, findings = (load,), [*findings, *notes]
    judgements = () if judgement is None or not judgement.lines else (judgement,)
    return Analysis((RunInfo(manifest, run.side.source),), accuracy, perf, merge(findings), judgements)


def analyse(run: Run, objective: Objective | None = None) -> Analysis:
    """Everything there is to say of a run folder, also of one that is damaged or under way.

    Args:
        objective: latency objectives that goodput counts against; None takes the run's own, if it has one.

    Raises:
        InputError: a record cannot be read.
        IncomparableError: arms answered different items under the same id.
    """
    return analyse_evidence(read_run(run, str(run.path), objective=objective, checked=False))


def analyse_all(runs: Sequence[Run], objective: Objective | None = None) -> Analysis:
    """Several runs side by side in one analysis; their figures are not combined.

    Raises:
        InputError, IncomparableError: as `analyse`.
    """
    parts = [analyse(run, objective) for run in runs]
    return Analysis(
        runs=tuple(info for part in parts for info in part.runs),
        accuracy=tuple(one for part in parts for one in part.accuracy),
        perf=tuple(one for part in parts for one in part.perf),
        findings=tuple(finding for part in parts for finding in part.findings),
        judgements=tuple(one for part in parts for one in part.judgements),
    )
