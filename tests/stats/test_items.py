"""Paired items against second computations: loops, binomial sums, likelihood maximised by search."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from swiftkv_bench.stats.items import (
    ItemDelta,
    compare_items,
    detectable_drop,
    item_weights,
    mcnemar,
    mean_delta,
    score,
    score_bounds,
)  # fmt: skip

Z95 = 1.6448536269514722


def test_delta_flips_and_discordance_of_four_items() -> None:
    found = compare_items(np.array([1.0, 1, 0, 1]), np.array([0.0, 1, 1, 0]), ["t"] * 4)
    assert (found.n, found.delta, found.lost, found.gained, found.discordance) == (4, -0.25, 2, 1, 0.75)
    # differences -1, 0, 1, -1: variance 2.75/3
    assert found.stderr == pytest.approx(math.sqrt(2.75 / 3 / 4))
    assert found.clusters is None


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_the_two_sided_binomial_tail(lost: int, gained: int) -> None:
    n = lost + gained
    if n == 0:
        assert mcnemar(lost, gained) is None
        return
    tail = sum(math.comb(n, i) for i in range(min(lost, gained) + 1)) / 2**n
    assert mcnemar(lost, gained) == pytest.approx(min(1.0, 2 * tail))


def _largest(likelihood: Callable[[float], float], low: float, high: float) -> float:
    return float(optimize.minimize_scalar(lambda q: -likelihood(q), bounds=(low, high), method="bounded",
                                          options={"xatol": 1e-12}).x)  # fmt: skip


@pytest.mark.parametrize(("gained", "lost", "n"), [(10, 20, 200), (3, 1, 40), (0, 4, 60), (55, 80, 1172)])
def test_score_bounds_are_where_the_restricted_likelihood_test_just_rejects(gained: int, lost: int, n: int) -> None:
    for bound, sign in zip(score_bounds(gained, lost, n), (1, -1), strict=True):

        def likelihood(q: float, delta: float = bound) -> float:
            p_gain, p_same = q + delta, 1 - 2 * q - delta
            if min(q, p_gain, p_same) <= 0:
                return -1e18
            return gained * math.log(p_gain) + lost * math.log(q) + (n - gained - lost) * math.log(p_same)

        q = _largest(likelihood, max(0.0, -bound), (1 - bound) / 2)
        z = (gained - lost - n * bound) / math.sqrt(n * (2 * q + bound - bound**2))
        assert z == pytest.approx(sign * Z95, abs=2e-3)


@pytest.mark.parametrize("n", [5, 100, 10_000])
def test_no_flip_still_leaves_room_for_one(n: int) -> None:
    edge = Z95**2 / (n + Z95**2)
    assert score_bounds(0, 0, n) == pytest.approx((-edge, edge), rel=1e-6)


@given(st.integers(1, 300), st.data())
def test_score_bounds_hold_the_estimate_and_mirror(n: int, data: st.DataObject) -> None:
    gained = data.draw(st.integers(0, n))
    lost = data.draw(st.integers(0, n - gained))
    low, high = score_bounds(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert score_bounds(lost, gained, n) == pytest.approx((-high, -low), abs=1e-9)


def test_score_bounds_reject_a_true_drop_at_most_at_their_level() -> None:
    rng = np.random.default_rng(5)
    n, drop, flips, rounds = 400, 0.03, 0.10, 4000
    outcomes = rng.multinomial(n, [(flips - drop) / 2, (flips + drop) / 2, 1 - flips], size=rounds)
    above = sum(score_bounds(int(up), int(down), n)[0] > -drop for up, down, _ in outcomes)
    assert above / rounds < 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_clustered_error_sums_residuals_within_tasks() -> None:
    reference, candidate = np.zeros(6), np.array([1.0, 1, 0, 0, 0, 1])
    tasks = ["a", "a", "a", "b", "b", "c"]
    found = compare_items(reference, candidate, tasks)
    mean = 0.5
    residuals = {"a": (1 - mean) * 2 + (0 - mean), "b": 2 * (0 - mean), "c": 1 - mean}
    expected = math.sqrt(3 / 2 * sum(r**2 for r in residuals.values())) / 6
    assert found.stderr == pytest.approx(expected)
    assert found.stderr_items == pytest.approx(math.sqrt(0.3 / 6))
    assert (found.clusters, found.df, found.bounded_by) == (3, 2, "wider")


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=40))
def test_a_task_an_item_gives_the_plain_error(differences: list[float]) -> None:
    values = np.array(differences)
    found = compare_items(np.zeros(len(values)), values, [f"t{i}" for i in range(len(values))])
    assert found.stderr == pytest.approx(found.stderr_items, rel=1e-9, abs=1e-12)


def test_weights_by_task_give_each_task_the_same_say() -> None:
    tasks = ["a", "b", "b", "b"]
    assert item_weights(tasks, "task").tolist() == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    found = compare_items(np.zeros(4), np.array([1.0, 0, 0, 0]), tasks, "task")
    assert found.delta == pytest.approx(0.5)


def test_continuous_scores_have_a_bootstrap_and_no_flips() -> None:
    rng = np.random.default_rng(0)
    reference = rng.random(200)
    candidate = np.clip(reference + rng.normal(0.02, 0.1, 200), 0, 1)
    found = compare_items(reference, candidate, ["t"] * 200, seed=4)
    assert (found.lost, found.gained, found.mcnemar_p, found.bounded_by) == (None, None, None, "t")
    assert found.bootstrap is not None
    assert found.interval is not None
    assert found.bootstrap.low == pytest.approx(found.interval.low, abs=0.004)


def test_equal_continuous_answers_are_bounded_by_the_share_that_could_differ() -> None:
    values = np.linspace(0, 1, 50)
    found = compare_items(values, values, ["t"] * 50)
    assert found.bound(0.05) == pytest.approx((-(Z95**2) / (50 + Z95**2), Z95**2 / (50 + Z95**2)), rel=1e-6)


def test_a_single_item_has_no_error_and_no_bound() -> None:
    found = compare_items(np.array([1.0]), np.array([0.0]), ["t"])
    assert (found.stderr, found.interval, found.bound(), found.p_at_most(0.0)) == (None, None, None, None)


@pytest.mark.parametrize(("a", "b", "tasks"), [(0, 0, 0), (2, 1, 2), (2, 2, 1)])
def test_items_that_do_not_pair_are_refused(a: int, b: int, tasks: int) -> None:
    with pytest.raises(ValueError, match="paired items needed"):
        compare_items(np.zeros(a), np.zeros(b), ["t"] * tasks)


def test_detectable_drop_is_found_with_eighty_percent_power() -> None:
    drop = detectable_drop(0.01)
    # P(estimate < -z(95 %) se) when the truth is -drop
    power = 0.5 * (1 + math.erf((drop / 0.01 - Z95) / math.sqrt(2)))
    assert power == pytest.approx(0.8)


def test_published_standard_errors_of_the_protocol() -> None:
    # Paired SE in points at 10 % discordance, from the protocol's table: ARC-C .92, WinoGrande .89, HellaSwag .32
    for n, expected in ((1172, 0.92), (1267, 0.89), (10042, 0.32)):
        flipped = round(0.1 * n)
        reference = np.array([1.0] * (flipped // 2) + [0.0] * (flipped - flipped // 2) + [1.0] * (n - flipped))
        candidate = np.array([0.0] * (flipped // 2) + [1.0] * (flipped - flipped // 2) + [1.0] * (n - flipped))
        found = compare_items(reference, candidate, ["t"] * n)
        assert found.stderr is not None
        assert found.stderr * 100 == pytest.approx(expected, abs=0.006)


def test_macro_average_adds_variances_of_columns() -> None:
    rng = np.random.default_rng(2)
    columns = []
    for n in (50, 80):
        reference, candidate = rng.integers(0, 2, (2, n)).astype(float)
        columns.append(compare_items(reference, candidate, ["t"] * n))
    found = mean_delta(columns)
    assert found is not None
    first, second = (c.stderr or 0.0 for c in columns)
    assert found.delta == pytest.approx((columns[0].delta + columns[1].delta) / 2)
    assert found.stderr == pytest.approx(math.sqrt(first**2 + second**2) / 2)
    df = (first**2 + second**2) ** 2 / (first**4 / 49 + second**4 / 79)
    assert (found.df, found.n) == pytest.approx((df, 130))
    assert found.lost == sum(c.lost or 0 for c in columns)
    assert mean_delta([]) is None


def test_macro_of_columns_without_a_flip_is_not_certain() -> None:
    same = [compare_items(np.ones(20), np.ones(20), ["t"] * 20) for _ in range(2)]
    found = mean_delta(same)
    assert found is not None
    assert found.bound() is not None
    assert (found.bound() or (0, 0))[0] < -0.03


def _by_hand(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=2, max_size=50))
def test_score_of_one_arm(values: list[float]) -> None:
    found = score(np.array(values), ["t"] * len(values))
    assert (found.mean, found.stderr) == pytest.approx(_by_hand(values))
    assert found.interval is not None
    assert found.interval.low - 1e-12 <= found.mean <= found.interval.high + 1e-12


def test_score_of_no_items_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        score(np.zeros(0), [])


def test_wider_bound_is_the_hull_of_both() -> None:
    found = compare_items(np.array([1.0, 0, 1, 0] * 5), np.array([0.0, 0, 1, 1] * 5), ["a"] * 10 + ["b"] * 10)
    bounds = found.bound()
    assert bounds is not None
    assert isinstance(found, ItemDelta)
    low, high = score_bounds(5, 5, 20)
    assert bounds[0] <= low
    assert bounds[1] >= high
