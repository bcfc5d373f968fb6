"""What prompts found in the prefix cache beside what was chosen, first tokens by turn, and reasoning before answers."""

from swiftkv_bench import units
from swiftkv_bench.analysis.values import PerfAnalysis, PointArm, PointResult
from swiftkv_bench.checks.traffic import chosen_hits
from swiftkv_bench.render import wording
from swiftkv_bench.render.cells import Cell, Head, TableView
from swiftkv_bench.render.wording import ARM

_HITS, _TURNS = "prompt tokens from the prefix cache", "mean time to first token by turn"


def traffic_table(perf: PerfAnalysis) -> TableView | None:
    """A row an arm and point; None where nothing was to be found in the cache and requests are on their own."""
    points = [p for p in perf.points if chosen_hits(p.point) > 0 or p.point.turns is not None]
    if not points:
        return None
    turns = max((len(a.traffic.ttft_of_turn_s) for p in points for a in p.arms.values()), default=0)
    heads = [Head("Input"), Head("Load", align="left"), Head("Arm", align="left")]
    heads += [Head("chosen", _HITS), Head("measured", _HITS)]
    heads += [Head(str(k + 1), _TURNS) for k in range(turns)]
    rows = [_row(p, arm, turns) for p in points for arm in p.arms.values()]
    note = (
        "Chosen: what a cache without limit serves, in whole prompts; servers find whole blocks only. Measured: as the "
        "answers tell, else the server's counters; – where neither does."
    )
    if turns:
        note += " A turn is sent when the one before has been answered; its prompt holds all that was said before."
    return TableView("traffic", "What prompts share", tuple(heads), tuple(rows), note)


def _row(p: PointResult, arm: PointArm, turns: int) -> tuple[Cell, ...]:
    row = [Cell(wording.length(p.point.input_len)), Cell(wording.load(p.point.arrivals)), Cell(ARM[arm.arm])]
    row += [Cell(units.percent(chosen_hits(p.point))), Cell(units.percent(arm.traffic.prefix_hits))]
    times = [*arm.traffic.ttft_of_turn_s, *[None] * (turns - len(arm.traffic.ttft_of_turn_s))]
    return (*row, *(Cell(units.duration(t)) for t in times))


def reasoning_table(perf: PerfAnalysis) -> TableView | None:
    """A row an arm and point whose answers begin with reasoning; None where none does."""
    heads = [Head("Input"), Head("Load", align="left"), Head("Arm", align="left"), Head("share of output")]
    heads += [Head("first token"), Head("first answer token"), Head("without an answer")]
    rows = []
    for p in perf.points:
        for arm in p.arms.values():
            if (found := arm.traffic.reasoning) is None:
                continue
            ttft = arm.estimates.get("ttft_mean_s")
            row = [Cell(wording.length(p.point.input_len)), Cell(wording.load(p.point.arrivals)), Cell(ARM[arm.arm])]
            row += [Cell(units.percent(found.share)), Cell(units.duration(None if ttft is None else ttft.value))]
            row += [Cell(units.duration(found.first_answer_s)), Cell(f"{found.unanswered:,}")]
            rows.append(tuple(row))
    if not rows:
        return None
    note = (
        "TTFT, TPOT and output tokens count reasoning as output, for it is generated like the answer. First answer "
        "token: mean time from the send to the first content that is no reasoning."
    )
    return TableView("reasoning", "Reasoning before the answer", tuple(heads), tuple(rows), note)
