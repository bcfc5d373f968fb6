"""Figures of a comparison: a forest plot a part, with the signs and limits of the tables."""

from collections.abc import Sequence

from swiftkv_bench import units
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Line
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.render.comparison import lines
from swiftkv_bench.render.drawing import Figure, open_canvas
from swiftkv_bench.render.forest import ForestRow, draw_forest, height
from swiftkv_bench.render.wording import ARM

MOST_ROWS = 40

_FAIL = {
    "accuracy": "the bar lies on its worse side",
    "performance": "the mark lies on its worse side and the bar on that of 0",
}


def figures(found: RunComparison, formats: Sequence[str] = ("svg", "png")) -> tuple[Figure, ...]:
    """Scores, then figures under load; a part without a line that decides is left out."""
    drawn = (_figure(found, "accuracy", formats), _figure(found, "performance", formats))
    return tuple(figure for figure in drawn if figure is not None)


def _figure(found: RunComparison, part: str, formats: Sequence[str]) -> Figure | None:
    families = ("score",) if part == "accuracy" else ("load", "load guard")
    known = [
        x for x in found.lines if x.part == part and x.family in families and x.effect is not None and x.unit == "share"
    ]
    pairs = {(x.candidate_arm, x.reference) for x in known if x.role == "primary"}
    shown = [x for x in known if (x.candidate_arm, x.reference) in pairs]
    shown = shown if len(shown) <= MOST_ROWS else [x for x in shown if x.where in ("macro", "all points")]
    if not shown:
        return None
    order = {key: i for i, key in enumerate(METRICS)}
    shown.sort(key=lambda x: (ARM[x.candidate_arm], order.get(x.metric, 0)))
    many = len({x.candidate_arm for x in shown}) > 1
    rows = [_row(line, many, i > 0 and _group(line) != _group(shown[i - 1])) for i, line in enumerate(shown)]
    with open_canvas(7.4, height(rows, 0.3) + 0.75) as (canvas, save):
        if part == "accuracy":
            label, title = "candidate − reference, percentage points", "Change of scores, with the drop each may have"
        else:
            label = "change, %"
            title = "Change under load, with the loss each figure may have"
        share = units.percent(found.policy.confidence, 0)
        draw_forest(canvas, rows, label, "limit, and the way to it", thick=f"one-sided {share} bounds")
        told = "; ".join(f"{row.name} {lines.change(line)}" for row, line in zip(rows, shown, strict=True))
        return save(
            f"{part}_change", formats, title,
            f"Signs as in the table. Bars: one-sided {share} bounds. PASS: the bar lies on the better side of the "
            f"limit. FAIL: {_FAIL[part]}, also after the correction. INCONCLUSIVE: neither, or a check forbids it.",
            told,
        )  # fmt: skip


def _row(line: Line, many: bool, apart: bool) -> ForestRow:
    name = lines.name(line) + (f", {ARM[line.candidate_arm]}" if many else "")
    ends = [] if line.bounds is None else [line.bounds.low, line.bounds.high]
    shown = sorted(_shown(line, end) for end in ends if end is not None)
    return ForestRow(
        name=f"{name[:1].upper()}{name[1:]}, n {line.n:,}",
        value=0.0 if line.effect is None else _shown(line, line.effect),
        thick=(shown[0], shown[1]) if len(shown) == 2 else None,
        thin=None,
        limit=_shown(line, line.limit),
        verdict=line.verdict,
        apart=apart,
        worse="left" if line.worse == "lower" else "right",
    )


def _group(line: Line) -> tuple[str, str]:
    return line.candidate_arm, line.metric


def _shown(line: Line, found: float) -> float:
    """An effect as the table has it: points, or per cent of change."""
    return (found - 1 if line.scale == "ratio" else found) * 100
