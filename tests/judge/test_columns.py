"""Claims about one column: Holm, the noise of two runs of the baseline, the engine beyond it, looks before the end."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.analysis import AccuracyAnalysis, analyse
from swiftkv_bench.analysis.values import ComparisonKind
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.judge.stopping import is_decided
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column, ColumnStatus, ItemRecord
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.stats.sequential import nominal_level
from swiftkv_bench.store import create_run, write_atomic
from tests.synthetic import accuracy_column, item, manifest

ALL: tuple[Arm, ...] = ("baseline", "swiftkv-full", "swiftkv")
N = 400


def _column(name: str = "arc", margin: float = 0.025, documents: int = N) -> Column:
    return accuracy_column(name, name.upper(), documents, margin, 0.25)


def _answers(arm: Arm, wrong: Sequence[int], column: str = "arc", n: int = N, repeat: int = 0) -> list[ItemRecord]:
    """Right everywhere but at the given items."""
    return [item(arm, column, i, float(i not in set(wrong)), repeat=repeat) for i in range(n)]


def _analysed(
    folder: Path,
    items: Sequence[ItemRecord],
    columns: Sequence[Column],
    stops: bool = False,
    early: Sequence[str] = (),
    states: Sequence[ColumnStatus] = (),
    status: str = "complete",
) -> AccuracyAnalysis:
    arms = tuple(arm for arm in ALL if any(i.arm == arm for i in items))
    plan = AccuracyPlan(
        suite="paper", suite_hash="h", columns=tuple(columns), arms=arms, seed=0, stop_when_decided=stops
    )
    run = create_run(folder, manifest("a", RunPlan(accuracy=plan), arms).model_copy(update={"status": status}))
    run.items_path.write_text("".join(one.model_dump_json() + "\n" for one in items))
    states = [*states] + [ColumnStatus(arm=arm, column=name, status="ended early") for arm in arms for name in early]
    write_atomic(folder / "columns.json", f"[{','.join(s.model_dump_json() for s in states)}]".encode())
    return analyse(run).accuracy[0]


def _verdict(part: AccuracyAnalysis, kind: ComparisonKind, column: int = 0) -> Verdict | None:
    return part.columns[column].comparisons[kind].verdict


def test_a_fail_that_holm_takes_back_is_open_with_its_n(tmp_path: Path) -> None:
    lost = range(50, 67)  # 17 of 400: just beyond 2.5 points at 5 %
    items = [*_answers("baseline", range(50)), *_answers("swiftkv", [*range(50), *lost])]
    alone = _analysed(tmp_path / "alone", items, [_column()])
    assert _verdict(alone, "total") is Verdict.FAIL
    others = [_column(f"other{k}") for k in range(6)]
    items += [one for c in others for arm in ALL[::2] for one in _answers(arm, range(50), c.name)]
    part = _analysed(tmp_path / "seven", items, [_column(), *others])
    total = part.columns[0].comparisons["total"].line
    assert total is not None
    assert total.p_fail_corrected is not None
    assert total.p_fail_corrected > 0.05
    assert total.verdict is Verdict.INCONCLUSIVE
    assert total.n_to_decide is not None
    assert total.n_to_decide > N


def test_an_engine_that_loses_and_gains_alike_fails_against_two_runs_of_the_baseline(tmp_path: Path) -> None:
    full, skipping = range(40), range(20, 60)  # 20 lost, 20 gained
    items = [*_answers("baseline", full), *_answers("swiftkv-full", full), *_answers("swiftkv", skipping)]
    without = _analysed(tmp_path / "without", items, [_column()])
    assert without.columns[0].comparisons["engine"].delta.delta == 0
    assert without.verdict is not Verdict.FAIL
    again = _answers("baseline", [*range(38), 40, 41], repeat=1)  # 2 lost, 2 gained
    part = _analysed(tmp_path / "with", [*items, *again], [_column()])
    assert [(x.metric, x.reference) for x in part.failed] == [("flips", "full depth")]
    flips = part.columns[0].comparisons["engine"].flips
    assert flips is not None
    assert flips.effect == pytest.approx(20 / 400 - 4 / 800)
    assert _verdict(part, "model") is Verdict.PASS


def test_an_engine_as_noisy_as_the_baseline_passes(tmp_path: Path) -> None:
    wrong = range(40)
    items = [*_answers("baseline", wrong), *_answers("baseline", range(2, 42), repeat=1)]
    items += [*_answers("swiftkv-full", wrong), *_answers("swiftkv", range(2, 42))]
    part = _analysed(tmp_path / "r", items, [_column(margin=0.03)])
    assert {kind: _verdict(part, kind) for kind in ("model", "engine")} == {
        "model": Verdict.PASS, "engine": Verdict.PASS,
    }  # fmt: skip


def test_a_drop_beyond_a_noise_that_is_wider_than_the_margin_still_fails(tmp_path: Path) -> None:
    n = 100  # without a flip the noise of 100 items is still ±3.7 points
    items = [*_answers("baseline", [], n=n), *_answers("baseline", [], n=n, repeat=1)]
    items += _answers("swiftkv", range(30), n=n)
    part = _analysed(tmp_path / "r", items, [_column(documents=n)])
    assert _verdict(part, "total") is Verdict.FAIL


def test_a_column_that_nobody_answers_right_has_no_verdict(tmp_path: Path) -> None:
    column = accuracy_column("gsm8k", "GSM8K", N, 0.03, None)
    items = [*_answers("baseline", range(N), "gsm8k"), *_answers("swiftkv", range(N), "gsm8k")]
    assert _verdict(_analysed(tmp_path / "r", items, [column]), "total") is Verdict.INCONCLUSIVE


def test_bounds_of_a_column_that_ended_early_count_every_look(tmp_path: Path) -> None:
    items = [*_answers("baseline", range(5), n=120), *_answers("swiftkv", range(5, 45), n=120)]
    part = _analysed(tmp_path / "r", items, [_column()], stops=True, early=["arc"])
    total = part.columns[0].comparisons["total"]
    assert total.line is not None
    assert total.line.bounds is not None
    ends = total.delta.bound(nominal_level(0.3, 0.05))
    assert (total.line.bounds.low, total.line.bounds.high) == ends
    assert total.delta.tail == pytest.approx(nominal_level(0.3, 0.025))
    plain = _analysed(tmp_path / "plain", items, [_column(documents=120)]).columns[0].comparisons["total"].delta
    assert total.delta.interval is not None
    assert plain.interval is not None
    assert total.delta.interval.half_width > 1.5 * plain.interval.half_width


def test_the_average_over_columns_that_ended_early_has_no_verdict(tmp_path: Path) -> None:
    items = [one for name in ("arc", "mmlu") for arm in ALL[::2] for one in _answers(arm, range(50), name)]
    columns = [_column("arc"), _column("mmlu")]
    whole = _analysed(tmp_path / "whole", items, columns, stops=True).macro
    early = _analysed(tmp_path / "early", items, columns, stops=True, early=["arc"]).macro
    assert whole is not None
    assert early is not None
    assert whole.comparisons["total"].verdict is Verdict.PASS
    assert early.comparisons["total"].verdict is Verdict.INCONCLUSIVE


def _cut_short(folder: Path, items: Sequence[ItemRecord], columns: Sequence[Column]) -> AccuracyAnalysis:
    """The SwiftKV engine died in the first column."""
    state = ColumnStatus(arm="swiftkv", column=columns[0].name, status="incomplete", reason="the engine died")
    return _analysed(folder, items, columns, states=[state])


def test_an_incomplete_column_is_claimed_only_where_missing_items_could_not_turn_it(tmp_path: Path) -> None:
    half = [*_answers("baseline", []), *_answers("swiftkv", [], n=N // 2)]
    total = _cut_short(tmp_path / "half", half, [_column()]).columns[0].comparisons["total"]
    assert total.missing is not None
    assert (total.missing.n, total.missing.low, total.missing.high) == (N // 2, -0.5, 0.0)
    assert total.line is not None
    assert (total.line.verdict, total.line.n_to_decide) == (Verdict.INCONCLUSIVE, None)
    # As much is lost as the missing half of the baseline could not win back: it was right there already.
    broken = [*_answers("baseline", []), *_answers("swiftkv", range(60), n=N // 2)]
    assert _verdict(_cut_short(tmp_path / "broken", broken, [_column()]), "total") is Verdict.FAIL
    few = [*_answers("baseline", range(10)), *_answers("swiftkv", range(10), n=N - 4)]
    assert _verdict(_cut_short(tmp_path / "few", few, [_column()]), "total") is Verdict.PASS


def test_the_average_counts_what_missing_items_could_lose(tmp_path: Path) -> None:
    columns = [_column("arc"), _column("mmlu"), _column("gsm8k")]
    items = [one for c in columns for one in _answers("baseline", range(50), c.name)]
    items += [one for c in columns[1:] for one in _answers("swiftkv", range(50), c.name)]
    short = [*items, *_answers("swiftkv", range(50), "arc", n=N - 40)]
    macro = _cut_short(tmp_path / "short", short, columns).macro
    assert macro is not None
    found = macro.comparisons["total"]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.missing is not None
    assert found.missing.low == pytest.approx(-0.1 / 3)  # 40 of 400 items, right on the baseline, of one column in 3
    assert found.delta.delta == 0
    whole = _analysed(tmp_path / "whole", [*items, *_answers("swiftkv", range(50), "arc")], columns).macro
    assert whole is not None
    assert whole.comparisons["total"].verdict is Verdict.PASS


def test_an_average_within_the_noise_of_two_runs_makes_no_claim(tmp_path: Path) -> None:
    names = ("arc", "mmlu")
    items = [one for c in names for arm in ALL[::2] for one in _answers(arm, range(50), c)]
    items += [one for c in names for one in _answers("baseline", [*range(40), *range(60, 70)], c, repeat=1)]
    macro = _analysed(tmp_path / "r", items, [_column(name, 0.04) for name in names]).macro
    assert macro is not None
    noise, total = macro.comparisons["noise"], macro.comparisons["total"]
    assert noise.delta.interval is not None
    assert noise.delta.interval.half_width > 0.01  # the margin of the average
    assert total.interval is not None
    assert total.interval.low > -0.01
    assert total.verdict is Verdict.INCONCLUSIVE


def test_columns_that_a_side_did_not_reach_leave_the_whole_open_and_absent_data_do_not(tmp_path: Path) -> None:
    columns = [_column("arc"), _column("mmlu")]
    items = [*_answers("baseline", range(50)), *_answers("swiftkv", range(50))]
    part = _analysed(tmp_path / "one", [*items, *_answers("baseline", range(50), "mmlu")], columns)
    assert (_verdict(part, "total"), part.verdict) == (Verdict.PASS, Verdict.INCONCLUSIVE)
    reason = "data not present: give --data-dir"
    arms: tuple[Arm, ...] = ("baseline", "swiftkv")
    states = [ColumnStatus(arm=arm, column="mmlu", status="not run", reason=reason) for arm in arms]
    assert _analysed(tmp_path / "two", items, columns, states=states).verdict is Verdict.PASS


def test_second_answers_that_were_cut_short_give_no_rate_of_noise(tmp_path: Path) -> None:
    wrong = range(50)
    items = [one for arm in ALL for one in _answers(arm, wrong)]
    again = _answers("baseline", wrong, repeat=1)
    whole = _analysed(tmp_path / "whole", [*items, *again], [_column()]).columns[0].comparisons["engine"].flips
    state = ColumnStatus(arm="baseline", repeat=1, column="arc", status="incomplete", reason="the engine died")
    part = _analysed(tmp_path / "short", [*items, *again[: N // 2]], [_column()], states=[state])
    short = part.columns[0].comparisons["engine"].flips
    floors = [x.flips.floor_n for x in (whole, short) if x is not None and x.flips is not None]
    assert floors == [N, None]


def test_answers_from_before_a_failed_probe_are_a_column_cut_short(tmp_path: Path) -> None:
    items = [*_answers("baseline", []), *_answers("swiftkv", [], n=N // 2)]
    state = ColumnStatus(arm="swiftkv", column="arc", status="not run", reason="probe `right answers` failed")
    part = _analysed(tmp_path / "r", items, [_column()], states=[state])
    assert part.columns[0].arms["swiftkv"].status == "incomplete"
    assert _verdict(part, "total") is Verdict.INCONCLUSIVE


def test_a_column_of_a_run_that_was_killed_is_not_complete(tmp_path: Path) -> None:
    items = [*_answers("baseline", []), *_answers("swiftkv", [], n=N // 2)]
    part = _analysed(tmp_path / "r", items, [_column()], status="running")
    assert {arm: a.status for arm, a in part.columns[0].arms.items()} == {
        "baseline": "incomplete", "swiftkv": "incomplete",
    }  # fmt: skip
    assert _verdict(part, "total") is Verdict.INCONCLUSIVE


def _scores(n: int, wrong: Sequence[int]) -> dict[tuple[str, int], float]:
    return {("arc", i): float(i not in set(wrong)) for i in range(n)}


@pytest.mark.parametrize(
    ("n", "lost", "decided"),
    [
        (40, 0, False),  # nothing flips, but so few items allow no claim yet
        (360, 0, True),
        (120, 60, True),  # a loss of half the answers
        (200, 8, False),  # 4 points lost: beyond the margin, not by enough at half the items
    ],
)
def test_a_column_is_decided_when_more_items_could_change_nothing(n: int, lost: int, decided: bool) -> None:
    plan = AccuracyPlan(suite="s", suite_hash="h", columns=(_column(),), arms=("baseline", "swiftkv"), seed=0)
    scores = {("baseline", 0): _scores(n, []), ("swiftkv", 0): _scores(n, range(lost))}
    assert is_decided(plan, _column(), scores) is decided  # type: ignore[arg-type]


def test_a_column_is_not_decided_for_one_arm_or_for_models_that_guess() -> None:
    plan = AccuracyPlan(suite="s", suite_hash="h", columns=(_column(),), arms=("baseline", "swiftkv"), seed=0)
    guess = _scores(N, np.arange(N)[np.arange(N) % 4 != 0].tolist())
    assert not is_decided(plan, _column(), {("baseline", 0): _scores(N, [])})
    assert not is_decided(plan, _column(), {("baseline", 0): guess, ("swiftkv", 0): guess})
