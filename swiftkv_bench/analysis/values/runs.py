"""Everything that is said of one or several runs."""

from dataclasses import dataclass, field

from swiftkv_bench.analysis.values.accuracy import AccuracyAnalysis
from swiftkv_bench.analysis.values.perf import PerfAnalysis
from swiftkv_bench.checks import Finding
from swiftkv_bench.judge.judgement import Judgement
from swiftkv_bench.schema.manifest import Manifest


@dataclass(frozen=True)
class RunInfo:
    """Where an analysis comes from."""

    manifest: Manifest
    folder: str


@dataclass(frozen=True)
class Analysis:
    """Everything there is to say of one or several runs.

    Attributes:
        judgements: of each run that has both arms, what may be said of SwiftKV against its baseline.
    """

    runs: tuple[RunInfo, ...]
    accuracy: tuple[AccuracyAnalysis, ...] = ()
    perf: tuple[PerfAnalysis, ...] = ()
    findings: tuple[Finding, ...] = field(default=())
    judgements: tuple[Judgement, ...] = ()
