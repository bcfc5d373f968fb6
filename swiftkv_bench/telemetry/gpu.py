"""NVIDIA GPUs over time: readings in the background, summed up for any stretch of it.

NVML through pynvml where that is installed: it also has the card's own energy counter. Else a running nvidia-smi,
whose power is integrated.
"""

import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, Self

import numpy as np

from swiftkv_bench.schema.telemetry import GpuTelemetry
from swiftkv_bench.telemetry.cards import is_one_of

SAMPLE_S = 0.1
LEAST_SAMPLES = 3
"""Fewer power samples than this make no integral."""
_SMI = (
    "nvidia-smi", "--query-gpu=index,uuid,name,power.draw,utilization.gpu,memory.used,clocks.sm,temperature.gpu",
    "--format=csv,noheader,nounits", "-lms", "200",
)  # fmt: skip
_MIB, _MHZ = 2**20, 1e6


@dataclass(frozen=True)
class Reading:
    """One card at one moment; None where it does not tell. `at_s` is on the `perf_counter` axis."""

    at_s: float
    index: int
    name: str
    power_w: float | None = None
    utilization: float | None = None
    memory_bytes: float | None = None
    sm_clock_hz: float | None = None
    temperature_c: float | None = None
    energy_j: float | None = None
    """The card's counter since its driver was loaded."""
    uuid: str | None = None


class Source(Protocol):
    """Where readings come from."""

    def read(self) -> Sequence[Reading]:
        """Blocks until the next readings are there; empty when there will be none any more."""

    def close(self) -> None:
        """Ends a `read` in progress and lets go of everything."""


class Gpus:
    """Readings of all cards since it was opened. A context manager."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._readings: list[Reading] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._collect, name="gpu-telemetry", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()
        self._thread.join(timeout=5)

    def between(self, start_s: float, end_s: float, cards: tuple[str, ...] | None = None) -> tuple[GpuTelemetry, ...]:
        """The cards over a stretch of time on the `perf_counter` axis; drops what is older than its start.

        Args:
            cards: those asked for, see `cards`; None asks for all.
        """
        with self._lock:
            self._readings = [r for r in self._readings if r.at_s >= start_s - 2.0]
            readings = list(self._readings)
        seen = sorted({r.index for r in readings if is_one_of(cards, r.index, r.uuid)})
        found = (_summary([r for r in readings if r.index == card], start_s, end_s) for card in seen)
        return tuple(one for one in found if one is not None)

    def _collect(self) -> None:
        while readings := self._source.read():
            with self._lock:
                self._readings += readings


def _summary(readings: Sequence[Reading], start_s: float, end_s: float) -> GpuTelemetry | None:
    inside = [r for r in readings if start_s <= r.at_s <= end_s]
    if not inside:
        return None
    power = [r.power_w for r in inside if r.power_w is not None]
    use = [r.utilization for r in inside if r.utilization is not None]
    memory = [r.memory_bytes for r in inside if r.memory_bytes is not None]
    clock = [r.sm_clock_hz for r in inside if r.sm_clock_hz is not None]
    heat = [r.temperature_c for r in inside if r.temperature_c is not None]
    counted = _interpolated(readings, start_s, end_s)
    energy = counted if counted is not None else _integral(inside, start_s, end_s)
    return GpuTelemetry(
        index=inside[0].index,
        name=inside[0].name,
        samples=len(inside),
        energy_j=energy,
        energy_from=None if energy is None else "counter" if counted is not None else "power samples",
        mean_power_w=_mean(power),
        max_power_w=max(power, default=None),
        mean_utilization=_mean(use),
        max_memory_bytes=None if not memory else round(max(memory)),
        mean_sm_clock_hz=_mean(clock),
        max_temperature_c=max(heat, default=None),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _interpolated(readings: Sequence[Reading], start_s: float, end_s: float) -> float | None:
    """Growth of the energy counter, interpolated to both ends; None when no reading lies on either side of each."""
    known = [(r.at_s, r.energy_j) for r in readings if r.energy_j is not None]
    if len(known) < 2 or known[0][0] > start_s + SAMPLE_S or known[-1][0] < end_s - SAMPLE_S:
        return None
    at, joules = zip(*known, strict=True)
    first, last = np.interp([start_s, end_s], at, joules)
    return float(last - first)


def _integral(inside: Sequence[Reading], start_s: float, end_s: float) -> float | None:
    """Trapezoids between power samples, the outermost held to the ends."""
    known = [(r.at_s, r.power_w) for r in inside if r.power_w is not None]
    if len(known) < LEAST_SAMPLES:
        return None
    at = np.array([start_s, *(t for t, _ in known), end_s])
    watts = np.array([known[0][1], *(w for _, w in known), known[-1][1]])
    return float(np.trapezoid(watts, at))


def open_gpus() -> Gpus | None:
    """The machine's GPUs, not yet sampled; None when there is nothing to read them with."""
    source = nvml_source() or smi_source()
    return None if source is None else Gpus(source)


def nvml_source() -> Source | None:
    """NVML; None without pynvml, or without a driver or card."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        source = NvmlSource(pynvml)
    except pynvml.NVMLError:
        return None
    return source if source.cards else None


def smi_source(command: Sequence[str] = _SMI) -> Source | None:
    """A running nvidia-smi; None when there is no such program or it fails."""
    try:
        return SmiSource(command)
    except OSError:
        return None


class NvmlSource:
    """Reads all cards through an initialised NVML binding every `SAMPLE_S`."""

    def __init__(self, nvml: Any, every_s: float = SAMPLE_S) -> None:
        self._nvml = nvml
        self._every_s = every_s
        self._closed = threading.Event()
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        self.cards = [
            (handle, _text(nvml.nvmlDeviceGetName(handle)), _text(nvml.nvmlDeviceGetUUID(handle))) for handle in handles
        ]

    def read(self) -> Sequence[Reading]:
        """All cards, after a pause."""
        if self._closed.wait(self._every_s):
            self._nvml.nvmlShutdown()
            return ()
        return [self._card(index, *card) for index, card in enumerate(self.cards)]

    def close(self) -> None:
        """The next `read` ends it."""
        self._closed.set()

    def _card(self, index: int, handle: Any, name: str, uuid: str) -> Reading:
        nvml, at_s = self._nvml, perf_counter()
        return Reading(
            at_s,
            index,
            name,
            power_w=self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3),
            utilization=self._ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
            memory_bytes=self._ask(lambda: float(nvml.nvmlDeviceGetMemoryInfo(handle).used)),
            sm_clock_hz=self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) * _MHZ),
            temperature_c=self._ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            energy_j=self._ask(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3),
            uuid=uuid,
        )

    def _ask(self, question: Callable[[], float]) -> float | None:
        try:
            return float(question())
        except self._nvml.NVMLError:
            return None


class SmiSource:
    """Reads the lines of a looping nvidia-smi as they come."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def read(self) -> Sequence[Reading]:
        """The next line; empty when the program has ended."""
        if self._process.stdout is None:
            return ()
        # ValueError: closed meanwhile.
        with suppress(ValueError):
            for line in self._process.stdout:
                reading = parse_smi(line, perf_counter())
                if reading is not None:
                    return [reading]
        return ()

    def close(self) -> None:
        """Ends the program."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def parse_smi(line: str, at_s: float) -> Reading | None:
    """One line of nvidia-smi's CSV: index, UUID, name, W, %, MiB, MHz, °C; None for any other line."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != 8 or not cells[0].isdigit():
        return None
    power, use, memory, clock, heat = (_number(cell) for cell in cells[3:])
    return Reading(
        at_s,
        int(cells[0]),
        cells[2],
        uuid=cells[1],
        power_w=power,
        utilization=None if use is None else use / 100,
        memory_bytes=None if memory is None else memory * _MIB,
        sm_clock_hz=None if clock is None else clock * _MHZ,
        temperature_c=heat,
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
