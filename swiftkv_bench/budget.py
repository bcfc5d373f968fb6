"""A time budget for load trials: what still fits, judged by what the same trials and engine starts took before."""

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from time import perf_counter

from swiftkv_bench.estimate import Speed, trial_s
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Trial

MARGIN = 1.15
"""A trial may take this much longer than the last one like it."""
FINISH_S = 10.0
"""Kept back for ending the engines; the report comes after the budget."""

_Pair = tuple[str, int]


class Budget:
    """Decides trial by trial, from its making on. Trials of one point and repeat are a pair: all of them run, or none.

    A pair is begun when it fits beside all pairs begun but not finished, with the engine starts that these need.
    """

    def __init__(
        self,
        seconds: float | None,
        speed: Speed,
        *,
        together: bool,
        one_by_one: bool = False,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """
        Args:
            together: all engines are up at once; otherwise one is.
            one_by_one: engines that are up at once start one after the other.
        """
        self.deadline_s = None if seconds is None else clock() + seconds - min(FINISH_S, seconds / 20)
        self._speed = speed
        self._together = together
        self._one_by_one = one_by_one
        self._clock = clock
        self._seen: dict[tuple[str, Arm], float] = {}
        self._start_s: float | None = None
        self._decided: dict[_Pair, bool] = {}

    def allows(self, trial: Trial, remaining: Sequence[Trial], running: Collection[Arm] = ()) -> bool:
        """Whether the trial may start; decided once for its whole pair.

        Args:
            remaining: trials not yet done, this one among them, in order of execution.
            running: arms whose engine is up.
        """
        if self.deadline_s is None:
            return True
        key = _pair(trial)
        if key not in self._decided:
            begun = [t for t in remaining if self._decided.get(_pair(t)) or _pair(t) == key]
            needed = MARGIN * sum(self.expected_s(t) for t in begun) + self.starts_s(begun, running)
            self._decided[key] = self._clock() + needed <= self.deadline_s
        return self._decided[key]

    def expected_s(self, trial: Trial) -> float:
        """What the trial should take: as the last one on the same point and arm, else on another arm, else a guess."""
        point = trial.point.point_id
        known = self._seen.get((point, trial.arm))
        if known is None:
            known = max((s for (at, _), s in self._seen.items() if at == point), default=None)
        return trial_s(trial.point, self._speed) if known is None else known

    def starts_s(self, trials: Sequence[Trial], running: Collection[Arm]) -> float:
        """Time of the engine starts that these trials need, in their order."""
        one = self._speed.start_s if self._start_s is None else self._start_s
        if not trials:
            return 0.0
        if self._together:
            missing = len({t.arm for t in trials} - set(running))
            return one * (missing if self._one_by_one else min(1, missing))
        first = 0 if trials[0].arm in running else 1
        return one * (first + sum(a.arm != b.arm for a, b in pairwise(trials)))

    def took(self, trial: Trial, seconds: float) -> None:
        """Remembers how long a trial took, engine starts not counted."""
        self._seen[trial.point.point_id, trial.arm] = seconds

    def started(self, seconds: float, engines: int = 1) -> None:
        """Remembers how long it took until engines were up, the end of others among it."""
        seconds /= engines if self._one_by_one else 1
        self._start_s = seconds if self._start_s is None else max(self._start_s, seconds)


def fitting(
    trials: Sequence[Trial], seconds: float | None, speed: Speed, *, together: bool, one_by_one: bool = False
) -> set[str]:
    """Ids of the trials that would run if every one took what is expected of it."""
    now = [0.0]
    budget = Budget(seconds, speed, together=together, one_by_one=one_by_one, clock=lambda: now[0])
    found: set[str] = set()
    running: set[Arm] = set()
    for i, trial in enumerate(trials):
        if budget.allows(trial, trials[i:], running):
            now[0] += budget.starts_s([trial], running) + budget.expected_s(trial)
            running = running | {trial.arm} if together else {trial.arm}
            found.add(trial.trial_id)
    return found


def _pair(trial: Trial) -> _Pair:
    return trial.point.point_id, trial.repeat
