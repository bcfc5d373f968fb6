"""A time budget for load trials: what still fits, judged by what the same trials took before."""

from collections.abc import Callable, Sequence
from time import perf_counter

from swiftkv_bench.estimate import Speed, trial_s
from swiftkv_bench.schema.perf import Trial

MARGIN = 1.15
"""A trial may take this much longer than the last one like it."""


class Budget:
    """Decides trial by trial. Trials of one point and repeat are a pair: all of them run, or none."""

    def __init__(self, seconds: float | None, speed: Speed, clock: Callable[[], float] = perf_counter) -> None:
        self._deadline = None if seconds is None else clock() + seconds
        self._speed = speed
        self._clock = clock
        self._seen: dict[tuple[str, str], float] = {}
        self._decided: dict[tuple[str, int], bool] = {}

    def allows(self, trial: Trial, remaining: Sequence[Trial]) -> bool:
        """Whether the trial may start; decided once for its whole pair, counting those of `remaining`."""
        if self._deadline is None:
            return True
        key = (trial.point.point_id, trial.repeat)
        if key not in self._decided:
            pair = [t for t in remaining if (t.point.point_id, t.repeat) == key]
            needed = MARGIN * sum(self.expected_s(t) for t in pair)
            self._decided[key] = self._clock() + needed <= self._deadline
        return self._decided[key]

    def expected_s(self, trial: Trial) -> float:
        """What the trial should take: as the last one on the same point and arm, else an estimate."""
        seen = self._seen.get((trial.point.point_id, trial.arm))
        return trial_s(trial.point, self._speed) if seen is None else seen

    def took(self, trial: Trial, seconds: float) -> None:
        """Remembers how long a trial took."""
        self._seen[trial.point.point_id, trial.arm] = seconds
