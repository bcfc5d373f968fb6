"""What an analysis says: frozen values, everything a renderer prints and nothing it must compute."""

from swiftkv_bench.analysis.values.accuracy import (
    SIDES,
    AccuracyAnalysis,
    AnswerView,
    ColumnArm,
    ColumnResult,
    Comparison,
    ComparisonKind,
    ItemView,
    Macro,
)
from swiftkv_bench.analysis.values.perf import (
    Bound,
    Breakdown,
    Estimate,
    Gain,
    MachineUse,
    Overall,
    PerfAnalysis,
    PointArm,
    PointResult,
    RateLimit,
    RateLimits,
)
from swiftkv_bench.analysis.values.runs import Analysis, RunInfo

__all__ = [
    "SIDES",
    "AccuracyAnalysis",
    "Analysis",
    "AnswerView",
    "Bound",
    "Breakdown",
    "ColumnArm",
    "ColumnResult",
    "Comparison",
    "ComparisonKind",
    "Estimate",
    "Gain",
    "ItemView",
    "MachineUse",
    "Macro",
    "Overall",
    "PerfAnalysis",
    "PointArm",
    "PointResult",
    "RateLimit",
    "RateLimits",
    "RunInfo",
]
