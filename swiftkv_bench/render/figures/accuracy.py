"""Differences in score with their margins."""

from collections.abc import Sequence

from swiftkv_bench.analysis.values import AccuracyAnalysis, Comparison
from swiftkv_bench.render import wording
from swiftkv_bench.render.drawing import Figure, open_canvas
from swiftkv_bench.render.forest import ForestRow, draw_forest


def accuracy(part: AccuracyAnalysis, formats: Sequence[str]) -> Figure | None:
    """Paired differences with their margins, a row a column; None without a comparison."""
    rows: list[tuple[str, Comparison, float | None]] = []
    for c in part.columns:
        if "total" in c.comparisons:
            rows.append((c.column.title, c.comparisons["total"], c.column.margin))
    if not rows:
        return None
    if part.macro is not None and "total" in part.macro.comparisons:
        total = part.macro.comparisons["total"]
        rows.append(
            (wording.average(part.macro, len(part.columns)), total, total.verdict.margin if total.verdict else None)
        )
    with open_canvas(6.8, 0.36 * len(rows) + 1.2) as (canvas, save):
        shown = [_forest_row(*row) for row in rows]
        draw_forest(canvas, shown, "SwiftKV − baseline, percentage points", "−margin")
        return save(
            "accuracy_difference", formats, "Difference in score, with the margin each column allows",
            "Thick bar: 90 % interval, which decides (its ends are the one-sided 95 % bounds, whatever items without "
            "an answer had scored). Thin: 95 % interval of the items that both answered. "
            "PASS: the thick bar lies right of −margin. FAIL: left of it. INCONCLUSIVE: it spans it, or a check "
            "forbids a claim.",
            "; ".join(f"{name} {wording.points_interval(c.delta.delta, c.delta.interval)}" for name, c, _ in rows),
        )  # fmt: skip


def _forest_row(name: str, comparison: Comparison, margin: float | None) -> ForestRow:
    d, found = comparison.delta, comparison.verdict
    thick = None if found is None or found.low is None or found.high is None else (found.low * 100, found.high * 100)
    return ForestRow(
        name=f"{name}, n {wording.answered(d.n, comparison.missing)}",
        value=d.delta * 100,
        thick=thick,
        thin=None if d.interval is None else (d.interval.low * 100, d.interval.high * 100),
        limit=None if margin is None else -margin * 100,
        verdict=None if found is None else found.verdict,
        apart=name.startswith("Average"),
    )
