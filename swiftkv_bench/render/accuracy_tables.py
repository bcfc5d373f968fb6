"""Tables of accuracy columns: scores and verdicts, model against engine, how answers were obtained."""

from swiftkv_bench import units
from swiftkv_bench.analysis.values import AccuracyAnalysis, ColumnResult, Comparison, ComparisonKind, Macro
from swiftkv_bench.judge.lines import Line
from swiftkv_bench.render import wording
from swiftkv_bench.render.cells import Cell, Head, TableView
from swiftkv_bench.render.summary import TONE
from swiftkv_bench.render.wording import ARM, MISSING


def accuracy_table(accuracy: AccuracyAnalysis) -> TableView:
    """The card's columns as rows: both scores, the paired difference, what flipped, the verdict."""
    with_published = any(c.published is not None for c in accuracy.columns)
    heads = [
        Head("Column", align="left"),
        Head("n"),
        Head(ARM["baseline"], "score, %"),
        Head(ARM["swiftkv"], "score, %"),
    ]
    heads += [Head("difference, points"), Head("lost", "flips"), Head("gained", "flips"), Head("McNemar p")]
    heads += [Head("margin"), Head("verdict", align="left"), Head("decided at n")]
    heads += [Head("published")] if with_published else []
    rows = [_accuracy_row(c, with_published) for c in accuracy.columns]
    if accuracy.macro is not None:
        rows.append(_macro_row(accuracy, accuracy.macro, with_published))
    limit = accuracy.plan.limit
    note = (
        f"Suite {accuracy.plan.suite}"
        + (f", the same seeded sample of {limit:,} items a column" if limit else "")
        + (", columns ended once decided (bounds count every look)" if accuracy.plan.stop_when_decided else "")
        + ". Brackets: 95 % interval of the paired difference. PASS: the one-sided 95 % bound is on the good side of "
        "the margin; FAIL: on the bad side, and still so after Holm's correction over all claims of the run; else "
        "INCONCLUSIVE. Decided at n: items that "
        "would decide if the true difference were the one seen; > all: more than the column has. Flips: right to wrong "
        "(lost), wrong to right (gained)."
        + (
            " Where items have no answer (n of planned), figures are those of the items that both answered, and a "
            "verdict stands only where it would whatever the others had scored."
            if any(found.missing is not None for c in accuracy.columns for found in c.comparisons.values())
            else ""
        )
        + (" Published: the difference of the model card's rows, points." if with_published else "")
    )
    return TableView("accuracy", "Scores, differences and verdicts", tuple(heads), tuple(rows), note)


def _accuracy_row(c: ColumnResult, with_published: bool) -> tuple[Cell, ...]:
    row = [Cell(c.column.title)]
    base, swift = c.arms.get("baseline"), c.arms.get("swiftkv")
    total = c.comparisons.get("total")
    n = total.delta.n if total is not None else next((a.score.n for a in (base, swift) if a and a.score), None)
    row.append(Cell(MISSING if n is None else wording.answered(n, None if total is None else total.missing)))
    alone = [None if arm is None or arm.score is None else arm.score.mean for arm in (base, swift)]
    shown = alone if total is None else total.means
    row += [Cell(MISSING if s is None else wording.score(c.column, s)) for s in shown]
    row += _comparison_cells(total, c.column.margin, c.column.documents)
    if total is None:
        row[-2] = Cell(_absence(c), "quiet")
    if with_published:
        row.append(Cell(wording.published(c.published), "quiet"))
    return tuple(row)


def _absence(c: ColumnResult) -> str:
    """Why a column has no comparison, in a few words: `not run: data not present`."""
    arm = next((a for a in c.arms.values() if a.score is None), None)
    if arm is None:
        return MISSING
    cause = "" if arm.reason is None else arm.reason.split(": ")[0].split(";")[0]
    return f"{arm.status}: {cause}" if 0 < len(cause) <= 40 else arm.status


def _macro_row(accuracy: AccuracyAnalysis, macro: Macro, with_published: bool) -> tuple[Cell, ...]:
    total = macro.comparisons.get("total")
    n = MISSING if total is None else wording.answered(total.delta.n, total.missing)
    row = [Cell(wording.average(macro, len(accuracy.columns))), Cell(n)]
    alone = [macro.scores.get("baseline"), macro.scores.get("swiftkv")]
    row += [Cell(MISSING if s is None else f"{s * 100:.2f}") for s in (alone if total is None else total.means)]
    margin = None if total is None or total.line is None else total.line.margin
    row += _comparison_cells(total, margin)
    if with_published:
        row.append(Cell(wording.published(macro.published), "quiet"))
    return tuple(row)


def _comparison_cells(total: Comparison | None, margin: float | None, documents: int | None = None) -> list[Cell]:
    if total is None:
        return [Cell(MISSING)] * 7
    d = total.delta
    needed = None if total.line is None else total.line.n_to_decide
    return [
        Cell(wording.difference(total), "plain", wording.difference_ends(total)),
        Cell(MISSING if d.lost is None else f"{d.lost:,}"),
        Cell(MISSING if d.gained is None else f"{d.gained:,}"),
        Cell(units.p_value(d.mcnemar_p)),
        Cell(MISSING if margin is None else wording.margin(total, margin)),
        verdict_cell(total.line),
        Cell(_decided_at(needed, documents), "quiet"),
    ]


def _decided_at(needed: int | None, documents: int | None) -> str:
    """`1.7k`; `> all 1,267` where the column has not as many items."""
    if needed is None:
        return MISSING
    return units.count(needed) if documents is None or needed <= documents else f"> all {documents:,}"


def verdict_cell(line: Line | None) -> Cell:
    """PASS, FAIL or INCONCLUSIVE; `–` where nothing is claimed."""
    return Cell(MISSING) if line is None else Cell(line.verdict.value, TONE[line.verdict])


def origin_table(accuracy: AccuracyAnalysis) -> TableView | None:
    """Model and engine deltas apart, and the noise floor, where those arms were run."""
    wanted: tuple[ComparisonKind, ...] = ("model", "engine", "noise")
    kinds = [k for k in wanted if any(k in c.comparisons for c in accuracy.columns)]
    if not kinds:
        return None
    heads = [Head("Column", align="left")]
    for kind in kinds:
        group = wording.KIND[kind]
        heads += [Head("points", group), Head("lost / gained", group)]
        heads += [Head("score", group, "left")] if kind != "noise" else []
        heads += [Head("flips", group, "left")] if kind == "engine" else []
    rows = []
    sources = [(c.column.title, c.comparisons) for c in accuracy.columns]
    if accuracy.macro is not None:
        sources.append((wording.average(accuracy.macro, len(accuracy.columns)), accuracy.macro.comparisons))
    for title, comparisons in sources:
        row = [Cell(title)]
        for kind in kinds:
            found = comparisons.get(kind)
            if found is None:
                row += [Cell(MISSING)] * {"noise": 2, "engine": 4}.get(kind, 3)
                continue
            row += [
                Cell(wording.difference(found), "plain", wording.difference_ends(found)),
                Cell(wording.flips(found.delta)),
            ]
            row += [verdict_cell(found.line)] if kind != "noise" else []
            row += [verdict_cell(found.flips)] if kind == "engine" else []
        rows.append(tuple(row))
    note = (
        "Model: SwiftKV weights with every layer run, against the baseline: the cost of the weights. Engine: the same "
        "weights with and without skipping; anything but noise here is a defect of the engine."
    )
    if "engine" in kinds:
        note += (
            " The engine fails on its flips, too: when it loses more right answers than noise does, which two runs of "
            "the baseline show."
        )
    return TableView("origin", "Is it the model or the engine?", tuple(heads), tuple(rows), note)


def answers_table(accuracy: AccuracyAnalysis) -> TableView:
    """What each arm answered: score, and answers that were cut, unfinished or unreadable."""
    heads = (
        Head("Column", align="left"), Head("Arm", align="left"), Head("items"), Head("score, %"), Head("cut"),
        Head("unfinished"), Head("unparsed"), Head("scored by", align="left"),
    )  # fmt: skip
    rows = []
    for c in accuracy.columns:
        for arm, a in c.arms.items():
            score = Cell(MISSING)
            if a.score is not None:
                score = Cell(wording.score(c.column, a.score.mean), "plain", wording.score_ends(c.column, a.score))
            row = [Cell(c.column.title), Cell(ARM[arm]), Cell(MISSING if a.score is None else f"{a.score.n:,}")]
            row.append(score)
            counts = (a.truncated, a.unfinished, a.unparsed)
            row += [Cell(MISSING if a.score is None else f"{x:,}", "plain" if x else "quiet") for x in counts]
            row.append(Cell(", ".join(a.methods) or MISSING))
            rows.append(tuple(row))
    note = (
        "Brackets: 95 % interval of one arm's score (Wilson for scores of 0 or 1). Cut: prompts shortened to fit the "
        "context. Unfinished: answers at the "
        "token limit. Unparsed: texts in which the column's pattern found no answer."
    )
    return TableView("answers", "What was answered", heads, tuple(rows), note)


def statistics_table(accuracy: AccuracyAnalysis) -> TableView | None:
    """How each column was asked, and what its differences rest on."""
    heads = (
        Head("Column", align="left"), Head("task", align="left"), Head("metric", align="left"), Head("shots"),
        Head("Difference", align="left"), Head("items"), Head("SE"), Head("SE, items independent"),
        Head("changed, %"), Head("p beyond margin, Holm"), Head("detectable drop"), Head("decided at n"),
    )  # fmt: skip
    rows = []
    for c in accuracy.columns:
        for kind, found in c.comparisons.items():
            d = found.delta
            needed, p = (None, None) if found.line is None else (found.line.n_to_decide, found.line.p_fail_corrected)
            row = [Cell(c.column.title), Cell(c.column.task), Cell(c.column.metric), Cell(str(c.column.num_fewshot))]
            row += [Cell(wording.KIND[kind].split(":")[0]), Cell(wording.answered(d.n, found.missing))]
            row += [Cell(MISSING if x is None else f"{x * 100:.2f}") for x in (d.stderr, d.stderr_items)]
            row += [Cell(f"{d.discordance * 100:.1f}"), Cell(units.p_value(p))]
            row.append(Cell(MISSING if d.detectable_drop is None else f"{d.detectable_drop * 100:.2f}"))
            row.append(Cell(_decided_at(needed, c.column.documents)))
            rows.append(tuple(row))
    if not rows:
        return None
    note = (
        "In points. SE: standard error of the paired difference, clustered by task where a column has several; beside "
        "it the same with items taken as independent. Changed: items whose score differs. p beyond margin: of a true "
        "difference within the margin, Holm-adjusted over all claims of the run; small means FAIL. Detectable drop: "
        "found with 80 % power at a one-sided 5 % level. Decided at n: items that would decide if the true difference "
        "were the one seen."
    )
    return TableView("statistics", "What the differences rest on", heads, tuple(rows), note, folded=True)
