"""Findings of an analysis, put together by what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swiftkv_bench.analysis.values import Analysis
from swiftkv_bench.checks import Finding
from swiftkv_bench.checks.finding import Severity
from swiftkv_bench.render import wording
from swiftkv_bench.render.wording import ARM


def finding_place(finding: Finding, analysis: Analysis) -> str:
    """Where a finding applies, in words."""
    names = {p.point.point_id: wording.point(p.point) for perf in analysis.perf for p in perf.points}
    titles = {c.column.name: c.column.title for a in analysis.accuracy for c in a.columns}
    parts = [names.get(finding.point or "", finding.point), titles.get(finding.column or "", finding.column)]
    parts.append(ARM[finding.arm] if finding.arm is not None else None)
    return ", ".join(p for p in parts if p)


@dataclass(frozen=True)
class GroupedFinding:
    """Findings of one code and severity that differ in place alone."""

    finding: Finding
    places: tuple[str, ...]


def grouped_findings(analysis: Analysis) -> tuple[GroupedFinding, ...]:
    """By code and severity, in the analysis' order; the first one's text stands for all."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for f in analysis.findings:
        # Reasons differ in kind, not in figures: one does not stand for another.
        reason = f.message if f.code in ("column-not-complete", "trial-incomplete") else ""
        groups.setdefault((f.severity, f.code, reason), []).append(f)
    out = []
    for found in groups.values():
        places = tuple(dict.fromkeys(place for f in found if (place := finding_place(f, analysis))))
        out.append(GroupedFinding(found[0], places))
    return tuple(out)


MEANING: Mapping[Severity, str] = {
    "invalid": "the trial or verdict is taken out of the comparison",
    "warning": "the figure stays in; read this first",
    "note": "good to know",
}
"""What a severity does to the figures."""


def shortened(places: Sequence[str], most: int) -> str:
    """The first places, and how many more there are."""
    rest = len(places) - most
    return "; ".join(places[:most]) + (f"; and {rest} more" if rest > 0 else "")
