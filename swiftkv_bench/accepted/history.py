"""Accepted runs over time: a series a figure, and where its level changed.

Format history:
    swiftkv-bench/history/1  first format.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from swiftkv_bench.errors import IncomparableError, InputError
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.columns import figure_of
from swiftkv_bench.judge.keys import check_keys
from swiftkv_bench.judge.points import median_of, planned_points, point_pair
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.judge.verdict import holm
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.schema.base import Record
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.perf import Point
from swiftkv_bench.stats.changes import largest_shift, steps
from swiftkv_bench.stats.items import score

SCHEMA_ID: Literal["swiftkv-bench/history/1"] = "swiftkv-bench/history/1"


class HistoryPoint(Record):
    """A figure of one accepted run."""

    run_id: str = Field(description="run")
    created_utc: str = Field(description="start of the run, ISO 8601")
    commit: str | None = Field(None, description="checkout that ran; None outside one")
    value: float = Field(description="share, seconds or per second")
    low: float | None = Field(None, description="95 % interval of this run alone; None when it allows none")
    high: float | None = Field(None, description="its upper end")


class HistoryStep(Record):
    """A change of level."""

    run_id: str = Field(description="first run of the new level")
    index: int = Field(description="its place in the series", ge=0)
    before: float = Field(description="level before; geometric mean for figures under load")
    after: float = Field(description="level from this run on")
    p: float = Field(description="p of `no step`, corrected over the series where it is the first step of its series")
    worse: bool = Field(description="the new level is the worse one")


class HistorySeries(Record):
    """One figure over the accepted runs."""

    key: str = Field(description="stable name, e.g. accuracy/gsm8k/swiftkv")
    title: str = Field(description="in words")
    metric: str = Field(description="`score`, or a key of METRICS")
    arm: Arm = Field(description="engine")
    point: Point | None = Field(None, description="load point")
    better: Literal["lower", "higher"] = Field(description="direction in which the figure is better")
    points: tuple[HistoryPoint, ...] = Field(description="oldest run first")
    steps: tuple[HistoryStep, ...] = Field((), description="changes of level, oldest first")
    p: float | None = Field(None, description="of `no step`, before the correction; None below five runs")


class History(Record):
    """Everything that `swiftkv-bench history` says."""

    schema_id: Literal["swiftkv-bench/history/1"] = Field(SCHEMA_ID, description="format of this document")
    name: str = Field(description="what the runs were accepted as")
    alpha: float = Field(description="rate of false alarms over all series together")
    runs: tuple[str, ...] = Field(description="runs in the series, oldest first")
    left_out: dict[str, str] = Field({}, description="run -> why it cannot stand beside the newest one")
    series: tuple[HistorySeries, ...] = Field(description="accuracy first")


def history(name: str, runs: Sequence[Evidence], policy: Policy, allow: Sequence[str] = ()) -> History:
    """Series over the runs that are comparable with the newest.

    Args:
        runs: accepted runs.

    Raises:
        InputError: there is none.
    """
    if not runs:
        raise InputError(f"no run is accepted as {name}; accept one with `swiftkv-bench accept RUN --name {name}`")
    ordered = sorted(runs, key=lambda run: run.manifest.created_utc)
    kept, left_out = [], {}
    for run in ordered:
        try:
            check_keys(run, ordered[-1], allow=allow, variables=policy.variables)
            kept.append(run)
        except IncomparableError as e:
            left_out[run.side.run_id] = f"{e.key} differs"
    found = [*_accuracy(kept), *_performance(kept, policy)]
    shifts = [largest_shift(_scaled(series)) for series in found]
    known = {i: shift[1] for i, shift in enumerate(shifts) if shift is not None}
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    series = tuple(_with_steps(one, known.get(i), adjusted.get(i), policy.alpha) for i, one in enumerate(found))
    names = tuple(run.side.run_id for run in kept)
    return History(name=name, alpha=policy.alpha, runs=names, left_out=left_out, series=series)


def _accuracy(runs: Sequence[Evidence]) -> Iterator[HistorySeries]:
    plan = runs[-1].manifest.plan.accuracy
    for column in plan.columns if plan is not None else ():
        for arm in runs[-1].arms:
            points = []
            for run in runs:
                answers = run.answers.get((column.name, arm, 0))
                if answers is not None:
                    ends_of = (column.measure.low, column.measure.high)
                    interval = score(answers.score, answers.tasks, column.weight_by, ends=ends_of).interval
                    interval = interval if column.measure.is_mean else None
                    value = figure_of(column, answers)
                    ends = (None, None) if interval is None else (interval.low, interval.high)
                    points.append(_point(run, value, *ends))
            if points:
                yield HistorySeries(
                    key=f"accuracy/{column.name}/{arm}",
                    title=column.title,
                    metric="score",
                    arm=arm,
                    better="higher" if column.measure.higher_is_better else "lower",
                    points=tuple(points),
                )


def _performance(runs: Sequence[Evidence], policy: Policy) -> Iterator[HistorySeries]:
    gated = [METRICS[key] for key in policy.performance.gated if not METRICS[key].paired]
    # A paired median exists between two runs alone: its series is the median's.
    paired = [METRICS[key] for key in policy.performance.gated if METRICS[key].paired]
    gated += [METRICS[key] for m in paired if (key := median_of(m, paired=False)) is not None]
    for arm in runs[-1].arms:
        for point_id, point in planned_points(runs[-1], arm).items():
            for metric in gated:
                points = []
                for run in runs:
                    trials = [t for t in run.trials if t.trial.arm == arm and t.trial.point.point_id == point_id]
                    here = point_pair(point, trials, trials)
                    logs = [math.log(x) for x in here.figures(metric)[0].values() if x > 0]
                    if logs and here.stands(metric):
                        points.append(_point(run, math.exp(float(np.mean(logs)))))
                if points:
                    yield HistorySeries(
                        key=f"performance/{point_id}/{metric.key}/{arm}",
                        title=metric.title,
                        metric=metric.key,
                        arm=arm,
                        point=point,
                        better=metric.better or "higher",
                        points=tuple(points),
                    )


def _point(run: Evidence, value: float, low: float | None = None, high: float | None = None) -> HistoryPoint:
    git = run.manifest.git
    return HistoryPoint(
        run_id=run.side.run_id,
        created_utc=run.manifest.created_utc,
        commit=None if git is None else git.commit,
        value=value,
        low=low,
        high=high,
    )


def _scaled(series: HistorySeries) -> list[float]:
    """Logs of figures under load, so that equal factors are equal steps."""
    return [point.value if series.metric == "score" else math.log(point.value) for point in series.points]


def _with_steps(series: HistorySeries, p: float | None, adjusted: float | None, alpha: float) -> HistorySeries:
    if p is None or adjusted is None or adjusted > alpha:
        return series.model_copy(update={"p": p})
    found = []
    for step in steps(_scaled(series), alpha):
        before, after = (x if series.metric == "score" else math.exp(x) for x in (step.before, step.after))
        found.append(
            HistoryStep(
                run_id=series.points[step.index].run_id,
                index=step.index,
                before=before,
                after=after,
                p=adjusted if step.p == p else step.p,
                worse=(after > before) == (series.better == "lower"),
            )
        )
    return series.model_copy(update={"p": p, "steps": tuple(found)})
