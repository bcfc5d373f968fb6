"""Load runs on two fake engines whose latencies are known: what is measured is what they do."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from swiftkv_bench import integrity, runner
from swiftkv_bench.analysis import PerfAnalysis, analyse
from swiftkv_bench.analysis.values import Gain
from swiftkv_bench.cli.execution import build_request, new_manifest
from swiftkv_bench.cli.options import EngineFlags, LoadFlags, RunFlags
from swiftkv_bench.errors import EngineError, InputError
from swiftkv_bench.observer import Silent
from swiftkv_bench.render.load_tables import noise_table
from swiftkv_bench.render.report import html
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Float, RequestTable
from swiftkv_bench.store import Run, create_run

SHAPE = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 512, "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
}  # fmt: skip

Measure = Callable[..., Run]


def profile_file(folder: Path, baseline: dict[str, object], swiftkv: dict[str, object], **engine: object) -> Path:
    """A profile of two fake engines with these options."""
    content = {
        "name": "fakes", "description": "two fake engines", "engine": "fake", "max_model_len": 4096,
        "baseline": {"config": SHAPE}, "swiftkv": {"config": SHAPE | {"num_key_value_layers": 2}}, "together": True,
        "engine_args": engine, "baseline_args": baseline, "swiftkv_args": swiftkv,
    }  # fmt: skip
    path = folder / "fakes.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Runs a load on a profile and returns the finished run."""
    monkeypatch.setenv("SWIFTKV_BENCH_CACHE", str(tmp_path / "cache"))

    def run(
        profile: Path, load: LoadFlags, name: str = "run", *, together: bool = True, repeat_baseline: bool = False
    ) -> Run:
        engines = EngineFlags(profile=str(profile), together=together)
        wanted = build_request(engines, RunFlags(), Silent(), accuracy=None, load=load, repeat_baseline=repeat_baseline)
        folder = tmp_path / name
        opened = Run(folder) if folder.exists() else create_run(folder, new_manifest(wanted))
        return runner.execute(wanted, opened, Silent())

    return run


def _load(**flags: object) -> LoadFlags:
    return LoadFlags(**{"self_test": False, "warmup": 0, **flags})  # type: ignore[arg-type]


def _perf(run: Run) -> PerfAnalysis:
    return analyse(run).perf[0]


def _request_s(run: Run, of: Callable[[RequestTable], Float]) -> dict[Arm, Float]:
    """A latency of each arm's requests; shape (repeats, requests)."""
    found: dict[Arm, list[Float]] = {}
    for record, table in sorted(run.trials(), key=lambda trial: trial[0].trial.repeat):
        found.setdefault(record.trial.arm, []).append(of(table))
    return {arm: np.array(rows) for arm, rows in found.items()}


def _ttft_s(table: RequestTable) -> Float:
    return table.chunk_s[table.chunk_start[:-1]] - table.sent_s


def _tpot_s(table: RequestTable) -> Float:
    """For streams of one token a chunk: all but the tokens that came with the first."""
    streams = [table.chunk_s[a:b] for a, b in itertools.pairwise(table.chunk_start.tolist())]
    return np.array([(s[-1] - s[0]) / (s > s[0]).sum() for s in streams])


def _assert_geometric_mean(gain: Gain) -> None:
    """Value and 95 % t interval of the log-ratios."""
    logs = np.log(list(gain.by_repeat.values()))
    assert gain.value == pytest.approx(np.exp(logs.mean()))
    if len(logs) == 1:
        assert gain.interval is None
    else:
        ends = np.exp(stats.t.interval(0.95, len(logs) - 1, logs.mean(), stats.sem(logs)))
        assert gain.interval is not None
        assert [gain.interval.low, gain.interval.high] == pytest.approx(ends)


def test_a_known_ratio_is_measured(tmp_path: Path, measure: Measure) -> None:
    profile = profile_file(tmp_path, {"ttft": 0.4}, {"ttft": 0.2}, itl=0.01)
    run = measure(profile, _load(input_len=["50"], output_len="6", rate=["10"], requests=10, repeats=3))
    (p,) = _perf(run).points
    gain = p.gains["ttft_mean_s"]
    # A busy machine makes answers late, never early, and a pair in which it held up the client is left out.
    ttft_s = _request_s(run, _ttft_s)
    assert ttft_s["baseline"].min() == pytest.approx(0.4, rel=0.1)
    assert ttft_s["swiftkv"].min() == pytest.approx(0.2, rel=0.1)
    measured = ttft_s["baseline"].mean(axis=1) / ttft_s["swiftkv"].mean(axis=1)
    assert gain.by_repeat == {repeat: pytest.approx(measured[repeat]) for repeat in gain.by_repeat}
    _assert_geometric_mean(gain)
    assert 1 <= gain.pairs <= 3
    tpot = p.gains["tpot_mean_s"]
    tpot_s = {arm: rows.mean(axis=1) for arm, rows in _request_s(run, _tpot_s).items()}
    measured = tpot_s["baseline"] / tpot_s["swiftkv"]
    assert tpot.by_repeat == {repeat: pytest.approx(measured[repeat]) for repeat in tpot.by_repeat}
    _assert_geometric_mean(tpot)
    for arm, prefill_s in (("baseline", 0.4), ("swiftkv", 0.2)):
        split, machine = p.arms[arm].breakdown, p.arms[arm].machine  # type: ignore[index]
        assert split is not None
        assert split.prefill_s == pytest.approx(prefill_s, rel=0.01)
        assert machine is not None
        assert machine.engine_rss_bytes is not None
        assert machine.engine_cpus is not None
        assert machine.preemptions == 0
    assert run.manifest.status == "complete"


def test_automatic_rates_find_capacity_and_the_highest_rate_under_an_objective(
    tmp_path: Path, measure: Measure
) -> None:
    # One request at a time, 50 and 35 ms each. With even arrivals above capacity request i waits i (service - 1/rate).
    # 9 in 10 of 16 then have their first token within 150 ms up to a rate of 1 / (service - (150 ms - service) / 14). A
    # busy machine makes the engines slower, never faster; tests/test_sweep.py has the search on exact engines.
    service_s: dict[Arm, float] = {"baseline": 0.05, "swiftkv": 0.035}
    profile = profile_file(tmp_path, {"ttft": 0.05}, {"ttft": 0.035}, **{"max-num-seqs": 1})
    flags = _load(
        input_len=["50"], output_len="1", rate=["auto"], arrivals="constant", requests=16, repeats=1, slo="ttft=150ms"
    )
    run = measure(profile, flags)
    perf = _perf(run)
    at_once = next(p for p in perf.points if p.point.arrivals.process == "all-at-once")
    capacity = {arm: a.estimates["request_throughput"].value for arm, a in at_once.arms.items()}
    assert {arm: 0.2 / t < capacity[arm] < 1.05 / t for arm, t in service_s.items()} == dict.fromkeys(service_s, True)
    (limits,) = perf.limits
    assert limits.arms.keys() == service_s.keys()
    for arm, limit in limits.arms.items():
        assert limit.low is None or limit.low < 1.1 / (service_s[arm] - (0.15 - service_s[arm]) / 14)
    plan = run.manifest.plan.perf
    assert plan is not None
    assert {t.trial_id for t in plan.trials} <= {r.trial.trial_id for r in run.trial_records()}


def test_a_point_that_stops_early_has_no_further_trials_in_its_plan(tmp_path: Path, measure: Measure) -> None:
    profile = profile_file(tmp_path, {"ttft": 0.2}, {"ttft": 0.1})
    flags = _load(
        input_len=["50"], output_len="1", rate=["20"], requests=6, repeats=5, stop_when_ratio_within="60%"
    )  # fmt: skip
    run = measure(profile, flags)
    plan = run.manifest.plan.perf
    assert plan is not None
    recorded = [r.trial for r in run.trial_records()]
    assert list(plan.trials) == recorded
    # Three pairs suffice on a quiet machine; a busy one may need more.
    assert len(recorded) in (6, 8, 10)
    assert run.manifest.status == "complete"


def test_what_a_budget_leaves_out_comes_with_the_same_command(tmp_path: Path, measure: Measure) -> None:
    profile = profile_file(tmp_path, {"ttft": 0.01}, {"ttft": 0.01})
    flags = {"input_len": ["50"], "output_len": "1", "rate": ["20", "0.001"], "requests": 4, "repeats": 1}
    first = measure(profile, _load(**flags, budget="60s"))
    assert first.manifest.status == "incomplete"
    assert first.manifest.status_reason == "2 trials did not fit the time budget"
    assert first.manifest.causes == ("budget",)
    recorded = [r.trial.point.arrivals.rate for r in first.trial_records()]
    assert recorded == [20.0, 20.0]
    again = measure(profile, _load(**flags, budget="60s"))
    assert [r.trial.point.arrivals.rate for r in again.trial_records()] == [20.0, 20.0]


def test_a_complete_run_goes_on_over_a_deleted_record_and_not_over_an_edited_one(
    tmp_path: Path, measure: Measure
) -> None:
    profile = profile_file(tmp_path, {"ttft": 0.01}, {"ttft": 0.01})
    load = _load(input_len=["50"], output_len="1", rate=["20"], requests=2, repeats=1)
    run = measure(profile, load)
    trial_id = next(run.trial_records()).trial.trial_id
    record, sealed = run.path / "trials" / f"{trial_id}.json", (run.path / integrity.NAME).read_bytes()
    whole = record.read_bytes()
    record.write_bytes(whole.replace(b'"repeat": 0', b'"repeat": 7', 1))
    with pytest.raises(InputError, match=r"\.json was truncated or edited \(checksum differs\)"):
        measure(profile, load)
    assert (run.path / integrity.NAME).read_bytes() == sealed
    record.unlink()
    record.with_suffix(".npz").unlink()
    assert len(list(measure(profile, load).trials())) == 2
    assert integrity.verify(run.path)


def test_engines_in_turn_are_never_up_at_once(tmp_path: Path, measure: Measure) -> None:
    profile = profile_file(tmp_path, {"ttft": 0.01}, {"ttft": 0.01})
    flags = _load(input_len=["50"], output_len="1", rate=["20"], requests=4, repeats=2)
    run = measure(profile, flags, together=False)
    order = sorted(run.trial_records(), key=lambda r: r.started_utc)
    assert [(r.trial.repeat, r.trial.arm) for r in order] == [
        (0, "baseline"), (0, "swiftkv"), (1, "swiftkv"), (1, "baseline"),
    ]  # fmt: skip


def test_an_engine_that_never_says_why_it_ended_leaves_failed_trials_and_an_incomplete_run(
    tmp_path: Path, measure: Measure
) -> None:
    profile = profile_file(tmp_path, {"ttft": 0.01}, {"ttft": 0.01, "fault": "finish:reason=null"})
    with pytest.raises(EngineError, match="all 1 trials on swiftkv failed"):
        measure(profile, _load(input_len=["50"], output_len="1", rate=["20"], requests=4, repeats=1))
    run = Run(tmp_path / "run")
    assert run.manifest.status == "incomplete"
    assert {(r.trial.arm, r.status) for r in run.trial_records()} == {("baseline", "complete"), ("swiftkv", "failed")}
    codes = {(f.code, f.severity, f.arm) for f in analyse(run).findings}
    assert ("trial-incomplete", "invalid", "swiftkv") in codes


def test_a_second_baseline_engine_takes_its_turn_and_shows_the_noise(tmp_path: Path, measure: Measure) -> None:
    profile = profile_file(tmp_path, {"ttft": 0.05}, {"ttft": 0.025}, itl=0.01)
    load = _load(input_len=["50"], output_len="2", rate=["inf"], requests=4, repeats=2)
    run = measure(profile, load, repeat_baseline=True)
    assert [(t.trial.arm, t.trial.repeat) for t in sorted(run.trial_records(), key=lambda t: t.started_utc)] == [
        ("baseline", 0), ("swiftkv", 0), ("baseline-repeat", 0),
        ("baseline-repeat", 1), ("swiftkv", 1), ("baseline", 1),
    ]  # fmt: skip
    first, _, again = run.manifest.engines
    assert (again.args, again.model) == (first.args, first.model)
    point = _perf(run).points[0]
    assert list(point.arms) == ["baseline", "swiftkv"]
    ttft_s = {arm: rows.mean(axis=1) for arm, rows in _request_s(run, _ttft_s).items()}
    noise = point.noise["ttft_mean_s"]
    measured = ttft_s["baseline"] / ttft_s["baseline-repeat"]
    assert noise.by_repeat == {repeat: pytest.approx(measured[repeat]) for repeat in noise.by_repeat}
    _assert_geometric_mean(noise)
    view = noise_table(_perf(run))
    assert view is not None
    assert [len(row) for row in view.rows] == [len(view.heads)]
    assert view.title in html(analyse(run), ())
    assert noise_table(_perf(measure(profile, load, "without"))) is None
