"""The shipped load suites, and what is said of one that cannot be used."""

from pathlib import Path

import pytest

from swiftkv_bench.errors import InputError
from swiftkv_bench.plan import grids_of_suite, points_of
from swiftkv_bench.points import load_perf_suite
from swiftkv_bench.store import data_dir

SHIPPED = sorted(path.stem for path in (data_dir("suites") / "perf").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_suite_loads_under_its_file_name(name: str) -> None:
    suite = load_perf_suite(name)
    assert suite.name == name
    assert points_of(grids_of_suite(suite))


def test_the_card_suite_holds_every_figure4_point() -> None:
    card, figure4 = (points_of(grids_of_suite(load_perf_suite(name))) for name in ("card", "figure4"))
    assert {p.point_id for p in figure4} < {p.point_id for p in card}


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("{input_len: [100], rate: [1]}", "exactly one of requests, duration_s and total_prompt_tokens is needed"),
        ("{input_len: [100], rate: [.inf], duration_s: 5}", "a window of duration_s needs finite rates"),
        ("{input_len: [100], rate: [0], requests: 5}", "greater than 0"),
        ("{input_len: [], rate: [1], requests: 5}", "at least 1 item"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused_by_file_and_key(tmp_path: Path, grid: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\ndescription: mine\ngrids: [{grid}]\n")
    with pytest.raises(InputError, match=said) as raised:
        load_perf_suite(str(path))
    assert f"{path}:grids.0" in str(raised.value)
