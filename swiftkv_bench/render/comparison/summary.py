"""What a reader of a comparison must know first: did it get worse, where, by how much, and what was compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from swiftkv_bench import units
from swiftkv_bench.evidence.run import Side
from swiftkv_bench.judge.comparison import Note, RunComparison
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.render import wording
from swiftkv_bench.render.comparison import lines
from swiftkv_bench.render.summary import TONE, Figure, Statement
from swiftkv_bench.render.wording import ARM

FIGURES_SHOWN = 4
"""Claims that one answer names; the tables have all."""

SIDE = {"both": "both sides", "reference": "reference side", "candidate": "candidate side"}


def title(found: RunComparison) -> str:
    """`FAIL: candidate against reference`."""
    return f"{found.verdicts.overall.value}: {found.candidate.label} against {found.reference.label}"


def statements(found: RunComparison) -> tuple[Statement, ...]:
    """Overall, accuracy, performance, trust; a part without lines is left out."""
    parts = [_overall(found)]
    if found.verdicts.accuracy is not None:
        parts.append(_part(found, "accuracy", found.verdicts.accuracy))
    if found.verdicts.performance is not None:
        parts.append(_part(found, "performance", found.verdicts.performance))
    return (*parts, _trust([group.finding for group in grouped_notes(found)]))


def headline(found: RunComparison) -> str:
    """The verdict in one sentence without its mark."""
    failed, open_ = lines.failed(found.lines), lines.undecided(found.lines)
    if found.verdicts.overall is Verdict.FAIL:
        return f"{units.counted(len(failed), 'claim')} {'is' if len(failed) == 1 else 'are'} worse than allowed"
    if found.verdicts.overall is Verdict.PASS:
        return "every claim that decides is within its margin"
    n = len(open_)
    return f"{units.counted(n, 'claim')} that decide{'s' if n == 1 else ''} cannot be told from the margin yet"


def _overall(found: RunComparison) -> Statement:
    question = "Did the candidate get worse?"
    answer = {Verdict.FAIL: "Yes", Verdict.PASS: "No", Verdict.INCONCLUSIVE: "Not decided"}[found.verdicts.overall]
    named = lines.failed(found.lines) or lines.undecided(found.lines)
    more = len(named) - FIGURES_SHOWN
    detail = f"{units.counted(found.claims, 'claim')} {'decides or guards' if found.claims == 1 else 'decide or guard'}"
    if found.policy.correction == "holm" and found.claims > 1:
        detail += f"; their FAILs are corrected together (Holm), so that {units.percent(found.policy.alpha, 0)} is the"
        detail += " chance of any false one"
    detail += "." + (
        f" {units.counted(more, 'more claim')} {'is' if more == 1 else 'are'} in the tables." if more > 0 else ""
    )
    figures = tuple(_figure(line, found.mode) for line in named[:FIGURES_SHOWN])
    return Statement(question, f"{answer}: {headline(found)}", figures, detail, TONE[found.verdicts.overall])


def _part(found: RunComparison, part: str, verdict: Verdict) -> Statement:
    main = [line for line in lines.main(found.lines) if line.part == part][:FIGURES_SHOWN]
    every = [line for line in found.lines if line.part == part and line.role != "shown"]
    counts = [f"{sum(x.verdict is v for x in every)} {v.value}" for v in Verdict]
    question = "Accuracy" if part == "accuracy" else "Speed under load"
    heads = {
        Verdict.PASS: "Holds within every margin",
        Verdict.FAIL: "Worse than allowed",
        Verdict.INCONCLUSIVE: "Not decided",
    }
    detail = f"{units.counted(len(every), 'claim')}: {', '.join(counts)}."
    return Statement(question, heads[verdict], tuple(_figure(line, found.mode) for line in main), detail, TONE[verdict])


def _figure(line: Line, mode: Literal["runs", "arms"]) -> Figure:
    label = lines.name(line)
    plain = ("reference run", "accepted run") if mode == "runs" else ("baseline arm",)
    if line.reference not in plain:
        label += f", {lines.pair(line.candidate_arm, line.reference)}"
    elif line.candidate_arm != "swiftkv":
        label += f", {ARM[line.candidate_arm]}"
    note = f"{lines.bounds(line)} allowed {lines.limit(line)}, n = {lines.count(line)}".strip()
    more = lines.outlook(line)
    shown = f"{lines.effect(line, line.effect)}{lines.unit(line)}" if line.effect is not None else line.verdict.value
    return Figure(label[0].upper() + label[1:], shown, note + (f"; {more}" if more else ""))


def _trust(notes: Sequence[Note]) -> Statement:
    question = "Can it be trusted?"
    grave = [n for n in notes if n.severity == "invalid"]
    warnings = [n for n in notes if n.severity == "warning"]
    if not grave and not warnings:
        text = "Both sides passed every check of their own, and nothing differs that should not."
        return Statement(question, "Nothing stands against the comparison", (), text, "good")
    first = (grave or warnings)[0]
    rest = len(grave) + len(warnings) - 1
    detail = f"{first.message} ({SIDE[first.side]})" + (f" And {rest} more below." if rest else "")
    if grave:
        n = len(grave)
        return Statement(question, f"{n} finding{'s take' if n > 1 else ' takes'} figures out", (), detail, "bad")
    n = len(warnings)
    return Statement(question, f"{n} warning{'s stand' if n > 1 else ' stands'} beside it", (), detail, "open")


@dataclass(frozen=True)
class NotedGroup:
    """Notes of one text that differ in place alone; looks like a group of findings."""

    finding: Note
    places: tuple[str, ...]


def grouped_notes(found: RunComparison) -> tuple[NotedGroup, ...]:
    """By severity and code, gravest first; the first one's text stands for all."""
    order = {"invalid": 0, "warning": 1, "note": 2}
    groups: dict[tuple[str, str], list[Note]] = {}
    for note in sorted(found.notes, key=lambda n: order[n.severity]):
        groups.setdefault((note.severity, note.code), []).append(note)
    return tuple(NotedGroup(of[0], tuple(dict.fromkeys(_place(found, n) for n in of))) for of in groups.values())


def _place(found: RunComparison, note: Note) -> str:
    points = {line.where: wording.point(line.point) for line in found.lines if line.point is not None}
    titles = {line.where: line.title for line in found.lines if line.family == "score"}
    where = None if note.where is None else points.get(note.where, titles.get(note.where, note.where))
    parts = [where, ARM[note.arm] if note.arm is not None else None]
    return ", ".join([*(p for p in parts if p), SIDE[note.side]])


def compared(found: RunComparison) -> tuple[tuple[str, str], ...]:
    """What was compared, as (name, text); what both sides share is told once."""
    sides = (found.reference, found.candidate)
    facts = [("Reference", _run(sides[0])), ("Candidate", _run(sides[1]))]
    for name, tell in (("Engines", _engines), ("Machine", lambda side: wording.machine(side.machine))):
        texts = [tell(side) for side in sides]
        names = (name,) if texts[0] == texts[1] else (f"{name}, reference", f"{name}, candidate")
        facts += list(zip(names, texts, strict=False))
    differing = {"variable": "on purpose, by the policy", "allowed": "allowed by --allow", "noted": "need not be equal"}
    for status, why in differing.items():
        texts = [f"{k.key}: {k.reference} against {k.candidate}" for k in found.keys if k.status == status]
        facts += [(f"Differs ({why})", "; ".join(texts))] if texts else []
    held = [k.key for k in found.keys if k.status == "equal"]
    facts += [("Held fixed", ", ".join(held))] if held else []
    correction = "Holm's correction" if found.policy.correction == "holm" else "no correction"
    source = found.policy_source or "the default policy"
    confidence = units.percent(found.policy.confidence, 0)
    facts.append(("Policy", f"{source}: one-sided confidence {confidence}, {correction}"))
    return tuple(facts)


def _run(side: Side) -> str:
    when = side.created_utc[:16].replace("T", " ")
    accepted = "" if side.accepted_utc is None else f", accepted {side.accepted_utc[:16].replace('T', ' ')} UTC"
    commit = "" if side.git is None else f", commit {side.git.commit[:12]}{' (changed)' if side.git.dirty else ''}"
    return f"{side.label}: run {side.run_id} of {when} UTC{accepted}, swiftkv-bench {side.harness_version}{commit}"


def _engines(side: Side) -> str:
    arms = [s for s in side.engines if side.arm is None or s.arm == side.arm]
    return "; ".join(f"{ARM[s.arm]}: {wording.engine(s, side.engine_versions.get(s.arm))}" for s in arms)
