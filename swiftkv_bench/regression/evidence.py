"""What a comparison needs of one side: scores of items, figures of trials, and where they come from."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from swiftkv_bench import integrity
from swiftkv_bench.accuracy.records import read_statuses
from swiftkv_bench.advice import next_step
from swiftkv_bench.analysis.cells import trial_figures
from swiftkv_bench.checks import Finding, check_trial, merge
from swiftkv_bench.errors import InputError
from swiftkv_bench.metrics import Objective, server_metrics, trial_metrics
from swiftkv_bench.notation import parse_objective
from swiftkv_bench.regression.comparison import Note, Side
from swiftkv_bench.schema.accuracy import ColumnStatus, ItemRecord, ScoringMethod
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.schema.perf import Float, RequestTable, Trial, TrialRecord
from swiftkv_bench.store import Run

Key = tuple[str, int]
"""(task, doc_id) of an item."""

AnswersKey = tuple[str, Arm, int]
"""(column, arm, repeat)."""

PAIRED = ("ttft_s", "tpot_s")
"""Latencies that are kept of every request, so that trials of one schedule compare request by request."""

REQUESTS_KEPT = 1000
"""Most requests of a trial that are kept; the median of as many is known to a few per cent of their spread."""

Bool = npt.NDArray[np.bool_]
Prints = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Answers:
    """One arm's answers to one column, once, sorted by key.

    Attributes:
        score: shape (n,), 0 to 1.
        prints: shape (n, 3), CRC-32 of the hashes of document, prompt and target.
        unparsed, unfinished, truncated: shape (n,).
        generated: the answers are texts, so that they can be unparsed.
    """

    keys: tuple[Key, ...]
    score: Float
    prints: Prints
    unparsed: Bool
    unfinished: Bool
    truncated: Bool
    generated: bool

    def __len__(self) -> int:
        return len(self.keys)

    def at(self, rows: Sequence[int]) -> "Answers":
        """The answers in the given rows."""
        at = np.asarray(rows, dtype=np.int64)
        return Answers(
            tuple(self.keys[i] for i in rows), self.score[at], self.prints[at], self.unparsed[at],
            self.unfinished[at], self.truncated[at], self.generated,
        )  # fmt: skip


@dataclass(frozen=True)
class TrialFigures:
    """One complete trial as a comparison uses it.

    Attributes:
        valid: no finding of severity `invalid`.
        saturated: requests came faster than they were answered.
        figures: metric key -> figure, where the trial supports one.
        requests: latency (`PAIRED`) -> seconds of every request in order of schedule, NaN for one without it; of trials
            of more than `REQUESTS_KEPT` requests every second, third, ... one.
    """

    trial: Trial
    started_utc: str
    valid: bool
    saturated: bool
    figures: Mapping[str, float]
    requests: Mapping[str, Float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """One side of a comparison.

    Attributes:
        slo: targets that goodput was counted against, as typed; None when it was not counted.
        run: the folder, where texts of items can be read; None for an accepted run.
    """

    side: Side
    manifest: Manifest
    answers: Mapping[AnswersKey, Answers]
    statuses: Sequence[ColumnStatus]
    trials: Sequence[TrialFigures]
    slo: str | None
    notes: tuple[Note, ...] = ()
    run: Run | None = None

    @property
    def objective(self) -> Objective | None:
        """The targets of `slo`."""
        return None if self.slo is None else parse_objective(self.slo)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Arms in the order of the run."""
        return tuple(spec.arm for spec in self.manifest.engines)

    def labelled(self, side: Side) -> "Evidence":
        """The same under another side."""
        return replace(self, side=side)


def read_run(run: Run, label: str, slo: str | None = None) -> Evidence:
    """Everything a run folder says that a comparison uses; goodput against `slo`, else against the run's own targets.

    Raises:
        InputError: a record is missing, damaged or of a newer format.
    """
    manifest = run.manifest
    sealed = integrity.verify(run.path)
    slo = manifest.slo if slo is None else slo
    objective = None if slo is None else parse_objective(slo)
    notes = _run_notes(manifest, sealed)
    _check_whole(run)
    trials, findings = _trials(run.trials(), objective) if manifest.plan.perf is not None else ([], [])
    return Evidence(
        side=side_of(manifest, label=label, source=str(run.path)),
        manifest=manifest,
        answers=collect(run.items()),
        statuses=tuple(read_statuses(run.path)),
        trials=tuple(trials),
        slo=slo,
        notes=(*notes, *(_note(f) for f in merge(findings) if f.severity != "note")),
        run=run,
    )


def _check_whole(run: Run) -> None:
    """A run that ended well has every trial of its plan, also where no checksums say so.

    Raises:
        InputError: one is missing; the message names it.
    """
    plan = run.manifest.plan.perf
    if plan is None or run.manifest.status != "complete":
        return
    recorded = {record.trial.trial_id for record in run.trial_records()}
    missing = [trial.trial_id for trial in plan.trials if trial.trial_id not in recorded]
    if missing:
        raise InputError(
            f"{run.path / 'trials'} lacks {len(missing)} of {len(plan.trials)} trials of a complete run, {missing[0]} "
            "first; restore the original run folder"
        )


def side_of(manifest: Manifest, *, label: str, source: str, accepted_utc: str | None = None) -> Side:
    """Where a run comes from, as a comparison prints it."""
    plan = manifest.plan.accuracy
    return Side(
        label=label,
        kind="run folder" if accepted_utc is None else "accepted run",
        source=source,
        run_id=manifest.run_id,
        status=manifest.status,
        created_utc=manifest.created_utc,
        accepted_utc=accepted_utc,
        profile=manifest.profile,
        suite=None if plan is None else plan.suite,
        suite_hash=None if plan is None else plan.suite_hash,
        git=manifest.git,
        machine=manifest.machine,
        packages=manifest.packages,
        engines=manifest.engines,
        engine_versions={info.arm: info.version for info in manifest.engine_info if info.version is not None},
        harness_version=manifest.harness_version,
        argv=manifest.argv,
    )


_TEXTS: tuple[ScoringMethod, ...] = ("generation",)


def collect(items: Iterable[ItemRecord]) -> dict[AnswersKey, Answers]:
    """Items by column, arm and repeat; the last record of an item counts."""
    found: dict[AnswersKey, dict[Key, tuple[object, ...]]] = {}
    generated: dict[AnswersKey, bool] = {}
    for item in items:
        key: AnswersKey = (item.column, item.arm, item.repeat)
        prints = [zlib.crc32(text.encode()) for text in (item.doc_hash, item.prompt_hash, item.target_hash)]
        row = (item.score, prints, item.unparsed, item.unfinished, item.truncated)
        found.setdefault(key, {})[item.task, item.doc_id] = row
        generated[key] = generated.get(key, False) or item.method in _TEXTS
    return {key: _answers(rows, generated[key]) for key, rows in found.items()}


def _answers(rows: Mapping[Key, tuple[object, ...]], generated: bool) -> Answers:
    keys = tuple(sorted(rows))
    columns = list(zip(*(rows[key] for key in keys), strict=True))
    return Answers(
        keys=keys,
        score=np.array(columns[0], dtype=float),
        prints=np.array(columns[1], dtype=np.uint32),
        unparsed=np.array(columns[2], dtype=bool),
        unfinished=np.array(columns[3], dtype=bool),
        truncated=np.array(columns[4], dtype=bool),
        generated=generated,
    )


def _trials(
    recorded: Iterable[tuple[TrialRecord, RequestTable]], objective: Objective | None
) -> tuple[list[TrialFigures], list[Finding]]:
    trials: list[TrialFigures] = []
    findings: list[Finding] = []
    for record, table in recorded:
        m = trial_metrics(table, record.trial.point.arrivals, record.window_s, objective)
        check = check_trial(record, table, m, server_metrics(record.server_before, record.server_after))
        findings += check.findings
        if record.status == "complete":
            requests = {name: kept(getattr(m.per_request, name)) for name in PAIRED}
            figures = trial_figures(m)
            started = record.started_utc
            trials.append(TrialFigures(record.trial, started, check.valid, check.saturated, figures, requests))
    return trials, findings


def kept(values: Float) -> Float:
    """At most `REQUESTS_KEPT` of the values, evenly, rounded as an accepted run keeps them."""
    step = -(-len(values) // REQUESTS_KEPT)
    return values[:: max(1, step)].astype(np.float32).astype(float)


def _run_notes(manifest: Manifest, sealed: bool) -> list[Note]:
    notes = []
    if manifest.status != "complete":
        reason = f": {manifest.status_reason}" if manifest.status_reason else ""
        message = f"The run is {'not finished' if manifest.status == 'running' else 'incomplete'}{reason}."
        notes.append(_plain("run-incomplete", message, next_step(manifest)))
    elif not sealed:
        message = "The run folder has no checksums, so that edited records cannot be told."
        notes.append(_plain("no-checksums", message, "Run it again with this version."))
    return notes


def _plain(code: str, message: str, next_step: str) -> Note:
    return Note(code=code, severity="warning", message=message, next_step=next_step, side="both")


def _note(finding: Finding) -> Note:
    """A finding of one side; the comparison says which."""
    return Note(
        code=finding.code,
        severity=finding.severity,
        message=finding.message,
        next_step=finding.next_step,
        side="both",
        where=finding.point or finding.column,
        arm=finding.arm,
    )
