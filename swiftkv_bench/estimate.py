"""How long a plan will take, before it runs: a rough figure with its assumptions named."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from swiftkv_bench.schema.accuracy import AccuracyPlan
from swiftkv_bench.schema.engine import Arm, Profile
from swiftkv_bench.schema.manifest import Accelerator, RunPlan
from swiftkv_bench.schema.perf import PerfPlan, Point


@dataclass(frozen=True)
class Speed:
    """What is assumed of an engine."""

    start_s: float
    prompt_tokens_per_s: float
    output_tokens_per_s: float
    item_s: float


CPU = Speed(start_s=45.0, prompt_tokens_per_s=4000.0, output_tokens_per_s=150.0, item_s=0.1)
"""The embedded pair on two cores, measured on one machine: an order of magnitude, not a promise."""

GPU = Speed(start_s=90.0, prompt_tokens_per_s=25_000.0, output_tokens_per_s=3000.0, item_s=0.02)
"""8B dimensions on one H200, from docs/results-h200.md: an order of magnitude, not a promise."""

FAKE = Speed(start_s=2.0, prompt_tokens_per_s=1e6, output_tokens_per_s=1e5, item_s=0.01)
"""The fake engine waits as it is told; what it is told is not looked at."""


def speed_of(profile: Profile, accelerators: Sequence[Accelerator]) -> Speed:
    """What is assumed of the engines of a profile on this machine."""
    return FAKE if profile.engine == "fake" else GPU if accelerators else CPU


@dataclass(frozen=True)
class Estimate:
    """Seconds a plan is expected to take, by part."""

    starts_s: float
    accuracy_s: float
    perf_s: float
    speed: Speed

    @property
    def total_s(self) -> float:
        """All parts."""
        return self.starts_s + self.accuracy_s + self.perf_s


def estimate(plan: RunPlan, *, started: Collection[Arm], together: bool, speed: Speed) -> Estimate:
    """Expected time of a plan at an assumed engine speed.

    Args:
        started: arms whose engine is started; the others' are there.
    """
    changes = min(1, len(started)) if together else len(started)
    if plan.perf is not None and not together:
        order = [t.arm for t in plan.perf.trials]
        changes += sum(a != b and b in started for a, b in pairwise(order))
    perf = 0.0 if plan.perf is None else _perf_s(plan.perf, speed)
    accuracy = _accuracy_s(plan.accuracy, speed) if plan.accuracy is not None else 0.0
    return Estimate(changes * speed.start_s, accuracy, perf, speed)


def _perf_s(plan: PerfPlan, speed: Speed) -> float:
    """Of given trials their sum; of rates to be found two batches an arm, and the grid at shares of the capacity."""
    auto = plan.auto
    if auto is None:
        return sum(trial_s(t.point, speed) for t in plan.trials)
    total = 0.0
    for batch in auto.points:
        at_once = trial_s(batch, speed)
        capacity = (batch.requests or 1) / at_once
        paced = sum(auto.requests / (capacity * share) for share in auto.shares)
        total += len(auto.arms) * (2 * at_once + auto.repeats * (at_once + paced))
    return total


def trial_s(point: Point, speed: Speed) -> float:
    """Expected time of one trial: the arrival window or the work, whichever is longer, and one request's time."""
    one = point.input_len.mean / speed.prompt_tokens_per_s
    decode = point.output_len.mean / speed.output_tokens_per_s
    rate = point.arrivals.rate
    requests = point.requests or math.ceil((point.duration_s or 0.0) * (rate or 1.0))
    window = point.duration_s or point.arrivals.span_s or (requests / rate if rate else 0.0)
    turns, thinking = (1, 0.0) if point.turns is None else (point.turns.count, point.turns.think_s)
    work = requests * turns * (one + decode)
    last = (1 + point.warmup_requests) * (one + decode) + (turns - 1) * (one + decode + thinking)
    return point.arrivals.ramp_up_s + max(window, work) + last


def _accuracy_s(plan: AccuracyPlan, speed: Speed) -> float:
    items = sum(c.documents if plan.limit is None else min(plan.limit, c.documents) for c in plan.columns)
    repeats = len(plan.arms) + (1 if plan.repeat_baseline else 0)
    return items * repeats * speed.item_s
