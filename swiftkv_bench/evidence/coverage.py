"""How much of a column each side answered, and what that leaves open in a comparison of two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swiftkv_bench.schema.accuracy import NO_DATA, Column, ColumnState, ColumnStatus
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.stats.missing import Missing


@dataclass(frozen=True)
class Coverage:
    """One side of one column.

    Attributes:
        reason: why the column is not complete; None when it is.
        planned: items that the side was to answer: fewer than the plan's where the column ended early.
    """

    state: ColumnState
    reason: str | None
    planned: int


def coverage(
    column: Column, side: tuple[Arm, int], answered: int, manifest: Manifest, statuses: Sequence[ColumnStatus]
) -> Coverage:
    """By the recorded state; a column without one is whole in a run that ended well, and cut short in any other.

    A column that is not run any more, because a probe failed when the run was resumed, keeps the answers it had.
    """
    plan = manifest.plan.accuracy
    planned = answered if plan is None else plan.planned(column)
    state = next((s for s in statuses if (s.arm, s.repeat, s.column) == (*side, column.name)), None)
    if state is not None and state.status in ("complete", "ended early"):
        return Coverage(state.status, state.reason, answered)
    if state is not None:
        return Coverage("incomplete" if answered else state.status, state.reason, planned)
    if not answered:
        return Coverage("not run", "nothing was recorded", planned)
    if manifest.status == "complete":
        return Coverage("complete", None, answered)
    return Coverage("incomplete", "the run ended before it was", planned)


def no_data(state: ColumnState, reason: str | None) -> bool:
    """The column's data were not at hand, so that no engine was asked."""
    return state == "not run" and (reason or "").startswith(NO_DATA)


def missing_items(
    column: Column,
    reference: tuple[Coverage, Mapping[tuple[str, int], float]],
    candidate: tuple[Coverage, Mapping[tuple[str, int], float]],
) -> Missing | None:
    """Items of a column that both were to answer and one did not; None where no side was cut short."""
    sides = (reference[0], candidate[0])
    if not any(side.state == "incomplete" for side in sides):
        return None
    return Missing.between(reference[1], candidate[1], min(side.planned for side in sides), column.weight_by)
