"""What machine and server did during a trial, beside what its requests say."""

from typing import Literal

from pydantic import Field

from swiftkv_bench.schema.base import Record


class GpuTelemetry(Record):
    """One GPU from the start of a trial's window to its last measured response. The whole card, whoever used it."""

    index: int = Field(description="index as nvidia-smi counts, without CUDA_VISIBLE_DEVICES")
    name: str = Field(description="product name")
    samples: int = Field(description="readings the means and peaks are of")
    energy_j: float | None = Field(None, description="energy; None where the card does not tell power")
    energy_from: Literal["counter", "power samples"] | None = Field(
        None, description="the card's own energy counter, or power integrated over the samples"
    )
    mean_power_w: float | None = Field(None, description="mean power")
    max_power_w: float | None = Field(None, description="highest power")
    mean_utilization: float | None = Field(None, description="share of time in which a kernel ran")
    max_memory_bytes: int | None = Field(None, description="most memory in use")
    mean_sm_clock_hz: float | None = Field(None, description="mean clock of the multiprocessors")
    max_temperature_c: float | None = Field(None, description="highest temperature, Celsius")


class Telemetry(Record):
    """From the start of a trial's window to its last measured response."""

    seconds: float = Field(description="time covered")
    engine_cpu_s: float | None = Field(
        None, description="processor seconds of all processes of the engine; None for an attached server"
    )
    engine_max_rss_bytes: int | None = Field(
        None, description="most resident memory of these processes together, sampled; shared pages count in each"
    )
    gpus: tuple[GpuTelemetry, ...] = Field((), description="every GPU that could be read")
    server_peaks: dict[str, float] = Field(
        {}, description="highest sampled value of the server's gauges (requests running and waiting, KV usage)"
    )

    @property
    def energy_j(self) -> float | None:
        """Energy of the GPUs that ran anything; None when there is none or one of them does not tell."""
        busy = [g for g in self.gpus if g.mean_utilization is None or g.mean_utilization > 0]
        energies = [g.energy_j for g in busy]
        return None if not energies or None in energies else sum(e or 0.0 for e in energies)
