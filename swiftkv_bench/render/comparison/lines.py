"""One claim of a comparison in words: what, against what, by how much, how sure, and what was allowed."""

from collections.abc import Sequence

from swiftkv_bench import units
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.judge.policy import ReferenceKind
from swiftkv_bench.render import wording
from swiftkv_bench.render.wording import ARM, MISSING
from swiftkv_bench.schema.engine import Arm

REFERENCE: dict[ReferenceKind, str] = {
    "reference run": "the reference run",
    "accepted run": "the accepted run",
    "baseline arm": "its own baseline arm",
    "published": "the published difference",
    "full depth": "the same weights with every layer run",
}
ROLE = {
    "primary": "decides: the report passes only when each of these does",
    "guard": "guards: the report fails when one of these does",
    "shown": "shown for context, decides nothing",
}


def name(line: Line) -> str:
    """`GSM8K`, or `TTFT mean at 2,000 in, 256 out, 1/s`."""
    return f"{line.title} at {wording.point(line.point)}" if line.point is not None else line.title


def pair(arm: Arm, reference: ReferenceKind) -> str:
    """`SwiftKV against the baseline run`."""
    return f"{ARM[arm]} against {REFERENCE[reference]}"


def value(line: Line, found: float | None) -> str:
    """A figure of either side with its unit."""
    if found is None:
        return MISSING
    if line.part == "performance":
        return wording.figure(line.metric, found)
    return units.percent(found) if line.unit == "share" else f"{found:,.2f}"


def effect(line: Line, found: float | None) -> str:
    """`−4.70 points` without the word, or `+9.8 %`."""
    if found is None:
        return MISSING
    if line.scale == "ratio":
        return units.change(found)
    return units.points(found) if line.unit == "share" else f"{found:+,.2f}".replace("-", "−")


def unit(line: Line) -> str:
    """What stands behind an effect: nothing for a change in per cent, else ` points`."""
    return " points" if line.scale == "difference" and line.unit == "share" else ""


def bounds(line: Line) -> str:
    """`[−6.31, −3.10]`; empty where the data allow none."""
    if line.bounds is None:
        return ""
    low = "−∞" if line.bounds.low is None else effect(line, line.bounds.low)
    high = "∞" if line.bounds.high is None else effect(line, line.bounds.high)
    return f"[{low}, {high}]"


def limit(line: Line) -> str:
    """The effect at which tolerance ends."""
    return effect(line, line.limit)


def count(line: Line) -> str:
    """`263 items`."""
    return f"{line.n:,} {line.n_unit}" if line.n != 1 else f"1 {line.n_unit.replace('items', 'item')}"


def change(line: Line) -> str:
    """`79.6 % to 74.9 %: −4.70 points [−6.31, −3.10], allowed −3.00, n = 263 items`."""
    parts = []
    if line.reference_value is not None and line.candidate_value is not None:
        parts.append(f"{value(line, line.reference_value)} to {value(line, line.candidate_value)}: ")
    shown = f"{effect(line, line.effect)}{unit(line)} {bounds(line)}".rstrip()
    parts.append(f"{shown if line.effect is not None else 'no effect'}, allowed {limit(line)}, n = {count(line)}")
    return "".join(parts)


def outlook(line: Line) -> str:
    """Why a line is not decided, and what would decide it; empty when it is."""
    if line.verdict is not Verdict.INCONCLUSIVE:
        return line.reason or ""
    parts = [line.reason] if line.reason else []
    if line.n_to_decide is not None:
        parts.append(f"about {line.n_to_decide:,} {line.n_unit} would decide")
    if line.role == "primary" and line.n_to_find is not None and line.n_to_find > line.n:
        twice = units.percent(2 * line.margin, 0)
        parts.append(f"{line.n_to_find:,} would find a change of {twice} in 90 of 100 cases")
    return "; ".join(parts)


def sentence(line: Line) -> str:
    """The whole claim: verdict, name, sides, change, corrected p, and what would decide."""
    p = "" if line.p_fail_corrected is None else f", p {units.p_value(line.p_fail_corrected)} after correction"
    more = outlook(line)
    text = f"{name(line)}, {pair(line.candidate_arm, line.reference)}: {change(line)}{p}"
    return text + (f"; {more}." if more else ".")


def failed(every: Sequence[Line]) -> tuple[Line, ...]:
    """Lines that make the report fail, the largest excess over the limit first."""
    return tuple(sorted((x for x in every if x.fails), key=_excess, reverse=True))


def undecided(every: Sequence[Line]) -> tuple[Line, ...]:
    """Primary lines without a verdict: they keep the report from passing."""
    return tuple(x for x in every if x.role == "primary" and x.verdict is Verdict.INCONCLUSIVE)


def main(every: Sequence[Line]) -> tuple[Line, ...]:
    """Averages over columns and over load points that decide."""
    primary = [x for x in every if x.role == "primary"]
    return tuple(x for x in primary if x.where in ("macro", "all points")) or tuple(primary)


def telling(every: Sequence[Line], most: int) -> tuple[Line, ...]:
    """What to read first: failures, then what is not decided, then the averages; each line once."""
    told = (*failed(every), *undecided(every), *main(every))
    return tuple({line.line_id: line for line in told}.values())[:most]


def _excess(line: Line) -> float:
    """How far beyond the limit, in margins."""
    return 0.0 if line.effect is None else abs(line.effect - line.limit) / line.margin
