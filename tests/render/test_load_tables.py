"""Tables of load that the golden report has no data for: highest rates, and what server and machine did."""

from dataclasses import replace

import pytest

from swiftkv_bench.analysis import Analysis
from swiftkv_bench.analysis.values import MachineUse, PerfAnalysis, RateLimit, RateLimits
from swiftkv_bench.metrics import Objective
from swiftkv_bench.render.cells import TableView
from swiftkv_bench.render.load_tables import limit_table
from swiftkv_bench.render.machine_table import machine_table


@pytest.fixture
def perf(analysis: Analysis) -> PerfAnalysis:
    """The load part of the shared analysis, its first point alone."""
    whole = analysis.perf[0]
    return replace(whole, points=whole.points[:1])


def _texts(view: TableView | None) -> list[list[str]]:
    assert view is not None
    return [[cell.whole for cell in row] for row in view.rows]


def test_highest_rates_stand_with_the_rates_around_them(perf: PerfAnalysis) -> None:
    at = perf.points[0].point
    arms = {"baseline": RateLimit(2.5, 2.0, 3.0, 4), "swiftkv": RateLimit(5.0, 4.0, 6.0, 4)}
    one_end = {"baseline": RateLimit(None, None, 1.0, 2), "swiftkv": RateLimit(None, 2.0, None, 2)}
    limits = (RateLimits(at, arms, 2.0, (1.33, 3.0)), RateLimits(at, one_end, None, None))  # type: ignore[arg-type]
    view = limit_table(replace(perf, objective=Objective(ttft_s=1.0, share=0.95), limits=limits))
    assert _texts(view) == [
        ["2,000", "256", "2.5/s [2, 3]", "5/s [4, 6]", "2.00× [1.33, 3.00]"],
        ["2,000", "256", "below 1/s", "above 2/s", "–"],
    ]
    assert view is not None
    assert "95 % of requests have TTFT ≤ 1 s" in view.note


def test_without_an_objective_there_is_no_such_table(perf: PerfAnalysis) -> None:
    assert limit_table(perf) is None


def test_only_what_was_measured_has_a_column(perf: PerfAnalysis) -> None:
    used = MachineUse(1.5, 2**30, None, None, 32.0, 0.0, 0.25, 3)
    point = perf.points[0]
    arms = {arm: replace(a, machine=used if arm == "swiftkv" else None) for arm, a in point.arms.items()}
    view = machine_table(replace(perf, points=(replace(point, arms=arms),)))
    assert view is not None
    assert [head.text for head in view.heads[3:]] == [
        "engine CPUs", "engine memory", "most running", "most waiting", "most KV cache", "preemptions",
    ]  # fmt: skip
    assert _texts(view) == [["2,000", "all at once", "SwiftKV", "1.50", "1.00 GiB", "32", "0", "25 %", "3"]]


def test_a_run_without_telemetry_has_no_such_table(perf: PerfAnalysis) -> None:
    point = perf.points[0]
    arms = {arm: replace(a, machine=None) for arm, a in point.arms.items()}
    assert machine_table(replace(perf, points=(replace(point, arms=arms),))) is None
