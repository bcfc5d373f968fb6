"""Quantities as text."""

import math

import pytest

from swiftkv_bench import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12.3 ms"), (1.2351, "1.24 s"), (250.0, "4 min 10 s"), (7320.0, "2 h 02 min"), (4.2e-5, "42.0 µs"),
     (0.0, "0 ms"), (None, "–"), (math.nan, "–"), (-0.5, "-500 ms")],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(9870, "9,870"), (26_376, "26.4k"), (1.5e6, "1.50M"), (0.25, "0.250"), (None, "–"), (7, "7")]
)
def test_counts(value: float | None, text: str) -> None:
    assert units.count(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(-0.0162, "−1.62"), (0.0032, "+0.32"), (0.0, "0.00"), (-0.000001, "0.00"), (None, "–")]
)
def test_points_have_a_true_minus_and_no_signed_zero(share: float | None, text: str) -> None:
    assert units.points(share) == text


@pytest.mark.parametrize(("ratio", "text"), [(0.953, "−4.7 %"), (1.098, "+9.8 %"), (1.0, "0.0 %"), (None, "–")])
def test_changes_have_a_true_minus_and_no_signed_zero(ratio: float | None, text: str) -> None:
    assert units.change(ratio) == text


@pytest.mark.parametrize(("p", "text"), [(0.0312, "0.031"), (0.0004, "< 0.001"), (1.0, "1"), (None, "–")])
def test_p_values(p: float | None, text: str) -> None:
    assert units.p_value(p) == text


def test_an_interval_shares_the_unit_of_its_estimate() -> None:
    assert units.durations(0.98, 0.9, 1.06) == ("ms", ("980", "900", "1,060"))
    assert units.durations(1.5, 0.9, 2.0) == ("s", ("1.50", "0.90", "2.00"))
    assert units.durations(0.0) == ("µs", ("0.0",))
    with pytest.raises(ValueError, match="at least one"):
        units.durations()


def test_ratios_percentages_rates_and_sizes() -> None:
    assert [units.ratio(1.823), units.percent(0.8213), units.rate(0.5), units.size(1.5 * 2**30)] == [
        "1.82×", "82.1 %", "0.5/s", "1.50 GiB",
    ]  # fmt: skip
    assert [units.ratio(None), units.percent(None), units.rate(None), units.size(None)] == ["–"] * 4


@pytest.mark.parametrize(("joules", "text"), [(0.0253, "25.3 mJ"), (1.238, "1.24 J"), (None, "–"), (math.nan, "–")])
def test_energy(joules: float | None, text: str) -> None:
    assert units.energy(joules) == text


def test_one_of_a_thing_has_no_plural() -> None:
    assert [units.counted(n, "claim") for n in (0, 1, 1200)] == ["0 claims", "1 claim", "1,200 claims"]
