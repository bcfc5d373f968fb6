"""Energy and means of GPU readings; NVML as a stand-in library, nvidia-smi as a program that prints its lines."""

import sys
import threading
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from swiftkv_bench.telemetry.gpu import Gpus, NvmlSource, Reading, SmiSource, parse_smi

LINE = "0, GPU-5a1e, NVIDIA H100 80GB HBM3, 512.25, 97, 70123, 1980, 61\n"


class _Recorded:
    """Gives out readings once, then says that there are no more."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = [list(readings)]
        self.drained = threading.Event()

    def read(self) -> Sequence[Reading]:
        if self._readings:
            return self._readings.pop()
        self.drained.set()
        return []

    def close(self) -> None:
        self._readings.clear()


def _gpus(readings: Sequence[Reading]) -> Gpus:
    source = _Recorded(readings)
    with Gpus(source) as gpus:
        source.drained.wait(5)
    return gpus


def _power(watts: Sequence[float], every_s: float = 1.0, energy: bool = False) -> list[Reading]:
    joules = 1000.0
    out = []
    for i, w in enumerate(watts):
        out.append(Reading(i * every_s, 0, "H100", w, 0.5, 2**30, 2e9, 60.0, joules if energy else None))
        joules += w * every_s
    return out


def test_power_samples_are_integrated_over_the_stretch() -> None:
    # 100 W for 2 s, 200 W for 2 s with a ramp of 1 s between the samples at 2 s and 3 s: 100*2 + 150 + 200 = 550 J.
    (card,) = _gpus(_power([100, 100, 100, 200, 200])).between(0.0, 4.0)
    assert card.energy_j == pytest.approx(550.0)
    assert (card.energy_from, card.samples) == ("power samples", 5)
    assert (card.mean_power_w, card.max_power_w) == (140.0, 200.0)


def test_the_cards_own_counter_is_preferred_and_interpolated_to_the_ends() -> None:
    (card,) = _gpus(_power([100, 100, 100, 200, 200, 200], energy=True)).between(1.0, 3.5)
    # 100 W from 1 s to 3 s as the counter grew, then half a second at 200 W.
    assert card.energy_j == pytest.approx(300.0)
    assert card.energy_from == "counter"


def test_two_samples_are_no_integral() -> None:
    (card,) = _gpus(_power([100, 100])).between(0.0, 1.0)
    assert (card.energy_j, card.energy_from, card.mean_power_w) == (None, None, 100.0)


def test_a_stretch_without_samples_says_nothing() -> None:
    assert _gpus(_power([100, 100])).between(5.0, 6.0) == ()


def test_cards_are_kept_apart() -> None:
    readings = [Reading(float(i), card, "H100", 100.0 * (card + 1)) for i in range(4) for card in (0, 1)]
    assert [c.energy_j for c in _gpus(readings).between(0.0, 3.0)] == [300.0, 600.0]
    assert [c.energy_j for c in _gpus(readings).between(0.0, 3.0, ("1",))] == [600.0]


def test_a_line_of_nvidia_smi() -> None:
    assert parse_smi(LINE, 3.0) == Reading(
        3.0, 0, "NVIDIA H100 80GB HBM3", 512.25, 0.97, 70123 * 2**20, 1980e6, 61.0, None, "GPU-5a1e"
    )


def test_what_a_card_does_not_tell_is_none() -> None:
    found = parse_smi("1, GPU-77, Tesla T4, [N/A], 5, [Not Supported], 585, 40\n", 0.0)
    assert found == Reading(0.0, 1, "Tesla T4", None, 0.05, None, 585e6, 40.0, None, "GPU-77")


@pytest.mark.parametrize("line", ["", "No devices were found\n", "x, y, z, 1, 2, 3, 4, 5\n"])
def test_other_lines_are_passed_over(line: str) -> None:
    assert parse_smi(line, 0.0) is None


def test_a_running_program_is_read_line_by_line_and_ended() -> None:
    code = f"import time\nprint('warning')\nwhile True:\n    print({LINE!r}, end='', flush=True)\n    time.sleep(0.01)"
    source = SmiSource([sys.executable, "-c", code])
    first = [r for _ in range(3) for r in source.read()]
    source.close()
    assert [r.power_w for r in first] == [512.25] * 3


class _NvmlError(Exception):
    pass


def _refuse(_: object) -> float:
    raise _NvmlError


def test_nvml_units_are_converted_and_refusals_are_none() -> None:
    nvml = SimpleNamespace(
        NVMLError=_NvmlError, NVML_CLOCK_SM=1, NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None, nvmlShutdown=lambda: None, nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda i: i, nvmlDeviceGetName=lambda _: b"NVIDIA H200",
        nvmlDeviceGetUUID=lambda _: "GPU-5a1e",
        nvmlDeviceGetPowerUsage=lambda _: 350_500, nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=80),
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=2**30), nvmlDeviceGetClockInfo=lambda _, __: 1980,
        nvmlDeviceGetTemperature=lambda _, __: 55, nvmlDeviceGetTotalEnergyConsumption=_refuse,
    )  # fmt: skip
    source = NvmlSource(nvml, every_s=0.001)
    (card,) = source.read()
    expected = Reading(card.at_s, 0, "NVIDIA H200", 350.5, 0.8, float(2**30), 1980e6, 55.0, None, "GPU-5a1e")
    assert card == expected
    source.close()
    assert source.read() == ()
