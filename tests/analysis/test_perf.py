"""Load points from trials with known latencies."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.analysis import PerfAnalysis, PointResult, analyse
from swiftkv_bench.checks import Finding
from swiftkv_bench.metrics import Objective
from swiftkv_bench.roofline import prefill_bound
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.schema.perf import Arrivals, PerfPlan, RequestTable, Trial
from swiftkv_bench.schema.telemetry import GpuTelemetry, Telemetry
from swiftkv_bench.store import Run, create_run
from tests.synthetic import LLAMA_8B, SWIFTKV_8B, load_run, manifest, point, table, trial_record, with_failures

RATE = Arrivals(process="poisson", rate=10.0)
AT = point(100, RATE, 40, output_len=4)
ARMS: tuple[Arm, ...] = ("baseline", "swiftkv")


def _schedule(repeat: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.cumsum(np.random.default_rng(repeat).exponential(0.1, 40))


def _run(folder: Path, tables: dict[Arm, Sequence[RequestTable]]) -> Run:
    """One point, a trial a table."""
    trials = [
        Trial(trial_id=f"{arm}-{k}", point=AT, arm=arm, repeat=k, seed=k)
        for arm, of_arm in tables.items()
        for k in range(len(of_arm))
    ]
    run = create_run(folder, manifest("r", RunPlan(perf=PerfPlan(seed=0, trials=tuple(trials))), list(tables)))
    for trial in trials:
        given = tables[trial.arm][trial.repeat]
        record = trial_record(AT, trial.arm, trial.repeat, window_s=float(given.scheduled_s.max()))
        run.write_trial(record.model_copy(update={"trial": trial}), given)
    return run


def _analysed(run: Run, objective: Objective | None = None) -> tuple[PerfAnalysis, PointResult, tuple[Finding, ...]]:
    found = analyse(run, objective)
    assert len(found.perf) == 1
    return found.perf[0], found.perf[0].points[0], found.findings


def _tables(ttft_s: Sequence[float], lateness_s: float = 0.0) -> list[RequestTable]:
    """A trial a value: every request has that TTFT."""
    return [table(_schedule(k), np.full(40, t), lateness_s=lateness_s) for k, t in enumerate(ttft_s)]


def test_an_estimate_is_the_mean_of_its_trials_with_an_interval_over_them(tmp_path: Path) -> None:
    _, p, _ = _analysed(_run(tmp_path / "r", {"baseline": _tables([0.2, 0.3, 0.4]), "swiftkv": _tables([0.1] * 3)}))
    found = p.arms["baseline"].estimates["ttft_mean_s"]
    assert found.value == pytest.approx(0.3)
    assert found.trials == pytest.approx((0.2, 0.3, 0.4), abs=1e-6)
    assert found.interval is not None
    # t(2) = 4.302653, s = 0.1
    assert found.interval.half_width == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-4)

    assert (found.requests, p.arms["baseline"].trials) == (120, 3)


def test_no_interval_of_a_latency_goes_below_zero(tmp_path: Path) -> None:
    _, p, _ = _analysed(_run(tmp_path / "r", {"baseline": _tables([0.1, 0.9]), "swiftkv": _tables([0.1] * 2)}))
    found = p.arms["baseline"].estimates["ttft_mean_s"].interval
    assert found is not None
    assert (found.low, found.high > 1) == (0.0, True)


def test_a_gain_pairs_trials_of_the_same_repeat_and_is_above_one_when_better(tmp_path: Path) -> None:
    run = _run(tmp_path / "r", {"baseline": _tables([0.2, 0.4]), "swiftkv": _tables([0.1, 0.1])})
    perf, p, _ = _analysed(run)
    gain = p.gains["ttft_mean_s"]
    assert gain.value == pytest.approx(8**0.5, rel=1e-4)
    assert gain.by_repeat == pytest.approx({0: 2.0, 1: 4.0}, rel=1e-4)
    assert perf.overall["ttft_mean_s"].mean == pytest.approx(gain.value)
    over = perf.overall["ttft_mean_s"].interval
    assert gain.interval is not None
    assert over is not None
    assert (over.low, over.high) == pytest.approx((gain.interval.low, gain.interval.high))


def test_one_trial_has_no_interval_and_says_so(tmp_path: Path) -> None:
    _, p, _ = _analysed(_run(tmp_path / "r", {"baseline": _tables([0.2]), "swiftkv": _tables([0.1])}))
    found, gain = p.arms["swiftkv"].estimates["ttft_mean_s"], p.gains["ttft_mean_s"]
    assert (found.interval, found.method) == (None, "one trial: no interval")
    assert (gain.interval, gain.p, gain.pairs) == (None, None, 1)


def test_a_repeat_that_is_invalid_on_one_arm_is_left_out_on_both(tmp_path: Path) -> None:
    late = _tables([0.1], lateness_s=0.5)[0]
    swift = [*_tables([0.1, 0.1]), replace(late, scheduled_s=_schedule(2), sent_s=_schedule(2) + 0.5)]
    _, p, findings = _analysed(_run(tmp_path / "r", {"baseline": _tables([0.2, 0.2, 0.9]), "swiftkv": swift}))
    assert [(a.valid, a.trials, a.trials_left_out) for a in p.arms.values()] == [(True, 2, 1)] * 2
    assert p.arms["baseline"].estimates["ttft_mean_s"].value == pytest.approx(0.2)
    assert p.gains["ttft_mean_s"].pairs == 2
    assert ("late-client", "invalid", "swiftkv", 1) in [(f.code, f.severity, f.arm, f.trials) for f in findings]


def test_a_point_without_a_valid_repeat_keeps_its_figures_and_is_not_compared(tmp_path: Path) -> None:
    run = _run(tmp_path / "r", {"baseline": _tables([0.2, 0.2], lateness_s=0.5), "swiftkv": _tables([0.1, 0.1])})
    perf, p, _ = _analysed(run)
    assert (p.valid, p.gains, p.withheld) == (False, {}, "no repeat is valid on every arm")
    assert p.arms["baseline"].estimates["ttft_mean_s"].value == pytest.approx(0.2)
    assert perf.overall == {}


def test_an_arm_that_was_not_measured_leaves_no_gain(tmp_path: Path) -> None:
    _, p, _ = _analysed(_run(tmp_path / "r", {"baseline": _tables([0.2])}))
    assert (p.gains, p.withheld) == ({}, "one arm was not measured")


def test_percentiles_pool_requests_where_no_trial_supports_them(tmp_path: Path) -> None:
    spread = [table(_schedule(k), np.linspace(0.1, 0.2, 40)) for k in range(2)]
    _, p, _ = _analysed(_run(tmp_path / "r", {"baseline": spread, "swiftkv": spread}))
    estimates = p.arms["baseline"].estimates
    assert estimates["ttft_p50_s"].method == "mean of 2 trials, t interval"
    assert estimates["ttft_p90_s"].method == "requests of 2 trials pooled, taken as independent"
    assert estimates["ttft_p90_s"].value == pytest.approx(
        np.quantile(np.tile(np.linspace(0.1, 0.2, 40), 2), 0.9), abs=1e-6
    )
    assert "ttft_p99_s" not in estimates
    assert "ttft_p90_s" not in p.gains


def test_a_failed_trial_leaves_a_finding_and_no_figure(tmp_path: Path) -> None:
    run = _run(tmp_path / "r", {"baseline": _tables([0.2, 0.2]), "swiftkv": _tables([0.1, 0.1])})
    record, given = next((r, t) for r, t in run.trials() if (r.trial.arm, r.trial.repeat) == ("swiftkv", 1))
    run.write_trial(record.model_copy(update={"status": "failed", "reason": "the engine died"}), given)
    _, p, findings = _analysed(run)
    assert [a.trials for a in p.arms.values()] == [1, 1]
    assert ("trial-incomplete", "invalid") in [(f.code, f.severity) for f in findings]


def test_failures_are_summed_over_trials(tmp_path: Path) -> None:
    broken = [with_failures(t, [5]) for t in _tables([0.1, 0.1])]
    _, p, _ = _analysed(_run(tmp_path / "r", {"baseline": _tables([0.1, 0.1]), "swiftkv": broken}))
    a = p.arms["swiftkv"]
    assert (a.requests, a.ok, a.failures) == (80, 78, {"reset": 2})


def test_goodput_has_a_share_with_a_wilson_interval(tmp_path: Path) -> None:
    run = _run(tmp_path / "r", {"baseline": _tables([0.2, 0.4]), "swiftkv": _tables([0.1, 0.1])})
    _, p, _ = _analysed(run, Objective(ttft_s=0.3))
    share = p.arms["baseline"].goodput_share
    assert share is not None
    assert share[0] == 0.5
    assert share[1].method == "Wilson over 80"
    assert p.arms["swiftkv"].goodput_share is not None
    assert _analysed(run)[1].arms["swiftkv"].goodput_share is None


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> PerfAnalysis:
    """The card's grid without noise."""
    return analyse(load_run(tmp_path_factory.mktemp("grid") / "r", noise=0.0, requests=40)).perf[0]


def test_the_bound_is_that_of_the_models_in_the_manifest(grid: PerfAnalysis) -> None:
    bound = grid.points[0].bound
    assert bound is not None
    assert bound.ttft == prefill_bound(LLAMA_8B, SWIFTKV_8B, 2000)
    assert bound.throughput is not None
    assert 1 < bound.throughput < bound.ttft
    gains, reached = grid.points[0].gains, grid.points[0].reached
    assert reached["ttft_mean_s"] == gains["ttft_mean_s"].value / bound.ttft
    assert reached["total_throughput"] == gains["total_throughput"].value / bound.throughput
    assert "tpot_mean_s" not in reached


def test_ttft_is_split_into_queue_prefill_and_rest(grid: PerfAnalysis) -> None:
    split = next(p for p in grid.points if p.point.arrivals.rate == 1.0 and p.point.input_len.mean == 2000)
    found = split.arms["baseline"].breakdown
    assert found is not None
    assert found.queue_s + found.prefill_s + found.rest_s == pytest.approx(found.ttft_s)
    assert found.rest_s == pytest.approx(0.004, abs=1e-5)
    assert found.prefill_s == pytest.approx(2000 / 42_000 * (1 + 2000 / 150_000))


def test_the_noiseless_grid_gives_the_gain_it_was_made_with(grid: PerfAnalysis) -> None:
    at_once = {p.point.input_len.mean: p for p in grid.points if p.point.arrivals.process == "all-at-once"}
    for size, p in at_once.items():
        prefill = {"baseline": size / 42_000, "swiftkv": size / 76_000}
        # Requests are served one after the other: mean TTFT is (n + 1)/2 prefills, and 4 ms.
        base, swift = (10.5 * t * (1 + size / 150_000) + 0.004 for t in prefill.values())
        assert p.gains["ttft_mean_s"].value == pytest.approx(base / swift, rel=1e-4)


def test_saturated_points_compare_throughput_and_no_latency(grid: PerfAnalysis) -> None:
    p = next(p for p in grid.points if p.point.arrivals.rate == 1.4)
    assert (p.arms["baseline"].saturated, p.arms["swiftkv"].saturated) == (True, False)
    assert "total_throughput" in p.gains
    assert "ttft_mean_s" not in p.gains
    assert p.withheld is not None
    assert "past saturation on baseline" in p.withheld


def test_overall_throughput_leaves_out_points_at_a_set_rate(grid: PerfAnalysis) -> None:
    assert grid.overall["total_throughput"].points == 3
    assert grid.overall["ttft_mean_s"].points > 10


def test_analysis_is_a_function_of_the_records(tmp_path: Path) -> None:
    run = load_run(tmp_path / "r", requests=24, repeats=2)
    first, again = analyse(run), analyse(run)
    assert [p.gains for p in first.perf[0].points] == [p.gains for p in again.perf[0].points]
    assert first.findings == again.findings


def test_energy_per_token_counts_the_tokens_that_the_server_counted(tmp_path: Path) -> None:
    run = _run(tmp_path / "r", {"baseline": _tables([0.2, 0.2]), "swiftkv": _tables([0.1, 0.1])})
    counted = {"prompt_tokens_total": 900.0, "generation_tokens_total": 100.0}
    for record, given in list(run.trials()):
        joules = 50.0 if record.trial.arm == "baseline" else 20.0
        card = GpuTelemetry(index=0, name="H100", samples=9, energy_j=joules, mean_utilization=0.5)
        idle = GpuTelemetry(index=1, name="H100", samples=9, energy_j=900.0, mean_utilization=0.0)
        telemetry = Telemetry(seconds=2.0, engine_cpu_s=3.0, gpus=(card, idle))
        run.write_trial(record.model_copy(update={"telemetry": telemetry, "server_after": counted}), given)
    _, p, _ = _analysed(run)
    assert p.arms["baseline"].estimates["joule_per_token"].value == pytest.approx(0.05)
    assert p.gains["joule_per_token"].value == pytest.approx(2.5)
    machine = p.arms["swiftkv"].machine
    assert machine is not None
    assert (machine.engine_cpus, machine.gpu_utilization) == (1.5, 0.25)


def test_the_throughput_of_random_arrivals_is_theirs_and_no_drift_but_ttft_that_differs_is(tmp_path: Path) -> None:
    # Windows of the same 40 requests that differ by half: below capacity, throughput differs by as much.
    unequal = [table(_schedule(k) * (1 + 0.25 * k), np.full(40, 0.2)) for k in range(3)]
    _, _, findings = _analysed(_run(tmp_path / "r", {"baseline": unequal, "swiftkv": _tables([0.1, 0.1, 0.2])}))
    drift = [f for f in findings if f.code == "drift"]
    assert [(f.arm, f.message) for f in drift] == [
        ("swiftkv", "TTFT mean differs by 75 % between 3 trials of the same arm.")
    ]
    assert (
        drift[0].next_step == "Each repeat has other arrivals: lengthen it (--requests or --duration), or add repeats."
    )


def _shortened(given: RequestTable, tokens: int) -> RequestTable:
    """Answers of so many tokens, all else the same."""
    return replace(given, output_tokens=np.full(len(given), tokens))


def test_what_depends_on_lengths_is_not_compared_where_these_are_unequal(tmp_path: Path) -> None:
    tables = {"baseline": _tables([0.2] * 3), "swiftkv": [_shortened(t, 3) for t in _tables([0.1] * 3)]}
    perf, p, findings = _analysed(_run(tmp_path / "r", tables))  # type: ignore[arg-type]
    assert p.withheld == (
        "mean output lengths differ, 4.0 and 3.0 tokens a request: throughput, E2E latency and energy are not compared"
    )
    assert p.gains["ttft_mean_s"].value == pytest.approx(2.0)
    assert {key for key in p.gains if "throughput" in key or "e2e" in key or "joule" in key} == set()
    assert set(perf.overall) <= set(p.gains)
    assert ("unequal-lengths", "warning") in [(f.code, f.severity) for f in findings]


def test_equal_lengths_are_compared_in_everything(tmp_path: Path) -> None:
    _, p, findings = _analysed(_run(tmp_path / "r", {"baseline": _tables([0.2] * 3), "swiftkv": _tables([0.1] * 3)}))
    assert p.withheld is None
    assert {"total_throughput", "e2e_latency_mean_s"} <= set(p.gains)
    assert "unequal-lengths" not in {f.code for f in findings}
