"""Lengths, rates and latency targets as written on the command line."""

import math

import pytest

from swiftkv_bench.errors import InputError
from swiftkv_bench.metrics import Objective
from swiftkv_bench.notation import (
    parse_duration,
    parse_length,
    parse_objective,
    parse_rate,
    parse_share,
    parse_slo,
)
from swiftkv_bench.schema.perf import Length


def test_lengths_are_fixed_or_drawn() -> None:
    assert parse_length("2000", "--input-len") == Length(mean=2000)
    assert parse_length("lognormal:mean=2000,sigma=0.5", "--input-len") == Length(
        distribution="lognormal", mean=2000, sigma=0.5
    )
    assert parse_length("uniform:low=500,high=1500", "--input-len") == Length(
        distribution="uniform", mean=1000, low=500, high=1500
    )


@pytest.mark.parametrize("text", ["0", "-5", "2k", "", "normal:mean=3", "lognormal:sigma=1", "uniform:low=9,high=3"])
def test_a_bad_length_names_flag_and_value(text: str) -> None:
    with pytest.raises(InputError, match=r"^--input-len .* is no length in tokens; write 2000"):
        parse_length(text, "--input-len")


def test_rates_are_numbers_above_zero_or_inf() -> None:
    assert parse_rate("0.5", "--rate") == 0.5
    assert math.isinf(parse_rate("inf", "--rate"))


@pytest.mark.parametrize("text", ["0", "-1", "nan", "fast"])
def test_a_bad_rate_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=rf"^--rate {text} is no request rate"):
        parse_rate(text, "--rate")


def test_durations_and_targets_are_seconds() -> None:
    assert parse_duration("50ms", "--slo tpot") == 0.05
    assert parse_duration("1.5min", "x") == 90.0
    assert parse_slo("ttft=2s, tpot=50ms") == {"ttft": 2.0, "tpot": 0.05}


@pytest.mark.parametrize("text", ["latency=2s", "ttft", "ttft=0s", "ttft=2h"])
def test_a_bad_target_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--slo"):
        parse_slo(text)


def test_an_objective_has_a_share_that_is_nine_in_ten_unless_told() -> None:
    assert parse_objective("ttft=2s,tpot=50ms") == Objective(ttft_s=2.0, tpot_s=0.05, share=0.9)
    assert parse_objective("share=99%, e2e=3s") == Objective(e2e_latency_s=3.0, share=0.99)


@pytest.mark.parametrize(("text", "share"), [("3%", 0.03), ("0.5", 0.5), (" 100% ", 1.0)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text, "--x") == share


@pytest.mark.parametrize("text", ["0", "101%", "-1%", "half", "2"])
def test_a_bad_share_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=rf"^--x={text} is no share; write 95% or 0.95$"):
        parse_share(text, "--x")


def test_a_target_without_a_unit_is_refused_by_both_readings() -> None:
    with pytest.raises(InputError, match="--slo ttft=200 has no unit; write ttft=200ms or ttft=200s"):
        parse_slo("ttft=200,tpot=50ms")
