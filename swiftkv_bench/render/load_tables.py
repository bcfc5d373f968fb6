"""Tables of load points: the card's figures with gains, where the first token's time goes, every figure."""

from swiftkv_bench import units
from swiftkv_bench.analysis.values import PerfAnalysis, PointArm, PointResult, RateLimit
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.render import wording
from swiftkv_bench.render.cells import Cell, Head, TableView, Tone
from swiftkv_bench.render.wording import ARM, MISSING
from swiftkv_bench.schema.engine import Arm

_MAIN = ("ttft_mean_s", "tpot_mean_s", "total_throughput")
_NOISE = ("ttft_p50_s", "ttft_mean_s", "tpot_p50_s", "tpot_mean_s", "total_throughput")
_DETAIL = (
    "ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "itl_p99_s", "e2e_latency_mean_s",
    "output_throughput", "achieved_rate", "goodput", "joule_per_token",
)  # fmt: skip


def load_table(perf: PerfAnalysis) -> TableView:
    """A row a point: baseline beside SwiftKV and the gain, for the card's three figures."""
    heads = [Head("Input", align="right"), Head("Load", align="left"), Head("n")]
    bounded = any(key in p.reached for p in perf.points for key in _MAIN)
    for key in _MAIN:
        title = METRICS[key].title + (", token/s" if METRICS[key].unit == "token/s" else "")
        heads += [Head(ARM["baseline"], title), Head(ARM["swiftkv"], title), Head("gain", title)]
    rows = tuple(_load_row(p) for p in perf.points)
    left_out = sum(a.trials_left_out for p in perf.points for a in p.arms.values())
    trials = max((a.trials for p in perf.points for a in p.arms.values()), default=0)
    note = (
        "n: finished requests an arm over its trials. Mean of the trials' means. Gain: how many times better SwiftKV "
        f"is, above 1 it is; geometric mean of {'the pairs of trials' if trials > 1 else 'one pair of trials'}"
        f"{', 95 % t interval of the log-ratio' if trials > 1 else ': no interval'}. "
        + ("In parentheses: share of the largest gain that arithmetic allows there. " if bounded else "")
        + "† past saturation, ✗ no valid trial: not compared."
        + (
            f" Points were not repeated once their gain was known within {units.percent(perf.stop_within, 0)}; their "
            "intervals cover 92 to 95 %."
            if perf.stop_within is not None
            else ""
        )
        + (f" {left_out} trials are left out: invalid, or without a valid partner." if left_out else "")
    )
    return TableView("load", "Speed under load", tuple(heads), rows, note)


def noise_table(perf: PerfAnalysis) -> TableView | None:
    """How far two baseline engines were apart; None without a second one."""
    if not any(p.noise for p in perf.points):
        return None
    heads = [Head("Input", align="right"), Head("Load", align="left"), Head("pairs")]
    heads += [Head(METRICS[key].title, "second baseline, times better") for key in _NOISE]
    rows = []
    for p in perf.points:
        pairs = max((gain.pairs for gain in p.noise.values()), default=0)
        row = [Cell(wording.length(p.point.input_len)), Cell(wording.load(p.point.arrivals)), Cell(f"{pairs:,}")]
        for key in _NOISE:
            found = p.noise.get(key)
            row.append(Cell(units.ratio(found.value if found else None), "plain", wording.gain_interval(found)))
        rows.append(tuple(row))
    note = (
        "A second engine like the baseline's took its turn under the same load: all that differs is noise. An interval "
        "that leaves out 1 is a difference that nothing made. A gain no further from 1 than these says nothing."
    )
    return TableView("noise", "Noise floor: the baseline again", tuple(heads), tuple(rows), note)


def _load_row(p: PointResult) -> tuple[Cell, ...]:
    mark = " ✗" if not p.valid else " †" if any(a.saturated for a in p.arms.values()) else ""
    n = min((a.ok for a in p.arms.values()), default=0)
    row = [Cell(wording.length(p.point.input_len)), Cell(wording.load(p.point.arrivals) + mark), Cell(f"{n:,}")]
    for key in _MAIN:
        for arm in ("baseline", "swiftkv"):
            measured = p.arms.get(arm)
            value = None if measured is None else measured.estimates.get(key)
            row.append(Cell(wording.estimate(key, value), "quiet" if not p.valid else "plain"))
        found = p.gains.get(key)
        tone: Tone = "plain"
        # At a set rate, the rate sets the throughput: equal is neither good nor bad.
        set_by_rate = METRICS[key].better == "higher" and p.point.arrivals.rate is not None
        if found is not None and found.interval is not None and not set_by_rate:
            tone = "good" if found.interval.low > 1 else "bad" if found.interval.high < 1 else "plain"
        share = f" ({units.percent(p.reached[key], 0)})" if key in p.reached else ""
        row.append(Cell(units.ratio(found.value if found else None) + share, tone, wording.gain_interval(found)))
    return tuple(row)


def bound_table(perf: PerfAnalysis) -> TableView | None:
    """Where the first token's time went, and how much of the theoretical gain was reached; a part without data is
    left out."""
    counted = any(a.breakdown is not None for p in perf.points for a in p.arms.values())
    bounded = any(p.bound is not None for p in perf.points)
    if not counted and not bounded:
        return None
    heads = [Head("Input"), Head("Load", align="left")]
    heads += [Head("Arm", align="left"), *(Head(t, _SPLIT) for t in ("TTFT", "queue", "prefill", "rest"))] * counted
    heads += [Head(t, "largest gain") for t in ("TTFT", "throughput", "of share")] * bounded
    rows = []
    for p in perf.points:
        arms: list[tuple[Arm, PointArm | None]] = list(p.arms.items()) if counted else [("swiftkv", None)]
        for arm, measured in arms:
            row = [Cell(wording.length(p.point.input_len)), Cell(wording.load(p.point.arrivals))]
            if measured is not None:
                split = measured.breakdown
                times = (split.ttft_s, split.queue_s, split.prefill_s, split.rest_s) if split else (None,) * 4
                row += [Cell(ARM[arm]), *(Cell(units.duration(t)) for t in times)]
            limit = p.bound if arm == "swiftkv" else None
            limits = [units.ratio(limit.ttft if limit else None), units.ratio(limit.throughput if limit else None)]
            limits += [units.percent(limit.prefill_share if limit else None, 0)]
            row += [Cell(text, "quiet") for text in limits] * bounded
            rows.append(tuple(row))
    bases = sorted({p.bound.basis for p in perf.points if p.bound is not None and p.bound.throughput is not None})
    note = "Queue and prefill are the server's own counters; rest is network, tokenising and sending. " * counted
    note += (
        "Largest gain: of TTFT without queueing, prefill FLOPs of the baseline divided by SwiftKV's (a queue can lift "
        "a gain above it); of throughput, that ratio on the given share of the baseline's time and 1 on the rest "
        "(Amdahl)" + (f"; share from {' or '.join(bases)}." if bases else ".")
    ) * bounded
    titles = ["Where the first token's time goes"] * counted + ["What arithmetic allows"] * bounded
    title = ", and ".join([titles[0], *(t[0].lower() + t[1:] for t in titles[1:])])
    return TableView("bound", title, tuple(heads), tuple(rows), note.strip(), folded=True)


_SPLIT = "mean time to first token"


def limit_table(perf: PerfAnalysis) -> TableView | None:
    """The highest rate of each arm under the objective; None without one."""
    if perf.objective is None or not perf.limits:
        return None
    group = "Highest rate under the objective"
    heads = [Head("Input"), Head("Output"), *(Head(ARM[arm], group) for arm in ("baseline", "swiftkv")), Head("gain")]
    rows = []
    for found in perf.limits:
        row = [Cell(wording.length(found.point.input_len)), Cell(wording.length(found.point.output_len))]
        row += [_limit(found.arms.get(arm)) for arm in ("baseline", "swiftkv")]
        ends = "" if found.gain_ends is None else f"[{found.gain_ends[0]:.2f}, {found.gain_ends[1]:.2f}]"
        rows.append((*row, Cell(units.ratio(found.gain), "plain", ends)))
    note = (
        f"The highest rate at which {units.percent(perf.objective.share, 0)} of requests have {perf.objective.text}, "
        "interpolated on that share. Brackets: the last rate measured that met it and the first that did not, and the "
        "gain between these ends; they are no confidence intervals."
    )
    return TableView("limit", "Highest rate that meets the objective", tuple(heads), tuple(rows), note)


def _limit(found: RateLimit | None) -> Cell:
    if found is None or not found.points:
        return Cell(MISSING)
    if found.low is None:
        return Cell(f"below {units.rate(found.high)}")
    if found.high is None:
        return Cell(f"above {units.rate(found.low)}")
    return Cell(units.rate(found.rate), "plain", f"[{found.low:.3g}, {found.high:.3g}]")


def detail_table(perf: PerfAnalysis) -> TableView:
    """Every further figure, a row an arm and point."""
    keys = [k for k in _DETAIL if any(k in a.estimates for p in perf.points for a in p.arms.values())]
    heads = [
        Head("Input"),
        Head("Load", align="left"),
        Head("Arm", align="left"),
        Head("trials"),
        Head("n"),
        Head("failed"),
    ]
    heads += [Head(METRICS[k].title + (", token/s" if METRICS[k].unit == "token/s" else "")) for k in keys]
    rows = []
    for p in perf.points:
        for arm, a in p.arms.items():
            failed = sum(a.failures.values())
            row = [Cell(wording.length(p.point.input_len)), Cell(wording.load(p.point.arrivals)), Cell(ARM[arm])]
            row += [Cell(str(a.trials)), Cell(f"{a.ok:,}"), Cell(f"{failed:,}", "bad" if failed else "quiet")]
            row += [Cell(wording.estimate(k, a.estimates.get(k), interval=True)) for k in keys]
            rows.append(tuple(row))
    note = (
        "Brackets: 95 % interval over trials; of a single trial's percentile, over its requests. –: too few requests."
    )
    if perf.objective is not None:
        note += f" Goodput counts requests with {perf.objective.text}."
    return TableView("detail", "All figures of every load point", tuple(heads), tuple(rows), note, folded=True)
