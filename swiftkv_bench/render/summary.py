"""What a reader must know first: a sentence on speed, one on quality, one on what stands against the figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from swiftkv_bench import units
from swiftkv_bench.analysis.values import METRICS, AccuracyAnalysis, Analysis, Comparison, Overall, PerfAnalysis
from swiftkv_bench.checks import Finding
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
    found = [_speed(perf) for perf in analysis.perf] + [_quality(part, analysis.findings) for part in analysis.accuracy]
    return (*found, _trust(analysis))


def sentence(analysis: Analysis) -> str:
    """The statements as one line of prose."""
    return " ".join(f"{s.headline}." for s in statements(analysis))


def _speed(perf: PerfAnalysis) -> Statement:
    question = "Is it faster here?"
    ttft, throughput = perf.overall.get("ttft_mean_s"), perf.overall.get("total_throughput")
    if ttft is None and throughput is None:
        why = sorted({p.withheld for p in perf.points if p.withheld is not None})
        recorded = sum(a.trials for p in perf.points for a in p.arms.values())
        detail = "; ".join(why) if why else f"{recorded} of {perf.planned_trials} trials were recorded"
        return Statement(question, "No speed comparison could be made", detail.capitalize() + ".", "open")
    wanted = ((ttft, ("first token", "faster", "slower")), (throughput, ("throughput", "higher", "lower")))
    parts = [_phrase(found, names) for found, names in wanted if found is not None]
    main = ttft or throughput
    details = [_detail(METRICS[k].title, perf.overall[k]) for k in _DETAILED if k in perf.overall]
    tone: Tone = "open" if main is None or not _clear(main) else ("good" if main.mean > 1 else "bad")
    headline = ", ".join(parts)
    return Statement(question, headline[0].upper() + headline[1:], "; ".join(details) + ".", tone)


_DETAILED = ("ttft_mean_s", "tpot_mean_s", "total_throughput")


def _phrase(found: Overall, names: tuple[str, str, str]) -> str:
    """`first token 1.86× faster`; says when the interval does not tell better from worse, or there is none."""
    name, better, worse = names
    ratio = units.ratio(found.mean)
    if found.interval is None:
        return f"{name} {ratio} without an interval"
    if not _clear(found):
        return f"no clear difference in {name}"
    return f"{name} {ratio} {better}" if found.mean > 1 else f"{name} {units.ratio(1 / found.mean)} {worse}"


def _clear(found: Overall) -> bool:
    """The interval leaves out 1; without one nothing is clear."""
    return found.interval is not None and (found.interval.low > 1 or found.interval.high < 1)


def _detail(title: str, found: Overall) -> str:
    text = f"{title} {units.ratio(found.mean)}"
    if found.interval is not None:
        ends = f"{found.interval.low:.2f} to {found.interval.high:.2f}"
        text += f" (95 % interval {ends}, {found.repeats} paired repeats)"
    else:
        text += " (no interval: fewer than two repeats that every point has)"
    if found.points > 1:
        text += f", {found.low:.2f} to {found.high:.2f} over {found.points} load points"
    return text


def _quality(accuracy: AccuracyAnalysis, findings: Sequence[Finding]) -> Statement:
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
    guessing = {f.column for f in findings if f.code == "chance-level"}
    if all(c.column.name in guessing for c in accuracy.columns if "total" in c.comparisons):
        headline, tone = "Quality cannot be judged: no arm is better than guessing", "open"
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
