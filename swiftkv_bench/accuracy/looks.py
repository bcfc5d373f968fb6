"""Ending a column early: the arms answer it in parts, and after each part ask together whether to go on."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from swiftkv_bench.schema.engine import Arm

Scores = Mapping[tuple[Arm, int], Mapping[tuple[str, int], float]]
"""(arm, repeat) -> (task, doc_id) -> score, of one column."""

Decide = Callable[[str, Scores], bool]
"""From a column's name and the scores so far to whether its verdicts are reached."""


@dataclass
class Looks:
    """One column's looks. Arms wait for each other, so that every look sees the same items of all of them.

    Attributes:
        arms: those that answer the column side by side.
        decide: asked once a part.
    """

    arms: set[Arm]
    decide: Callable[[], bool]
    _reached: dict[Arm, int] = field(init=False)
    _found: dict[int, bool] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._reached = dict.fromkeys(self.arms, 0)

    def after(self, arm: Arm, part: int) -> bool:
        """Whether the column ends after this part (counted from 1); waits until every arm has answered it or left."""
        with self._changed:
            self._reached[arm] = part
            self._changed.notify_all()
            self._changed.wait_for(lambda: all(reached >= part for reached in self._reached.values()))
            if part not in self._found:
                self._found[part] = self.decide()
            return self._found[part]

    def leave(self, arm: Arm) -> None:
        """The arm has no more parts; nobody waits for it."""
        with self._changed:
            self._reached.pop(arm, None)
            self._changed.notify_all()
