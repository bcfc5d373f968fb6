"""What a reader must know first: a sentence on speed, one on quality, one on what stands against the figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from swiftkv_bench import units
from swiftkv_bench.analysis.values import METRICS, AccuracyAnalysis, Analysis, Comparison, Overall, PerfAnalysis
from swiftkv_bench.render.findings import grouped_findings
from swiftkv_bench.stats.verdicts import Verdict

Tone = Literal["good", "bad", "open"]


@dataclass(frozen=True)
class Statement:
    """One answer.

    Attributes:
        question: what it answers.
        headline: the answer in a few words.
        detail: figures, interval, n.
        tone: whether it speaks for SwiftKV, against it, or decides nothing.
    """

    question: str
    headline: str
    detail: str
    tone: Tone


def statements(analysis: Analysis) -> tuple[Statement, ...]:
    """Speed, quality, trust; a question without data is left out."""
    found = [_speed(perf) for perf in analysis.perf] + [_quality(accuracy) for accuracy in analysis.accuracy]
    return (*found, _trust(analysis))


def sentence(analysis: Analysis) -> str:
    """The statements as one line of prose."""
    return " ".join(f"{s.headline}." for s in statements(analysis))


def _speed(perf: PerfAnalysis) -> Statement:
    question = "Is it faster here?"
    ttft, throughput = perf.overall.get("ttft_mean_s"), perf.overall.get("total_throughput")
    if ttft is None and throughput is None:
        why = sorted({p.withheld for p in perf.points if p.withheld is not None})
        detail = "; ".join(why) if why else f"{len(perf.points)} of {perf.planned_trials} trials were recorded"
        return Statement(question, "No speed comparison could be made", detail.capitalize() + ".", "open")
    parts = []
    if ttft is not None:
        parts.append(_phrase(ttft, "First token {} faster", "First token {} slower"))
    if throughput is not None:
        parts.append(_phrase(throughput, "throughput {}", "throughput {}", invert=False))
    main = ttft or throughput
    details = [_detail(METRICS[k].title, perf.overall[k]) for k in _DETAILED if k in perf.overall]
    tone: Tone = "open" if main is None or not _clear(main) else ("good" if main.mean > 1 else "bad")
    return Statement(question, ", ".join(parts), "; ".join(details) + ".", tone)


_DETAILED = ("ttft_mean_s", "tpot_mean_s", "total_throughput")


def _phrase(found: Overall, better: str, worse: str, *, invert: bool = True) -> str:
    if not _clear(found):
        name = "time to first token" if invert else "throughput"
        return f"no clear difference in {name} ({units.ratio(found.mean)})"
    value = 1 / found.mean if invert and found.mean < 1 else found.mean
    return (better if found.mean > 1 else worse).format(units.ratio(value))


def _clear(found: Overall) -> bool:
    """One point: its interval leaves out 1. Several: all gains lie on one side of 1."""
    if found.single is not None and found.single.interval is not None:
        return found.single.interval.low > 1 or found.single.interval.high < 1
    return found.low > 1 or found.high < 1


def _detail(title: str, found: Overall) -> str:
    if found.single is not None:
        interval = found.single.interval
        pairs = f"{found.single.pairs} paired trial{'s' if found.single.pairs != 1 else ''}"
        if interval is None:
            return f"{title} {units.ratio(found.mean)} ({pairs}: no interval)"
        return f"{title} {units.ratio(found.mean)} (95 % interval {interval.low:.2f} to {interval.high:.2f}, {pairs})"
    spread = f"{found.low:.2f} to {units.ratio(found.high)} over {found.points} load points"
    return f"{title} {spread} (geometric mean {units.ratio(found.mean)})"


def _quality(accuracy: AccuracyAnalysis) -> Statement:
    question = "Does quality hold?"
    verdict = accuracy.verdicts.get("total")
    if verdict is None:
        why = [f"{c.column.title}: {a.reason}" for c in accuracy.columns for a in c.arms.values() if a.reason]
        return Statement(question, "No quality comparison could be made", "; ".join(why[:3]) + ".", "open")
    words: Mapping[Verdict, tuple[str, Tone]] = {
        Verdict.PASS: ("Quality holds within every margin", "good"),
        Verdict.FAIL: ("Quality is lost beyond a margin", "bad"),
        Verdict.INCONCLUSIVE: ("Quality is not decided", "open"),
    }
    headline, tone = words[verdict]
    failed = [c.column.title for c in accuracy.columns if _verdict(c.comparisons.get("total")) is Verdict.FAIL]
    undecided = [
        c.column.title for c in accuracy.columns if _verdict(c.comparisons.get("total")) is Verdict.INCONCLUSIVE
    ]
    passed = [c.column.title for c in accuracy.columns if _verdict(c.comparisons.get("total")) is Verdict.PASS]
    parts = [_average(accuracy)]
    parts += [
        f"{name}: {', '.join(of)}" for name, of in (("lost", failed), ("open", undecided), ("held", passed)) if of
    ]
    detail = "; ".join(p for p in parts if p) + "."
    return Statement(question, headline, detail[0].upper() + detail[1:], tone)


def _average(accuracy: AccuracyAnalysis) -> str:
    macro = accuracy.macro
    if macro is None or "total" not in macro.comparisons:
        return ""
    delta = macro.comparisons["total"].delta
    text = f"average over {len(macro.columns)} columns {units.points(delta.delta)} points"
    if delta.interval is not None:
        text += f" (95 % interval {units.points(delta.interval.low)} to {units.points(delta.interval.high)})"
    return text


def _verdict(comparison: Comparison | None) -> Verdict | None:
    return None if comparison is None or comparison.verdict is None else comparison.verdict.verdict


def _trust(analysis: Analysis) -> Statement:
    question = "Can the figures be trusted?"
    groups = [g for g in grouped_findings(analysis) if g.finding.severity != "note"]
    invalid = [g for g in groups if g.finding.severity == "invalid"]
    if not groups:
        detail = "Every check of the client, the server and the answers passed."
        return Statement(question, "Nothing stands against the figures", detail, "good")
    detail = groups[0].finding.message
    if groups[0].places:
        detail += f" ({groups[0].places[0]}{'' if len(groups[0].places) == 1 else ' and elsewhere'})"
    if invalid:
        n = len(invalid)
        headline = f"{n} finding{'s take' if n > 1 else ' takes'} a figure out of the comparison"
        return Statement(question, headline, detail, "bad")
    n = len(groups)
    return Statement(question, f"{n} warning{'s stand' if n > 1 else ' stands'} beside the figures", detail, "open")
