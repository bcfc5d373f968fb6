"""What a reader must know first: what was compared, is it faster, does quality hold, can the figures be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from swiftkv_bench import units
from swiftkv_bench.analysis.values import AccuracyAnalysis, Analysis, Comparison, Overall, PerfAnalysis
from swiftkv_bench.checks import Finding
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.render import wording
from swiftkv_bench.render.findings import grouped_findings
from swiftkv_bench.render.several import Part, told_apart

Tone = Literal["good", "bad", "open"]
TONE: Mapping[Verdict, Tone] = {Verdict.PASS: "good", Verdict.FAIL: "bad", Verdict.INCONCLUSIVE: "open"}


@dataclass(frozen=True)
class Figure:
    """One figure behind an answer: `TTFT mean`, `1.84×`, and what must stand beside it (interval, n)."""

    label: str
    value: str
    note: str = ""

    @property
    def text(self) -> str:
        """On one line."""
        return f"{self.label} {self.value}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Statement:
    """One answer.

    Attributes:
        question: what it answers.
        headline: the answer in a few words.
        figures: what it rests on.
        detail: more, in one sentence; empty when the figures say all.
        tone: whether it speaks for SwiftKV, against it, or decides nothing.
    """

    question: str
    headline: str
    figures: tuple[Figure, ...]
    detail: str
    tone: Tone

    @property
    def text(self) -> str:
        """Figures and detail as prose."""
        figures = "; ".join(figure.text for figure in self.figures)
        return " ".join(part for part in (figures and f"{figures}.", self.detail) if part)


def statements(analysis: Analysis) -> tuple[Statement, ...]:
    """Speed, quality, trust; a question without data is left out."""
    speed = [_told_apart(_speed(part), part, analysis.perf) for part in analysis.perf]
    quality = [_told_apart(_quality(part, analysis.findings), part, analysis.accuracy) for part in analysis.accuracy]
    return (*speed, *quality, _trust(analysis))


def _told_apart(found: Statement, part: Part, parts: Sequence[Part]) -> Statement:
    return replace(found, question=told_apart(found.question, part, parts))


def _speed(perf: PerfAnalysis) -> Statement:
    question = "Is it faster here?"
    ttft, throughput = perf.overall.get("ttft_mean_s"), perf.overall.get("total_throughput")
    if ttft is None and throughput is None:
        why = sorted({p.withheld for p in perf.points if p.withheld is not None})
        recorded = sum(a.trials for p in perf.points for a in p.arms.values())
        detail = "; ".join(why) if why else f"{recorded} of {perf.planned_trials} trials were recorded"
        return Statement(question, "No speed comparison could be made", (), detail.capitalize() + ".", "open")
    wanted = ((ttft, ("first token", "faster", "slower")), (throughput, ("throughput", "higher", "lower")))
    parts = [_phrase(found, names) for found, names in wanted if found is not None and found.interval is not None]
    main = ttft or throughput
    figures = tuple(_figure(METRICS[k].title, perf.overall[k]) for k in _DETAILED if k in perf.overall)
    detail = "Geometric mean of the gains over load points; above 1× SwiftKV is better."
    if not parts:
        headline = "Speed is not decided: too few repeats"
        detail += " An interval needs two valid repeats of every load point."
    else:
        headline = ", ".join(parts)
    tone: Tone = "open" if main is None or not _clear(main) else ("good" if main.mean > 1 else "bad")
    return Statement(question, headline[0].upper() + headline[1:], figures, detail, tone)


_DETAILED = ("ttft_mean_s", "tpot_mean_s", "total_throughput")


def _phrase(found: Overall, names: tuple[str, str, str]) -> str:
    """`first token 1.86× faster`; says when the interval does not tell better from worse."""
    name, better, worse = names
    if not _clear(found):
        return f"no clear difference in {name}"
    return (
        f"{name} {units.ratio(found.mean)} {better}"
        if found.mean > 1
        else f"{name} {units.ratio(1 / found.mean)} {worse}"
    )


def _clear(found: Overall) -> bool:
    """The interval leaves out 1; without one nothing is clear."""
    return found.interval is not None and (found.interval.low > 1 or found.interval.high < 1)


def _figure(title: str, found: Overall) -> Figure:
    notes = []
    if found.interval is not None:
        ends = f"{found.interval.low:.2f} to {found.interval.high:.2f}"
        notes.append(f"95 % interval {ends}, {_repeats(*found.repeats)}")
    else:
        notes.append("no interval")
    if found.points > 1:
        notes.append(f"{found.low:.2f} to {found.high:.2f} over {found.points} load points")
    return Figure(title, units.ratio(found.mean), "; ".join(notes))


def _repeats(fewest: int, most: int) -> str:
    """Repeats in which both arms' figures stand, from the load point with the fewest to the one with the most."""
    if fewest == most:
        return units.counted(fewest, "paired repeat")
    return f"{fewest} to {most} paired repeats a load point"


def _quality(accuracy: AccuracyAnalysis, findings: Sequence[Finding]) -> Statement:
    question = "Does quality hold?"
    verdict = accuracy.verdict
    if verdict is None:
        why = [f"{c.column.title}: {a.reason}" for c in accuracy.columns for a in c.arms.values() if a.reason]
        detail = "; ".join(why[:3]) + "." if why else "No column was answered by both arms."
        return Statement(question, "No quality comparison could be made", (), detail, "open")
    words = {
        Verdict.PASS: "Quality holds within every margin",
        Verdict.FAIL: "Quality is lost beyond a margin",
        Verdict.INCONCLUSIVE: "Quality is not decided",
    }
    headline, tone = words[verdict], TONE[verdict]
    guessing = {f.column for f in findings if f.code == "chance-level"}
    if all(c.column.name in guessing for c in accuracy.columns if "total" in c.comparisons):
        headline, tone = "Quality cannot be judged: no arm is better than guessing", "open"
    named = {
        label: [c.column.title for c in accuracy.columns if _verdict(c.comparisons.get("total")) is kind]
        for label, kind in (("lost", Verdict.FAIL), ("not decided", Verdict.INCONCLUSIVE), ("held", Verdict.PASS))
    }
    named["guards that failed"] = [x.title for x in accuracy.failed if x.role == "guard"]
    named["not compared"] = [c.column.title for c in accuracy.columns if "total" not in c.comparisons]
    if named["not compared"] and verdict is Verdict.PASS:
        headline += f", in {units.counted(len(named['held']), 'column')} of {len(accuracy.columns)}"
    figures = (*_average(accuracy), *_flips(accuracy))
    detail = "; ".join(f"{label}: {', '.join(titles)}" for label, titles in named.items() if titles) + "."
    return Statement(question, headline, figures, detail[0].upper() + detail[1:], tone)


def _average(accuracy: AccuracyAnalysis) -> tuple[Figure, ...]:
    macro = accuracy.macro
    if macro is None or "total" not in macro.comparisons:
        return ()
    delta = macro.comparisons["total"].delta
    note = f"n = {delta.n:,} items"
    if delta.interval is not None:
        ends = f"{units.points(delta.interval.low)} to {units.points(delta.interval.high)}"
        note = f"95 % interval {ends}, {note}"
    label = f"{wording.average(macro, len(accuracy.columns))} columns"
    return (Figure(label, f"{units.points(delta.delta)} points", note),)


def _flips(accuracy: AccuracyAnalysis) -> tuple[Figure, ...]:
    deltas = [c.comparisons["total"].delta for c in accuracy.columns if "total" in c.comparisons]
    counted = [d for d in deltas if d.lost is not None and d.gained is not None]
    if not counted:
        return ()
    lost, gained = sum(d.lost or 0 for d in counted), sum(d.gained or 0 for d in counted)
    n = sum(d.n for d in counted)
    note = f"{lost:,} right to wrong, {gained:,} wrong to right"
    note += "" if len(counted) == len(deltas) else "; scores between 0 and 1 are not counted"
    return (Figure("Flips", f"{lost + gained:,} of {n:,}", note),)


def _verdict(comparison: Comparison | None) -> Verdict | None:
    return None if comparison is None else comparison.verdict


def _trust(analysis: Analysis) -> Statement:
    question = "Can the figures be trusted?"
    groups = [g for g in grouped_findings(analysis) if g.finding.severity != "note"]
    invalid = [g for g in groups if g.finding.severity == "invalid"]
    if not groups:
        detail = "Every check of the client, the server and the answers passed."
        return Statement(question, "Nothing stands against the figures", (), detail, "good")
    n, rest = len(invalid) or len(groups), len(groups) - 1
    detail = groups[0].finding.message
    if groups[0].places:
        detail += f" ({groups[0].places[0]}{'' if len(groups[0].places) == 1 else ' and elsewhere'})"
    if rest:
        detail += f" And {rest} more, with what to do about each, below."
    if invalid:
        headline = f"{n} finding{'s take' if n > 1 else ' takes'} a figure out of the comparison"
        return Statement(question, headline, (), detail, "bad")
    headline = f"{n} warning{'s stand' if n > 1 else ' stands'} beside the figures"
    return Statement(question, headline, (), detail, "open")


def title(analysis: Analysis) -> str:
    """`SwiftKV against its baseline: <model> and <model>`."""
    return f"SwiftKV against its baseline: {models(analysis)}"


def models(analysis: Analysis) -> str:
    """`<SwiftKV's model> against <the baseline's>`."""
    specs = {spec.arm: wording.model_name(spec) for spec in analysis.runs[0].manifest.engines}
    return " against ".join(dict.fromkeys(specs[arm] for arm in ("swiftkv", "baseline") if arm in specs))


def compared(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    """What was compared, as (name, text): the two sides, what was asked, the load, the machine, the program."""
    run = analysis.runs[0].manifest
    versions = {info.arm: info.version for info in run.engine_info}
    facts = [(wording.ARM[spec.arm], wording.engine(spec, versions.get(spec.arm))) for spec in run.engines]
    facts += [("Quality", _asked(part)) for part in analysis.accuracy]
    facts += [("Load", _load(perf)) for perf in analysis.perf if perf.points]
    facts.append(("Machine", wording.machine(run.machine)))
    facts.append(("Measured", wording.measured(run)))
    return tuple(facts)


def _asked(part: AccuracyAnalysis) -> str:
    n = len(part.columns)
    size = (
        f", a seeded sample of {part.plan.limit:,} items each, the same for every arm" if part.plan.limit else ", whole"
    )
    short = any(a.status == "incomplete" for c in part.columns for a in c.arms.values())
    answered = f"{part.items_total:,} items {'answered by an arm at least' if short else 'an arm'}"
    return f"suite {part.plan.suite}: {units.counted(n, 'column')}{size}; {answered}"


def _load(perf: PerfAnalysis) -> str:
    inputs = " / ".join(f"{n:,.0f}" for n in sorted({p.point.input_len.mean for p in perf.points}))
    outputs = " / ".join(f"{n:,.0f}" for n in sorted({p.point.output_len.mean for p in perf.points}))
    loads = ", ".join(_loads(perf))
    pairs = [max(g.pairs for g in p.gains.values()) for p in perf.points if p.gains]
    requests = sum(a.ok for p in perf.points for a in p.arms.values())
    text = f"{inputs} input and {outputs} output tokens; {loads}; {requests:,} finished requests in the figures"
    return f"{text}, {_repeats(min(pairs), max(pairs))}" if pairs else text


def _loads(perf: PerfAnalysis) -> list[str]:
    """Batches and closed loops by name, rates by their range when there are more than three."""
    found = [p.point.arrivals for p in perf.points]
    out = list(dict.fromkeys(wording.load(a) for a in found if a.rate is None))
    rates = sorted({a.rate for a in found if a.rate is not None})
    if len(rates) > 3:
        return [*out, f"{rates[0]:g}/s to {rates[-1]:g}/s ({len(rates)} rates)"]
    return [*out, *dict.fromkeys(wording.load(a) for a in found if a.rate is not None)]
