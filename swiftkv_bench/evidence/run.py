"""One run as a judge, a page and a history use it: answers, trials, where they come from, what stands against them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from swiftkv_bench import integrity
from swiftkv_bench.accuracy.records import read_statuses
from swiftkv_bench.advice import next_step
from swiftkv_bench.checks import Finding, check_certificate, merge, sentence
from swiftkv_bench.errors import InputError
from swiftkv_bench.evidence.answers import Answers, AnswersKey, collect
from swiftkv_bench.evidence.trials import TrialFigures, read_trial
from swiftkv_bench.metrics import Objective
from swiftkv_bench.notation import parse_objective
from swiftkv_bench.schema.accuracy import ColumnStatus
from swiftkv_bench.schema.base import Record
from swiftkv_bench.schema.engine import Arm, EngineSpec
from swiftkv_bench.schema.manifest import GitState, Machine, Manifest
from swiftkv_bench.store import Run


class Side(Record):
    """One side of a comparison and where it comes from."""

    label: str = Field(description="as the command line named it")
    kind: Literal["run folder", "accepted run", "arm"] = Field(description="what was read")
    source: str = Field(description="folder it was read from")
    arm: Arm | None = Field(None, description="the arm, when one run's arms are compared; None: like arm with like")
    run_id: str = Field(description="run")
    status: Literal["running", "complete", "incomplete"] = Field(description="how far the run got")
    created_utc: str = Field(description="start of the run, ISO 8601")
    accepted_utc: str | None = Field(None, description="when it was accepted; None for a run folder")
    profile: str = Field(description="profile name")
    suite: str | None = Field(None, description="accuracy suite; None without an accuracy part")
    suite_hash: str | None = Field(None, description="its content hash")
    git: GitState | None = Field(None, description="checkout of the harness that ran")
    machine: Machine = Field(description="where it ran")
    packages: dict[str, str] = Field(description="versions of the packages that matter")
    engines: tuple[EngineSpec, ...] = Field(description="resolved configuration of every arm")
    engine_versions: dict[Arm, str] = Field({}, description="arm -> version as the server reported it")
    harness_version: str = Field(description="version of swiftkv-bench that ran")
    argv: tuple[str, ...] = Field((), description="command line that made the run, secrets redacted")


@dataclass(frozen=True)
class Evidence:
    """One run, read.

    Attributes:
        objective: targets that goodput was counted against; None when it was not counted.
        slo: the same as typed.
        findings: what stands against the run and its trials, gravest first.
        run: the folder, where texts of items can be read; None for an accepted run.
    """

    side: Side
    manifest: Manifest
    answers: Mapping[AnswersKey, Answers]
    statuses: Sequence[ColumnStatus]
    trials: Sequence[TrialFigures]
    objective: Objective | None = None
    slo: str | None = None
    findings: tuple[Finding, ...] = ()
    run: Run | None = None

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Arms in the order of the run."""
        return tuple(spec.arm for spec in self.manifest.engines)

    def spec(self, arm: Arm) -> EngineSpec | None:
        """The resolved configuration of an arm; None where it has none."""
        return next((spec for spec in self.manifest.engines if spec.arm == arm), None)

    def as_arm(self, arm: Arm) -> "Evidence":
        """The same run as one of two arms that are held against each other."""
        label = f"{self.side.label}, {arm}"
        return replace(self, side=self.side.model_copy(update={"kind": "arm", "arm": arm, "label": label}))


def read_run(
    run: Run, label: str, slo: str | None = None, *, objective: Objective | None = None, checked: bool = True
) -> Evidence:
    """Everything that a run folder says.

    Args:
        slo: targets of goodput as typed, in place of the run's own; `objective` goes before both.
        checked: refuse records that were edited, and a complete run that lacks trials; a report of a damaged run is
            made without.

    Raises:
        InputError: a record is missing, damaged, of a newer format or of another plan.
    """
    manifest = run.manifest.named()
    slo = manifest.slo if slo is None else slo
    if objective is None and slo is not None:
        objective = parse_objective(slo)
    findings = list(_run_findings(manifest))
    if checked:
        sealed = integrity.verify(run.path)
        _check_whole(run)
        if not sealed and manifest.status == "complete":
            text = "The run folder has no checksums, so that edited records cannot be told."
            findings.append(Finding("no-checksums", "warning", text, "Run it again with this version."))
    trials, of_trials = _trials(run, objective)
    return Evidence(
        side=side_of(manifest, label=label, source=str(run.path)),
        manifest=manifest,
        answers=_answers_of(run, checked=checked) if manifest.plan.accuracy is not None else {},
        statuses=tuple(read_statuses(run.path)),
        trials=tuple(trials),
        objective=objective,
        slo=slo,
        findings=merge([*findings, *of_trials]),
        run=run,
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


def _run_findings(manifest: Manifest) -> Sequence[Finding]:
    unverified = [found for spec in manifest.engines if (found := check_certificate(spec)) is not None]
    if manifest.status == "complete":
        return unverified
    reason = f": {manifest.status_reason}" if manifest.status_reason else ""
    text = sentence(f"The run is {'not finished' if manifest.status == 'running' else 'incomplete'}{reason}")
    return [Finding("run-incomplete", "warning", text, next_step(manifest)), *unverified]


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


def _trials(run: Run, objective: Objective | None) -> tuple[list[TrialFigures], list[Finding]]:
    """One raw table in memory at a time."""
    plan = run.manifest.plan.perf
    planned = {} if plan is None else {trial.trial_id: trial for trial in plan.trials}
    trials: list[TrialFigures] = []
    findings: list[Finding] = []
    for record, table in run.trials():
        if record.trial != planned.get(record.trial.trial_id):
            raise InputError(
                f"{run.path / 'trials' / record.trial.trial_id}.json is of another plan than manifest.json; "
                "restore the original run folder"
            )
        found, notes = read_trial(record, table, objective)
        trials += [] if found is None else [found]
        findings += notes
    return trials, findings


def _answers_of(run: Run, *, checked: bool) -> dict[AnswersKey, Answers]:
    plan, found = run.manifest.plan.accuracy, collect(run.items())
    known = set() if plan is None else {column.name for column in plan.columns}
    strange = next((column for column, _, _ in found if column not in known), None)
    if strange is not None and checked:
        raise InputError(
            f"{run.items_path} holds answers to {strange}, which is no column of the plan in manifest.json; restore "
            "the original run folder"
        )
    return {key: answers for key, answers in found.items() if key[0] in known}
