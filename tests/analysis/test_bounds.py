"""The bound of a point: prompt FLOPs, and Amdahl's law on the time that decoding does not need."""

import numpy as np
import pytest

from swiftkv_bench.analysis.bounds import Bounds, most_running
from swiftkv_bench.analysis.values import Estimate, PointArm
from swiftkv_bench.evidence.trials import Sample
from swiftkv_bench.roofline import prefill_bound
from swiftkv_bench.schema.engine import EngineSpec
from swiftkv_bench.schema.perf import Arrivals
from swiftkv_bench.schema.telemetry import Telemetry
from tests.synthetic import LLAMA_8B, SWIFTKV_8B, point

AT_ONCE = point(2000, Arrivals(process="all-at-once"), 192)
PACED = point(2000, Arrivals(process="poisson", rate=2.0), 192)


def _bounds(card: str | None, **args: str) -> Bounds:
    base, swift = (
        EngineSpec(
            arm=arm, kind="vllm", model="m", tokenizer="m", architecture=config, max_model_len=33024, args=dict(args)
        )
        for arm, config in (("baseline", LLAMA_8B), ("swiftkv", SWIFTKV_8B))
    )
    return Bounds(base, swift, card)


def _measured(request_throughput: float) -> PointArm:
    none = np.zeros(0)
    estimate = Estimate(request_throughput, None, (request_throughput,), 192, "one trial: no interval")
    return PointArm(
        arm="baseline", valid=True, saturated=False, trials=1, trials_left_out=0, requests=192, ok=192, failures={},
        estimates={"request_throughput": estimate}, goodput_share=None, breakdown=None,
        sample=Sample(none, none, none, none, none, 0),
    )  # fmt: skip


def test_time_that_decoding_needs_by_bandwidth_does_not_gain() -> None:
    # 8B in bf16: 6.98e9 + 0.53e9 weights are 15.01 GB; 32 layers x 2 x 1024 x 2 bytes are 131,072 bytes of K/V a token.
    # A step of 192 requests at a context of 2128 moves 15.01e9 + 192 x 2128 x 131,072 = 68.6 GB: 20.5 ms at 3.35 TB/s.
    # 255 of them by 192 requests are 27.2 ms of the 81.4 ms that a request took: 66.6 % is left to gain.
    found = _bounds("NVIDIA H100 80GB HBM3").at(AT_ONCE, _measured(1 / 0.0814), 192.0)
    assert found is not None
    assert found.prefill_share == pytest.approx(0.666, abs=0.002)
    assert found.ttft == prefill_bound(LLAMA_8B, SWIFTKV_8B, 2000)
    assert found.throughput == pytest.approx(1 / (0.666 / found.ttft + 0.334), abs=0.005)
    assert found.basis == "baseline's time less its decode steps at 3.35 TB/s, batch of at most 192"


def test_two_cards_have_twice_the_bandwidth() -> None:
    one = _bounds("NVIDIA H100 80GB HBM3").at(AT_ONCE, _measured(10.0), 64.0)
    two = _bounds("NVIDIA H100 80GB HBM3", **{"tensor-parallel-size": "2"}).at(AT_ONCE, _measured(10.0), 64.0)
    assert one is not None
    assert two is not None
    assert one.prefill_share is not None
    assert two.prefill_share == pytest.approx(1 - (1 - one.prefill_share) / 2)


@pytest.mark.parametrize(
    ("card", "measured", "running"),
    [(None, _measured(10.0), 64.0), ("NVIDIA H100 PCIe", None, 64.0), ("NVIDIA H100 PCIe", _measured(10.0), None)],
)
def test_without_card_measurement_or_batch_the_share_is_that_of_flops(
    card: str | None, measured: PointArm | None, running: float | None
) -> None:
    found = _bounds(card).at(AT_ONCE, measured, running)
    assert found is not None
    assert found.basis == "FLOPs of prompt and output"
    assert found.throughput is not None
    assert 1 < found.throughput < found.ttft


def test_at_a_set_rate_throughput_has_no_bound() -> None:
    found = _bounds(None).at(PACED, None, None)
    assert found is not None
    assert (found.throughput, found.prefill_share) == (None, None)


def test_without_dimensions_there_is_no_bound() -> None:
    assert Bounds(None, None, None).at(AT_ONCE, None, None) is None


def test_the_batch_is_the_largest_of_all_trials() -> None:
    ran = [Telemetry(seconds=1.0, server_peaks={"num_requests_running": n}) for n in (3.0, 7.0)]
    assert most_running([ran[0], None, ran[1]]) == 7.0
    assert most_running([None, Telemetry(seconds=1.0)]) is None
