"""Differences in score with their margins."""

from collections.abc import Sequence

from swiftkv_bench.analysis.values import AccuracyAnalysis, Comparison
from swiftkv_bench.render import wording
from swiftkv_bench.render.drawing import Figure, open_canvas
from swiftkv_bench.render.forest import ForestRow, Side, draw_forest


def accuracy(part: AccuracyAnalysis, formats: Sequence[str]) -> Figure | None:
    """Paired differences with their margins, a row a column; None without a comparison."""
    rows: list[tuple[str, Comparison, float | None]] = []
    for c in part.columns:
        if "total" in c.comparisons and c.column.measure.is_share:
            rows.append((c.column.title, c.comparisons["total"], c.column.margin))
    if not rows:
        return None
    if part.macro is not None and "total" in part.macro.comparisons:
        total = part.macro.comparisons["total"]
        rows.append((wording.average(part.macro, len(part.columns)), total, total.line.margin if total.line else None))
    with open_canvas(6.8, 0.36 * len(rows) + 1.45) as (canvas, save):
        shown = [_forest_row(*row) for row in rows]
        draw_forest(
            canvas, shown, "SwiftKV − baseline, percentage points", "margin, and the way to it",
            thick="90 % interval, which decides", thin="95 % interval",
        )  # fmt: skip
        return save(
            "accuracy_difference", formats, "Difference in score, with the margin each column allows",
            "Thick bar: 90 % interval, which decides (its ends are the one-sided 95 % bounds, whatever items without "
            "an answer had scored). Thin: 95 % interval of the items that both answered. "
            "PASS: the thick bar lies on the better side of the margin. FAIL: on its worse side. INCONCLUSIVE: it "
            "spans it, or a check forbids a claim.",
            "; ".join(f"{name} {wording.points_interval(c.effect, c.interval)}" for name, c, _ in rows),
        )  # fmt: skip


def _forest_row(name: str, comparison: Comparison, margin: float | None) -> ForestRow:
    line, interval = comparison.line, comparison.interval
    bounds = None if line is None else line.bounds
    worse: Side = "left" if line is None or line.worse == "lower" else "right"
    return ForestRow(
        name=f"{name}, n {wording.answered(comparison.delta.n, comparison.missing)}",
        value=comparison.effect * 100,
        thick=None if bounds is None else _span(bounds.low, bounds.high),
        thin=None if interval is None else _span(interval.low, interval.high),
        limit=None if margin is None else margin * (-100 if worse == "left" else 100),
        verdict=None if line is None else line.verdict,
        apart=name.startswith("Average"),
        worse=worse,
    )


def _span(low: float | None, high: float | None) -> tuple[float, float] | None:
    """Percentage points; None where one end is not known."""
    return None if low is None or high is None else (low * 100, high * 100)
