"""Means over a grid with holes: equal to Student's t without any, and right about their error with some."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from swiftkv_bench.stats.grids import grid_log_ratio, unpaired_grid_log_ratio
from swiftkv_bench.stats.trials import LogRatio, paired_log_ratio, unpaired_log_ratio

Grid = list[dict[int, float]]


def _found(ratio: LogRatio | None) -> LogRatio:
    assert ratio is not None
    return ratio


def _grid(logs: np.ndarray, missing: np.ndarray | None = None) -> Grid:
    keep = np.ones(logs.shape, bool) if missing is None else ~missing
    return [{i: float(x) for i, x in enumerate(row) if k[i]} for row, k in zip(logs, keep, strict=True)]


def _same(found: LogRatio | None, expected: LogRatio | None) -> None:
    a, b = _found(found), _found(expected)
    assert (a.n, a.paired) == (b.n, b.paired)
    assert (a.value, a.stderr, a.df) == pytest.approx((b.value, b.stderr, b.df))


def test_a_whole_grid_gives_students_t_over_the_means_of_repeats() -> None:
    logs = np.random.default_rng(1).normal(0.5, 0.1, (3, 5))
    _same(grid_log_ratio(_grid(logs)), paired_log_ratio(list(np.exp(logs.mean(axis=0))), [1.0] * 5))


def test_whole_grids_that_do_not_pair_give_welchs_t_over_the_means_of_repeats() -> None:
    random = np.random.default_rng(2)
    c, r = random.normal(0.5, 0.1, (3, 5)), random.normal(0.0, 0.2, (3, 4))
    found = unpaired_grid_log_ratio(_grid(c), _grid(r))
    _same(found, unpaired_log_ratio(list(np.exp(c.mean(axis=0))), list(np.exp(r.mean(axis=0)))))


def test_one_point_is_students_t_over_its_repeats() -> None:
    _same(grid_log_ratio([{0: 0.1, 3: 0.2, 4: 0.4}]), paired_log_ratio(list(np.exp([0.1, 0.2, 0.4])), [1.0] * 3))


def test_points_without_a_common_repeat_have_an_error_all_the_same() -> None:
    found = _found(grid_log_ratio([{0: 0.1, 1: 0.3}, {2: 0.5, 3: 0.9}]))
    # Independent points: a quarter of the sum of their squared standard errors, 0.1² and 0.2².
    assert (found.value, found.stderr) == pytest.approx((0.45, math.sqrt((0.01 + 0.04) / 4)))
    assert found.n == 2
    assert found.df == pytest.approx(2.0)


def test_equal_repeats_have_no_spread() -> None:
    assert _found(grid_log_ratio([{0: 0.7, 1: 0.7}, {0: 0.1, 2: 0.1}])).stderr == 0.0


@pytest.mark.parametrize("points", [[], [{}], [{0: 1.0}, {}]])
def test_a_point_without_a_repeat_leaves_no_mean(points: Sequence[Mapping[int, float]]) -> None:
    assert grid_log_ratio(points) is None
    assert unpaired_grid_log_ratio(points, [{0: 1.0, 1: 1.0}]) is None


def test_a_point_with_one_repeat_leaves_no_error() -> None:
    single, many = [{0: 0.1}, {0: 0.2, 1: 0.3}], [{0: 0.0, 1: 0.1}, {0: 0.0, 1: 0.1}]
    assert _found(grid_log_ratio(single)).stderr is None
    assert _found(unpaired_grid_log_ratio(single, many)).stderr is None


@pytest.mark.parametrize("of_a_repeat", [0.0, 1.0])
@pytest.mark.parametrize("uneven", [0.0, 0.7])
def test_intervals_of_grids_with_holes_cover_the_truth_as_often_as_they_say(of_a_repeat: float, uneven: float) -> None:
    random = np.random.default_rng(3)
    covered, made = 0, 0
    for _ in range(2000):
        spread = np.exp(random.normal(0, uneven, (4, 1)))
        logs = random.normal(0, 1, (4, 5)) * spread + of_a_repeat * random.normal(0, 1, 5)
        found = grid_log_ratio(_grid(logs, random.random((4, 5)) < 0.3))
        if found is not None and found.stderr is not None:
            made += 1
            covered += abs(found.value) <= stats.t.ppf(0.975, found.df) * found.stderr
    assert made > 1500
    assert covered / made == pytest.approx(0.95, abs=0.02)
