"""Five cases in which the page and `compare` once said different things, with the right verdict written by hand."""

from pathlib import Path

import pytest

from swiftkv_bench import integrity
from swiftkv_bench.analysis import Analysis, analyse
from swiftkv_bench.judge.judgement import judge_arms
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.judge.stopping import is_decided
from swiftkv_bench.schema.accuracy import AccuracyPlan, ColumnStatus
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.schema.telemetry import GpuTelemetry, Telemetry
from swiftkv_bench.store import Run, create_run, write_atomic
from tests.judge.planted import BATCH, compared, line, loaded, read
from tests.synthetic import accuracy_column, accuracy_run, item, load_run, manifest

ARMS: tuple[Arm, ...] = ("baseline", "swiftkv")
BASE = [0.100, 0.101, 0.099, 0.1005]


def _answered(folder: Path, right: dict[tuple[str, Arm], int], n: int, *, chance: float | None, documents: int) -> Run:
    """The first answers of a column and arm are right."""
    names = list(dict.fromkeys(name for name, _ in right))
    columns = tuple(accuracy_column(name, name.upper(), documents, 0.025, chance) for name in names)
    plan = AccuracyPlan(suite="s", suite_hash="h", columns=columns, arms=ARMS, seed=0, stop_when_decided=documents != n)
    run = create_run(folder, manifest(folder.name, RunPlan(accuracy=plan), ARMS))
    with run.items_path.open("w") as out:
        for (name, arm), count in right.items():
            asked = n if name == names[0] else documents
            out.writelines(item(arm, name, i, float(i < count)).model_dump_json() + "\n" for i in range(asked))
    if documents != n:
        states = [ColumnStatus(arm=arm, column=names[0], status="ended early") for arm in ARMS]
        write_atomic(folder / "columns.json", f"[{','.join(s.model_dump_json() for s in states)}]".encode())
    integrity.seal(folder)
    return run


def _of_page(page: Analysis, line_id: str) -> Line:
    return next(x for x in page.judgements[0].lines if x.line_id == line_id)


def _both(run: Run, line_id: str, policy: Policy | None = None) -> tuple[Verdict, Verdict]:
    """What the page and `compare RUN` say."""
    return _of_page(analyse(run), line_id).verdict, line(compared(run, policy=policy), line_id).verdict


def test_twice_the_energy_is_a_fail(tmp_path: Path) -> None:
    run = loaded(tmp_path / "r", {"baseline": BASE, "swiftkv": BASE}, arrivals=(BATCH,))
    counted = {"prompt_tokens_total": 900.0, "generation_tokens_total": 100.0}
    for record, table in list(run.trials()):
        joules = 50.0 * (1 + 0.002 * record.trial.repeat) * (2.0 if record.trial.arm == "swiftkv" else 1.0)
        card = GpuTelemetry(index=0, name="H100", samples=9, energy_j=joules, mean_utilization=0.5)
        changes = {"telemetry": Telemetry(seconds=2.0, engine_cpu_s=3.0, gpus=(card,)), "server_after": counted}
        run.write_trial(record.model_copy(update=changes), table)
    integrity.seal(run.path)
    assert analyse(run).perf[0].points[0].gains["joule_per_token"].value == pytest.approx(0.5)
    for metrics in ({"joule_per_token": 0.05, "ttft_mean_s": 0.05}, {"joule_per_token": 0.05}):
        found = compared(run, policy=Policy.model_validate({"performance": {"metrics": metrics}}))
        assert found.verdicts.overall is Verdict.FAIL
        assert [(x.metric, round(x.effect or 0, 9)) for x in found.failed] == [("joule_per_token", 2.0)]


def test_a_column_that_ended_because_it_fails_fails_on_the_page_and_in_compare(tmp_path: Path) -> None:
    names = [f"c{k}" for k in range(7)]
    plan = AccuracyPlan(
        suite="s", suite_hash="h", columns=tuple(accuracy_column(n, n.upper(), 1000, 0.025, None) for n in names),
        arms=ARMS, seed=0, stop_when_decided=True,
    )  # fmt: skip
    whole = {("c0", i): 1.0 for i in range(500)}
    ended = {}
    for lost in (25, 29, 31, 40, 60):
        scores = {("baseline", 0): whole, ("swiftkv", 0): {key: float(key[1] >= lost) for key in whole}}
        ended[lost] = is_decided(plan, plan.columns[0], scores)  # type: ignore[arg-type]
    # Eight scores have 3 of the 4 parts of 5 %: 0.0047 each, of which half the items may use 0.00006 (z = 3.83).
    # Tango's z of 29 lost and none gained against 2.5 points is (29 - 12.5) / 4.11 = 4.0.
    assert ended == {25: False, 29: True, 31: True, 40: True, 60: True}
    right = {(name, arm): 900 for name in names for arm in ARMS} | {("c0", "baseline"): 500, ("c0", "swiftkv"): 469}
    run = _answered(tmp_path / "r", right, 500, chance=None, documents=1000)
    assert _both(run, "accuracy/c0/score/swiftkv/baseline arm") == (Verdict.FAIL, Verdict.FAIL)
    assert compared(run).verdicts.overall is Verdict.FAIL
    assert analyse(run).accuracy[0].verdict is Verdict.FAIL


@pytest.mark.parametrize("seed", range(3))
def test_seven_columns_have_the_same_lines_on_the_page_and_in_compare(tmp_path: Path, seed: int) -> None:
    run = accuracy_run(tmp_path / "r", share=0.03, seed=seed)
    integrity.seal(run.path)
    page = analyse(run).judgements[0]
    assert page.lines == compared(run).lines
    assert page.lines == judge_arms(read(run), Policy()).lines


def test_a_candidate_far_below_guessing_fails_though_the_baseline_guesses(tmp_path: Path) -> None:
    score = "accuracy/c0/score/swiftkv/baseline arm"
    broken = _answered(tmp_path / "a", {("c0", "baseline"): 100, ("c0", "swiftkv"): 5}, 400, chance=0.25, documents=400)
    assert _both(broken, score) == (Verdict.FAIL, Verdict.FAIL)
    guess = _answered(tmp_path / "b", {("c0", "baseline"): 100, ("c0", "swiftkv"): 97}, 400, chance=0.25, documents=400)
    assert _both(guess, score) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)


def test_one_name_is_one_estimator_on_the_page_and_in_compare(tmp_path: Path) -> None:
    run = load_run(tmp_path / "r", requests=40, noise=0.2)
    integrity.seal(run.path)
    keys = ("ttft_p50_s", "ttft_paired_s", "ttft_mean_s", "total_throughput")
    policy = Policy.model_validate({"performance": {"metrics": dict.fromkeys(keys, 0.05)}})
    lines = {(x.metric, x.where): x for x in compared(run, policy=policy).lines}
    perf = analyse(run).perf[0]
    seen = 0
    for key in keys:
        of_points = [(p.point.point_id, p.gains[key].value) for p in perf.points if key in p.gains]
        for where, gain in [*of_points, ("all points", perf.overall[key].mean)]:
            found = lines.get((key, where))
            if found is not None and found.effect is not None:
                assert (1 / gain if key != "total_throughput" else gain) == pytest.approx(found.effect)
                seen += 1
    assert seen > 25
    # The ratio of the medians and the median of the ratios are two figures, under two names.
    at = perf.points[0].point.point_id
    of_medians, median_of_ratios = (lines[key, at].effect for key in keys[:2])
    assert of_medians is not None
    assert of_medians != pytest.approx(median_of_ratios, rel=1e-3)
