"""Tables of a comparison: the claims to read first, a table a pair of arms, what was held fixed, both sides."""

from collections.abc import Mapping, Sequence

from swiftkv_bench import units
from swiftkv_bench.evidence.run import Side
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.judge.policy import ReferenceKind
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.render import wording
from swiftkv_bench.render.cells import Cell, Head, TableView
from swiftkv_bench.render.comparison import lines
from swiftkv_bench.render.provenance import settings, sides_table
from swiftkv_bench.render.summary import TONE
from swiftkv_bench.render.wording import ARM, MISSING
from swiftkv_bench.schema.engine import Arm

MOST_CLAIMS = 20
"""Rows of the table of claims to read first."""

_Pair = tuple[Arm, ReferenceKind]


def claims_table(every: Sequence[Line], confidence: float, most: int = MOST_CLAIMS) -> TableView:
    """Failures, what is not decided, then the averages."""
    told = lines.telling(every, most)
    rows = tuple(
        (
            Cell(_capital(lines.name(x))),
            _verdict(x),
            Cell(lines.effect(x, x.effect), "plain", lines.bounds(x)),
            Cell(lines.limit(x)),
            Cell(lines.count(x)),
            Cell(lines.value(x, x.reference_value)),
            Cell(lines.value(x, x.candidate_value)),
            Cell(ARM[x.candidate_arm]),
            Cell(x.reference),
            Cell(lines.outlook(x), "quiet"),
        )
        for x in told
    )
    heads = (
        Head("Claim", align="left"), Head("verdict", align="left"), Head("change"), Head("allowed"), Head("n"),
        Head("reference"), Head("candidate"), Head("Arm", align="left"), Head("against", align="left"),
        Head("why, and what would decide", align="left"),
    )  # fmt: skip
    # The last column is there when a line needs it.
    width = len(heads) if any(lines.outlook(x) for x in told) else len(heads) - 1
    left = len(lines.failed(every)) + len(lines.undecided(every)) - sum(x.verdict is not Verdict.PASS for x in told)
    note = (
        f"Brackets: one-sided {units.percent(confidence, 0)} bounds. Scores change in percentage points, "
        "figures under load in per cent."
    )
    if left > 0:
        verb = "fails or is" if left == 1 else "fail or are"
        note += f" {units.counted(left, 'more claim')} {verb} open; see the tables below."
    return TableView("claims", "Claims to read first", heads[:width], tuple(row[:width] for row in rows), note)


def part_tables(found: RunComparison, part: str) -> tuple[TableView, ...]:
    """A table a pair of arms, and a latency under load; those that decide first, the others are folded."""
    of_part = [x for x in found.lines if x.part == part]
    pairs: dict[_Pair, list[Line]] = {}
    for line in of_part:
        pairs.setdefault((line.candidate_arm, line.reference), []).append(line)
    order = {"primary": 0, "guard": 1, "shown": 2}
    ranked = sorted(pairs.items(), key=lambda item: min(order[x.role] for x in item[1]))
    if part == "accuracy":
        return tuple(_accuracy_table(f"{part}-{i}", *pair, of_pair) for i, (pair, of_pair) in enumerate(ranked, 1))
    kinds = [(pair, kind, of_kind) for pair, of_pair in ranked for kind, of_kind in _by_kind(of_pair).items()]
    return tuple(_load_table(f"{part}-{i}", kind, *pair, of_kind) for i, (pair, kind, of_kind) in enumerate(kinds, 1))


def _by_kind(of_pair: Sequence[Line]) -> Mapping[str, Sequence[Line]]:
    """Lines of one latency, or of what is none, so that a table is no wider than a page."""
    found: dict[str, list[Line]] = {}
    for line in of_pair:
        metric = METRICS[line.metric]
        of = (m.term for m in METRICS.values() if m.latency == metric.latency)
        kind = "throughput" if metric.latency is None else next(of)
        found.setdefault(kind, []).append(line)
    return found


def _accuracy_table(key: str, arm: Arm, reference: ReferenceKind, of_pair: Sequence[Line]) -> TableView:
    by_where: dict[str, dict[str, Line]] = {}
    for one in of_pair:
        by_where.setdefault(one.where, {})[one.metric] = one
    with_flips = any("flips" in row for row in by_where.values())
    answers = [m for m in ("unparsed", "unfinished") if any(m in row for row in by_where.values())]
    published = any(line.published_delta is not None for line in of_pair)
    heads = [Head("Column", align="left"), Head("n"), Head("reference", "score, %"), Head("candidate", "score, %")]
    heads += [Head("difference", "score, points"), *([Head("published", "score, points")] * published)]
    heads += [Head("allowed", "score, points"), Head("verdict", "score, points", "left")]
    heads += [*(Head(t, "flips") for t in _FLIPS), Head("verdict", "flips", "left")] * with_flips
    for m in answers:
        heads += [Head("change", f"{m}, points"), Head("verdict", f"{m}, points", "left")]
    rows = []
    for row in by_where.values():
        score, flips = row.get("score"), row.get("flips")
        first = score or flips or next(iter(row.values()))
        cells = [Cell(_capital(first.title)), Cell(f"{first.n:,}"), *_score_cells(score, published)]
        cells += _flip_cells(flips) * with_flips
        for metric in answers:
            line = row.get(metric)
            cells += [Cell(MISSING), Cell("")] if line is None else [_change(line), _verdict(line)]
        rows.append(tuple(cells))
    note = (
        f"Each of these {_role(of_pair)}. Flips: items whose answer changed sides, right to wrong (lost) and back "
        "(gained). Noise loses half of what flips between two answers of one engine; where that is not known, as many "
        "as were gained."
    )
    title = f"Accuracy: {lines.pair(arm, reference)}"
    return TableView(key, title, tuple(heads), tuple(rows), note, folded=all(x.role == "shown" for x in of_pair))


_FLIPS = ("lost", "gained", "lost beyond noise, points")


def _score_cells(line: Line | None, published: bool) -> list[Cell]:
    if line is None:
        return [Cell(MISSING)] * (4 + published) + [Cell("")]
    scale = 100 if line.unit == "share" else 1
    shown = [None if v is None else f"{v * scale:.2f}" for v in (line.reference_value, line.candidate_value)]
    cells = [Cell(text or MISSING) for text in shown]
    cells.append(_change(line))
    cells += [Cell(units.points(line.published_delta))] * published
    return [*cells, Cell(lines.limit(line)), _verdict(line)]


def _flip_cells(line: Line | None) -> list[Cell]:
    if line is None or line.flips is None:
        return [Cell(MISSING)] * 3 + [Cell("")]
    return [Cell(f"{line.flips.lost:,}"), Cell(f"{line.flips.gained:,}"), _change(line), _verdict(line)]


def _load_table(key: str, kind: str, arm: Arm, reference: ReferenceKind, of_pair: Sequence[Line]) -> TableView:
    metrics = list(dict.fromkeys(x.metric for x in of_pair))
    by_where: dict[str, dict[str, Line]] = {}
    for line in sorted(of_pair, key=lambda x: x.where == "all points"):
        by_where.setdefault(line.where, {})[line.metric] = line
    heads = [Head("Load point", align="left"), Head("n")]
    for m in metrics:
        group = f"{METRICS[m].title}, allowed {lines.limit(next(x for x in of_pair if x.metric == m))}"
        heads += [Head(text, group) for text in ("reference", "candidate", "change")] + [Head("verdict", group, "left")]
    rows = []
    for row in by_where.values():
        first = next(iter(row.values()))
        where = "all points" if first.point is None else wording.point(first.point)
        cells = [Cell(_capital(where)), Cell(f"{max(x.n for x in row.values()):,}")]
        for m in metrics:
            cells += _load_cells(row.get(m))
        rows.append(tuple(cells))
    unit = next((x.n_unit for x in of_pair), "trials")
    note = (
        f"Each of these {_role(of_pair)}. n: {unit}. Change: candidate against reference; of all points, the geometric "
        "mean. Latencies get worse upwards, throughputs downwards."
    )
    title = f"Under load, {kind}: {lines.pair(arm, reference)}"
    return TableView(key, title, tuple(heads), tuple(rows), note, folded=all(x.role == "shown" for x in of_pair))


def _load_cells(line: Line | None) -> list[Cell]:
    if line is None:
        return [Cell(MISSING)] * 3 + [Cell("")]
    values = [Cell(lines.value(line, v)) for v in (line.reference_value, line.candidate_value)]
    return [*values, _change(line), _verdict(line)]


def _change(line: Line) -> Cell:
    return Cell(lines.effect(line, line.effect), "plain", lines.bounds(line))


def _verdict(line: Line) -> Cell:
    return Cell(line.verdict.value, "quiet" if line.role == "shown" else TONE[line.verdict])


def _role(of_pair: Sequence[Line]) -> str:
    roles = list(dict.fromkeys(x.role for x in of_pair))
    if len(roles) == 1:
        return lines.ROLE[roles[0]]
    scores = next((x.role for x in of_pair if x.family in ("score", "load")), roles[0])
    return f"{lines.ROLE[scores]} (scores and averages), {lines.ROLE['guard']} (the rest)"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def keys_table(found: RunComparison) -> TableView | None:
    """What was checked to be equal, and what differs; None for two arms of one run."""
    if not found.keys:
        return None
    words = {
        "equal": "equal",
        "allowed": "differs; --allow was given",
        "variable": "differs; the policy's variable",
        "noted": "differs; need not be equal",
    }
    ranked = sorted(found.keys, key=lambda key: key.status == "equal")
    outcomes = [Cell(words[key.status], "quiet" if key.status == "equal" else "open") for key in ranked]
    rows = tuple(
        (Cell(key.key), Cell(key.reference), Cell(key.candidate), outcome)
        for key, outcome in zip(ranked, outcomes, strict=True)
    )
    heads = tuple(Head(text, align="left") for text in ("Key", "Reference", "Candidate", "Outcome"))
    note = "Runs that differ in any other key are refused by its name; --allow KEY overrides and is shown here."
    return TableView("keys", "What was held fixed", heads, rows, note, folded=True, wrap=True)


def both_sides(found: RunComparison) -> TableView:
    """Run, machine, program, packages and engine settings of both sides."""
    columns = {"Reference": _side_settings(found.reference), "Candidate": _side_settings(found.candidate)}
    return sides_table(columns, "sides", "Both sides")


def _side_settings(side: Side) -> Mapping[str, str]:
    git = side.git
    found = {
        "named": side.label,
        "read from": side.source,
        "run": f"{side.run_id}, {side.status}",
        "started": side.created_utc,
        "accepted": side.accepted_utc or MISSING,
        "profile": side.profile,
        "suite": MISSING if side.suite is None else f"{side.suite} ({side.suite_hash})",
        "machine": wording.machine(side.machine),
        "program": f"swiftkv-bench {side.harness_version}",
        "commit": MISSING if git is None else git.commit + (" with uncommitted changes" if git.dirty else ""),
        "packages": ", ".join(f"{name} {version}" for name, version in sorted(side.packages.items())),
    }
    for spec in side.engines:
        if side.arm is None or spec.arm == side.arm:
            prefix = "" if side.arm is not None else f"{ARM[spec.arm]}: "
            own = settings(spec, side.engine_versions.get(spec.arm))
            found |= {f"{prefix}{name}": value for name, value in own.items()}
    return found
