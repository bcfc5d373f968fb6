"""Runs whose answers and latencies are chosen to the item and the trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swiftkv_bench import integrity
from swiftkv_bench.accepted.runs import find
from swiftkv_bench.evidence.run import Evidence
from swiftkv_bench.judge.compare import Asked, compare_arms, compare_runs
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Claim, Line, Measured, Verdict
from swiftkv_bench.judge.policy import Policy
from swiftkv_bench.judge.verdict import verdict_of
from swiftkv_bench.schema.accuracy import AccuracyPlan
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import RunPlan
from swiftkv_bench.schema.perf import Arrivals, Float, PerfPlan, Trial
from swiftkv_bench.store import Run, create_run
from tests.synthetic import accuracy_column, item, manifest, point, table, trial_record

Scores = Mapping[tuple[str, Arm, int], Float]
"""(column, arm, repeat) -> score of document 0, 1, ..."""

RATE = Arrivals(process="constant", rate=10.0)
BATCH = Arrivals(process="all-at-once")
MARGIN = 0.03
ROOT = Path("nowhere")


def right(n: int, correct: int) -> Float:
    """n scores of which the first are right."""
    return (np.arange(n) < correct).astype(float)


def flipped(scores: Float, *, lost: int = 0, gained: int = 0) -> Float:
    """The same with so many right answers wrong and wrong ones right."""
    out = scores.copy()
    out[np.flatnonzero(scores == 1)[:lost]] = 0
    out[np.flatnonzero(scores == 0)[:gained]] = 1
    return out


def answered(folder: Path, scores: Scores, *, sealed: bool = True, **changes: Any) -> Run:
    """A finished accuracy run; `changes` go into its manifest and every item."""
    of_items = {k: changes.pop(k) for k in ("prompt_hash", "unparsed", "first") if k in changes}
    columns = tuple(accuracy_column(c, c.upper(), 10_000, MARGIN, None) for c in dict.fromkeys(k[0] for k in scores))
    known: tuple[Arm, ...] = ("baseline", "swiftkv", "swiftkv-full")
    arms = [arm for arm in known if any(k[1] == arm for k in scores)]
    plan = AccuracyPlan(
        suite="mini", suite_hash=changes.pop("suite_hash", "h"), columns=columns, arms=tuple(arms), seed=0,
        repeat_baseline=any(k[2] for k in scores),
    )  # fmt: skip
    run = create_run(folder, manifest(folder.name, RunPlan(accuracy=plan), arms).model_copy(update=changes))
    same = {"prompt_hash": of_items["prompt_hash"]} if "prompt_hash" in of_items else {}
    with run.items_path.open("w") as out:
        for (column, arm, repeat), values in scores.items():
            for i, value in enumerate(values, of_items.get("first", 0)):
                unparsed = arm == "swiftkv" and i < of_items.get("unparsed", 0)
                one = item(arm, column, i, float(value), repeat=repeat, unparsed=unparsed, **same)
                out.write(one.model_dump_json() + "\n")
    if sealed:
        integrity.seal(run.path)
    return run


def loaded(
    folder: Path,
    ttft_s: Mapping[Arm, Sequence[float | Float]],
    *,
    itl_s: float = 0.01,
    arrivals: Sequence[Arrivals] = (RATE,),
    seed: int = 0,
    late: Mapping[tuple[Arm, int], float] | None = None,
    **changes: Any,
) -> Run:
    """A finished load run: one trial a value, its 40 requests with that TTFT or those; `late` spoils a trial."""
    points = [point(100, a, 40, output_len=4) for a in arrivals]
    trials = [
        Trial(trial_id=f"{p.point_id}-{arm}-{k}", point=p, arm=arm, repeat=k, seed=seed + k)
        for p in points for arm, values in ttft_s.items() for k in range(len(values))
    ]  # fmt: skip
    plan = RunPlan(perf=PerfPlan(seed=seed, trials=tuple(trials)))
    run = create_run(folder, manifest(folder.name, plan, list(ttft_s)).model_copy(update=changes))
    for trial in trials:
        paced = trial.point.arrivals.rate is not None
        scheduled = np.arange(40) / 10.0 if paced else np.zeros(40)
        lateness = (late or {}).get((trial.arm, trial.repeat), 0.0)
        first_s = np.broadcast_to(ttft_s[trial.arm][trial.repeat], 40)
        served = table(scheduled, first_s, itl_s, lateness_s=lateness)
        record = trial_record(trial.point, trial.arm, trial.repeat, float(scheduled[-1])).model_copy(
            update={"trial": trial}
        )
        run.write_trial(record, served)
    integrity.seal(run.path)
    return run


def read(run: Run, policy: Policy | None = None) -> Evidence:
    """As the command line reads a run folder."""
    return find(str(run.path), ROOT, policy or Policy())


def compared(
    baseline: Run, candidate: Run | None = None, policy: Policy | None = None, **request: Any
) -> RunComparison:
    """Two runs, or one run's arms."""
    policy = policy or Policy()
    asked = Asked(policy, None, request.get("allow", ()), ("swiftkv-bench", "compare"), "2026-11-25T00:00:00+00:00")
    if candidate is None:
        return compare_arms(read(baseline, policy), asked)
    return compare_runs(read(baseline, policy), read(candidate, policy), asked)


def line(found: RunComparison, line_id: str) -> Line:
    """The line of that name."""
    return next(one for one in found.lines if one.line_id == line_id)


def said(of: Measured, margin: float) -> Verdict:
    """The verdict on a drop of a score, when no other claim is made."""
    claim = Claim(
        "accuracy", "score", "primary", "score", "GSM8K", "gsm8k", "reference run", "swiftkv", "swiftkv", "difference",
        "lower", margin,
    )  # fmt: skip
    return verdict_of(claim, of, of.p_fail, 0.05)
