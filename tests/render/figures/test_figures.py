"""Figures: which are drawn, that they repeat byte for byte, and that they read in grey."""

from dataclasses import replace

import pytest

from swiftkv_bench.analysis import Analysis
from swiftkv_bench.analysis.values import PointResult
from swiftkv_bench.render.drawing import COLOUR, MARKER, PAPER, Figure
from swiftkv_bench.render.figures import figures
from swiftkv_bench.render.figures.latency import latency

HEADS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


def _named(drawn: tuple[Figure, ...], name: str) -> Figure:
    return next(f for f in drawn if f.name == name)


def test_every_figure_is_drawn_in_every_format(drawn: tuple[Figure, ...]) -> None:
    assert [f.name for f in drawn] == [
        "throughput_vs_input", "gain_vs_input", "latency_vs_rate", "first_token", "requests", "accuracy_difference",
    ]  # fmt: skip
    heads = {suffix: {f.files[suffix][: len(head)] for f in drawn} for suffix, head in HEADS.items()}
    assert heads == {suffix: {head} for suffix, head in HEADS.items()}


def test_figures_repeat_byte_for_byte(analysis: Analysis, drawn: tuple[Figure, ...]) -> None:
    again = latency(analysis.perf[0], ("svg", "png", "pdf"))
    assert again == _named(drawn, "latency_vs_rate")


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        (
            "throughput_vs_input",
            ["bound 1.73×", "n = 60 requests", "3 trials", "Prompt + output tokens/s", "Input length, tokens"],
        ),
        ("latency_vs_rate", ["n = 120 requests", "TTFT, ms", "TPOT, ms", "Request rate, 1/s", "32,000 input tokens"]),
        ("gain_vs_input", ["n = 60", "bound, prompt", "Gain of SwiftKV over baseline, ×"]),
        ("accuracy_difference", ["percentage points", "margin, and the way to it", "WinoGrande, n 12"]),
    ],
)
def test_n_and_units_stand_on_the_figure(drawn: tuple[Figure, ...], name: str, texts: list[str]) -> None:
    svg = _named(drawn, name).files["svg"].decode()
    assert [text for text in texts if text not in svg] == []


def test_points_that_are_not_compared_are_hollow(drawn: tuple[Figure, ...]) -> None:
    # Markers of the two baseline points that are invalid or saturated, in TTFT and TPOT, filled with paper.
    svg = _named(drawn, "latency_vs_rate").files["svg"].decode()
    assert svg.count(f"fill: {PAPER}; stroke: {COLOUR['baseline']}") == 4


def _luminance(colour: str) -> float:
    """WCAG relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_arms_differ_in_grey_and_in_marker() -> None:
    light, dark = _luminance(COLOUR["baseline"]), _luminance(COLOUR["swiftkv"])
    assert (light + 0.05) / (dark + 0.05) > 2
    assert len(set(MARKER.values())) == 3


def test_figures_without_data_are_left_out(analysis: Analysis) -> None:
    assert figures(replace(analysis, perf=(), accuracy=()), ("svg",)) == ()
    empty = replace(analysis.perf[0], points=())
    assert figures(replace(analysis, perf=(empty,), accuracy=()), ("svg",)) == ()


def test_every_figure_is_described_for_those_who_cannot_see_it(drawn: tuple[Figure, ...]) -> None:
    assert [f.name for f in drawn if len(f.description) < 40] == []


def test_times_that_are_all_zero_are_drawn_without_a_warning(analysis: Analysis) -> None:
    # A fake engine without delays answers with every token in one read: its time per output token is 0.
    def without_tpot(result: PointResult) -> PointResult:
        arms = {
            name: replace(arm, estimates={k: replace(e, value=0.0, interval=None) for k, e in arm.estimates.items()})
            for name, arm in result.arms.items()
        }
        return replace(result, arms=arms, bound=None)

    perf = replace(analysis.perf[0], points=tuple(map(without_tpot, analysis.perf[0].points)))
    drawn = latency(perf, ("svg",))
    assert drawn is not None
    assert "TPOT, ms" in drawn.files["svg"].decode()
