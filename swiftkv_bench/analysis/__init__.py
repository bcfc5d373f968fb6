"""From recorded runs to everything a report says: `analyse(run) -> Analysis`, pure, without engines or network.

Owns which figures are compared with which. Formulas of metrics are in `metrics`, of intervals and verdicts in `stats`,
thresholds of findings in `checks`; how a figure looks is `render`'s.
"""

from collections.abc import Sequence

from swiftkv_bench.advice import next_step
from swiftkv_bench.analysis.accuracy import analyse_accuracy
from swiftkv_bench.analysis.perf import analyse_perf
from swiftkv_bench.analysis.values import (
    METRICS,
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
from swiftkv_bench.checks import Finding, merge, sentence
from swiftkv_bench.metrics import Objective
from swiftkv_bench.notation import parse_objective
from swiftkv_bench.schema.accuracy import ColumnStatus
from swiftkv_bench.store import Run

__all__ = [
    "METRICS", "SIDES", "AccuracyAnalysis", "Analysis", "ColumnResult", "Comparison", "ComparisonKind", "Estimate",
    "Gain", "PerfAnalysis", "PointArm", "PointResult", "RunInfo", "analyse", "analyse_all",
]  # fmt: skip


def analyse(run: Run, objective: Objective | None = None) -> Analysis:
    """Everything there is to say of one run.

    Args:
        objective: latency objectives that goodput counts against; None takes the run's own, if it has one.

    Raises:
        InputError: a record cannot be read.
        IncomparableError: arms answered different items under the same id.
    """
    manifest = run.manifest
    accuracy: tuple[AccuracyAnalysis, ...] = ()
    perf: tuple[PerfAnalysis, ...] = ()
    findings: list[Finding] = []
    if manifest.status != "complete":
        reason = f": {manifest.status_reason}" if manifest.status_reason else ""
        text = sentence(f"The run is {'not finished' if manifest.status == 'running' else 'incomplete'}{reason}")
        findings.append(Finding("run-incomplete", "warning", text, next_step(manifest)))
    if manifest.plan.accuracy is not None:
        part, notes = analyse_accuracy(manifest, manifest.plan.accuracy, run.items, _statuses(run))
        accuracy, findings = (part,), [*findings, *notes]
    if manifest.plan.perf is not None:
        if objective is None and manifest.slo is not None:
            objective = parse_objective(manifest.slo)
        load, notes = analyse_perf(manifest, manifest.plan.perf, run.trials(), objective)
        perf, findings = (load,), [*findings, *notes]
    return Analysis((RunInfo(manifest, str(run.path)),), accuracy, perf, merge(findings))


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
    )


def _statuses(run: Run) -> Sequence[ColumnStatus]:
    from swiftkv_bench.accuracy.records import read_statuses

    return read_statuses(run.path)
