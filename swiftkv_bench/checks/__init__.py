"""Validity findings as values: what makes a measured figure less than it seems, and what to do next.

Owns every threshold. A finding of severity `invalid` takes its trial or column out of all comparisons; `warning`
leaves the figure and stands beside it; `note` explains an absence. Nothing here changes a figure.
"""

from swiftkv_bench.checks.answers import (
    check_answers,
    check_chance,
    check_margin,
    check_missing,
    check_noticed,
    check_reached,
    check_unparsed,
)
from swiftkv_bench.checks.attached import check_certificate
from swiftkv_bench.checks.finding import Finding, Severity, merge, sentence
from swiftkv_bench.checks.load import TrialCheck, check_samples, check_self_test, check_spread, check_trial

__all__ = [
    "Finding", "Severity", "TrialCheck", "check_answers", "check_certificate", "check_chance", "check_margin",
    "check_missing", "check_noticed", "check_reached", "check_samples", "check_self_test", "check_spread",
    "check_trial", "check_unparsed", "merge", "sentence",
]  # fmt: skip
