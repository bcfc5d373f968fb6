"""The largest gain that arithmetic allows at each load point, from the model's dimensions and what was measured.

SwiftKV computes less for a prompt token and nothing less for a generated one. So a prompt alone can gain the ratio of
its FLOPs, and whole requests that ratio on the share of time that is not needed for decoding (Amdahl's law).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swiftkv_bench import roofline
from swiftkv_bench.analysis.values import Bound, Gain, PointArm
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.schema.engine import EngineSpec
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.schema.perf import UNPACED, Point
from swiftkv_bench.schema.telemetry import Telemetry


@dataclass(frozen=True)
class Bounds:
    """What is known of the two arms of a run."""

    baseline: EngineSpec | None
    swiftkv: EngineSpec | None
    card: str | None
    """Product name of the first GPU."""

    @classmethod
    def of(cls, manifest: Manifest) -> "Bounds":
        """From the configurations and the machine that a manifest holds."""
        known = {spec.arm: spec for spec in manifest.engines}
        cards = manifest.machine.accelerators
        return cls(known.get("baseline"), known.get("swiftkv"), cards[0].name if cards else None)

    def at(self, point: Point, baseline: PointArm | None, running: float | None) -> Bound | None:
        """At the mean lengths of a point; a shared prefix counts as computed. None without both models' dimensions.

        None for conversations as well, whose prompts grow.

        Args:
            baseline: what was measured of the baseline there.
            running: most requests the baseline had in its batch; None where the server does not tell.
        """
        if self.baseline is None or self.swiftkv is None or point.turns is not None:
            return None
        base, swift = self.baseline.architecture, self.swiftkv.architecture
        if base is None or swift is None:
            return None
        inputs, outputs = round(point.input_len.mean), max(1, round(point.output_len.mean))
        prompt = roofline.prefill_bound(base, swift, inputs)
        if point.arrivals.process not in UNPACED:
            return Bound(prompt, None, None, "FLOPs of the prompt")
        measured = self._share_by_bandwidth(base, inputs, outputs, baseline, running)
        if measured is not None:
            share, basis = measured
            return Bound(prompt, roofline.share_bound(prompt, share), share, basis)
        whole = [_request_flops(config, inputs, outputs) for config in (base, swift)]
        share = roofline.prefill_flops(base, inputs) / whole[0]
        return Bound(prompt, whole[0] / whole[1], share, "FLOPs of prompt and output")

    def _share_by_bandwidth(
        self,
        config: Mapping[str, object],
        inputs: int,
        outputs: int,
        baseline: PointArm | None,
        running: float | None,
    ) -> tuple[float, str] | None:
        """Share of the baseline's measured time that its decode steps did not need by memory bandwidth, and its basis.

        1 − (outputs − 1) decode_bytes(mean context, batch) / (batch bandwidth seconds per request), a largest value:
        decoding takes no less. None when the card is not known or the batch was not told.
        """
        args = {} if self.baseline is None else self.baseline.args
        bandwidth = None if self.card is None else roofline.memory_bandwidth(self.card)
        rate = None if baseline is None else baseline.estimates.get("request_throughput")
        if bandwidth is None or rate is None or not running:
            return None
        cards = int(args.get("tensor-parallel-size", 1))
        kv_bytes = 1.0 if str(args.get("kv-cache-dtype", "")).startswith("fp8") else None
        batch = round(running)
        step = roofline.decode_bytes(config, inputs + outputs // 2, batch=batch, kv_bytes=kv_bytes)
        decode_s = (outputs - 1) * step / (batch * bandwidth * cards)
        basis = (
            f"baseline's time less its decode steps at {bandwidth * cards / 1e12:.3g} TB/s, batch of at most {batch:,}"
        )
        return min(1.0, max(0.0, 1 - decode_s * rate.value)), basis


def _request_flops(config: Mapping[str, object], inputs: int, outputs: int) -> float:
    """Prefill and the outputs − 1 decode steps; decode FLOPs are linear in the context, so its mean suffices."""
    context = inputs + outputs // 2
    return roofline.prefill_flops(config, inputs) + (outputs - 1) * roofline.decode_flops(config, context)


def reached(gains: Mapping[str, Gain], bound: Bound | None) -> dict[str, float]:
    """Metric key -> gain / bound, for first tokens and throughputs that have one."""
    if bound is None:
        return {}
    limits = {key: _limit(key, bound) for key in gains}
    return {key: gains[key].value / limit for key, limit in limits.items() if limit is not None}


def _limit(key: str, bound: Bound) -> float | None:
    metric = METRICS[key]
    if metric.latency in ("ttft_s", "ttft_from_schedule_s"):
        return bound.ttft
    return bound.throughput if metric.key.endswith("_throughput") else None


def most_running(telemetry: Sequence[Telemetry | None]) -> float | None:
    """Most requests in the engine's batch in any of several trials; None where none tells."""
    peaks = [t.server_peaks for t in telemetry if t is not None]
    return max((p["num_requests_running"] for p in peaks if "num_requests_running" in p), default=None)
