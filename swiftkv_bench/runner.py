"""Executes a plan: the only stage that touches engines, network and clocks.

A trial's records are on disk when the trial ends, an item's when it is answered. An engine that dies is
started again up to a bound; what could not be measured is recorded as such and the run goes on.
"""

from contextlib import nullcontext, suppress
from dataclasses import replace
from time import perf_counter
from typing import Any

from swiftkv_bench import advice, integrity, provenance
from swiftkv_bench.accuracy.records import read_statuses
from swiftkv_bench.accuracy.run import Prepared, run_accuracy
from swiftkv_bench.accuracy.target import Target as AccuracyTarget
from swiftkv_bench.budget import Budget
from swiftkv_bench.engines.base import Engine
from swiftkv_bench.engines.fleet import Fleet
from swiftkv_bench.engines.probes import another_model, probe_engine, why_stopped
from swiftkv_bench.engines.resolve import EngineConfig, build
from swiftkv_bench.errors import EngineError, InputError, ProbeError, StorageError
from swiftkv_bench.estimate import speed_of
from swiftkv_bench.judge.stopping import decider
from swiftkv_bench.load.driver import Options
from swiftkv_bench.notation import parse_objective
from swiftkv_bench.observer import Observer
from swiftkv_bench.refusal import likely_cause
from swiftkv_bench.request import RunRequest
from swiftkv_bench.resume import changed_builds
from swiftkv_bench.schema.base import content_hash
from swiftkv_bench.schema.engine import Arm, EngineInfo, EngineSpec
from swiftkv_bench.schema.manifest import Cause, Part, Probe
from swiftkv_bench.schema.perf import PerfPlan, RequestTable, Trial, TrialRecord
from swiftkv_bench.store import Run
from swiftkv_bench.sweep import Outcome, Stage, outcome_of, sweep
from swiftkv_bench.telemetry.gpu import Gpus, open_gpus
from swiftkv_bench.trials import MeasureInterruptedError, Serving, measure, tested_client


def execute(request: RunRequest, run: Run, observer: Observer) -> Run:
    """Runs what the run folder does not hold yet; returns a fresh view of the run.

    Raises:
        EngineError: an engine does not start or stays dead, or every trial of an arm failed. What was recorded until
            then is kept.
        InputError: the folder holds answers of another model or may not be written, or the budget has no time for a
            pair of trials. Likewise.
        StorageError: the disk is full. Likewise.
        ProbeError: a failed probe stopped a part of the run, or an answer could not be scored; everything else was
            measured.
        KeyboardInterrupt: the user stopped it. Likewise.
    """
    integrity.verify(run.path, going_on=True)
    execution, found = _Execution(request, run, observer), run.manifest
    execution.update(status="running", status_reason=None, causes=(), slo=request.slo)
    try:
        execution.all_parts()
    except KeyboardInterrupt:
        with suppress(StorageError, InputError):
            execution.update(status="incomplete", status_reason="interrupted", causes=("interrupted",))
        raise
    except (EngineError, InputError, StorageError) as e:
        refused = isinstance(e, InputError) and found.status == "complete"  # nothing of the run has changed
        reason = found.status_reason if refused else str(e).splitlines()[0]
        with suppress(StorageError, InputError):  # a full disk takes no such word either; what it refused first is said
            if refused:
                execution.update(status="complete", status_reason=reason)
            else:
                execution.update(status="incomplete", status_reason=reason, causes=(advice.cause_of(e),))
        raise
    execution.end()
    execution.check_measured()
    return execution.run


class _Execution:
    """The run folder's current manifest while a request is executed."""

    def __init__(self, request: RunRequest, run: Run, observer: Observer) -> None:
        self.request = request
        self.run = run
        self.observer = observer
        self.budget = Budget(
            request.budget_s,
            speed_of(request.profile, provenance.accelerators()),
            together=request.together,
            one_by_one=request.one_by_one,
        )
        self.gpus: Gpus | None = None
        self.failed_trials = 0
        self.left_out = 0
        self.probed: list[EngineInfo] = []
        self.stopped: dict[str, str] = {}
        """What was not measured because of a failed probe, and which."""
        self.unscored: dict[str, str] = {}
        """What was not measured to its end because of an answer without a score, and which."""

    def update(self, **changes: Any) -> None:
        """Replaces fields of the manifest on disk; a run that ends gets its checksums."""
        manifest = self.run.manifest.model_copy(update=changes)
        if manifest.status != "running":
            integrity.seal(self.run.path, manifest)
        self.run = self.run.write_manifest(manifest)
        if manifest.status == "running":
            integrity.unseal(self.run.path)

    def all_parts(self) -> None:
        """Accuracy, then load, on one fleet of engines."""
        request = self.request
        if request.self_test and request.plan.perf is not None and self.run.manifest.self_test is None:
            found = tested_client(request.plan.perf, self.observer, workers=request.workers)
            failed = isinstance(found, str)
            self.update(self_test=None if failed else found, self_test_failure=found if failed else None)
        with Fleet(
            request.engines,
            self._build,
            together=request.together,
            observer=self.observer,
            one_by_one=request.one_by_one,
        ) as fleet:
            if request.accuracy is not None:
                arms = request.accuracy.plan.arms
                for together in [arms] if request.together else [(arm,) for arm in arms]:
                    self._accuracy(request.accuracy, together, fleet)
            if request.plan.perf is not None:
                self._perf(request.plan.perf, fleet)

    def end(self) -> None:
        """Writes down how far a run got that nothing ended early.

        Raises:
            ProbeError: a part of it was stopped.
        """
        stopped = [f"{what} not measured: {why}" for what, why in (self.stopped | self.unscored).items()]
        reasons: dict[Cause, list[str]] = {
            "trials": [f"{self.failed_trials} trials failed"] if self.failed_trials else [],
            "probe": stopped[: len(self.stopped)],
            "answer": stopped[len(self.stopped) :],
            "budget": [f"{self.left_out} trials did not fit the time budget"] if self.left_out else [],
        }
        said = [text for texts in reasons.values() for text in texts]
        self.update(
            status="incomplete" if said else "complete",
            status_reason=" and ".join(said) or None,
            causes=tuple(cause for cause, texts in reasons.items() if texts),
        )
        if stopped:
            raise ProbeError("; ".join(stopped))

    def check_measured(self) -> None:
        """A run in which nothing was measured on an arm that load was put on has failed.

        Raises:
            EngineError: every trial of an arm failed.
            InputError: the budget had room for none.
        """
        records = list(self.run.trial_records())
        if self.left_out and not records:
            raise InputError(
                f"--budget {self.request.budget_s:g}s has no time for one pair of trials and nothing was measured; "
                "give more (--dry-run estimates it)"
            )
        for arm in dict.fromkeys(record.trial.arm for record in records):
            of_arm = [record for record in records if record.trial.arm == arm]
            if all(record.status == "failed" for record in of_arm):
                raise EngineError(f"all {len(of_arm)} trials on {arm} failed; the first: {of_arm[0].reason}")

    def _build(self, config: EngineConfig) -> Engine:
        return build(config, self.run.log_path(config.spec.arm), self.run.path / "scratch")

    def _engine(self, arm: Arm, fleet: Fleet) -> EngineInfo:
        """A running engine of the arm, probed once a start; what it says goes into the manifest.

        Raises:
            InputError: it serves another model than the one that the arm was begun with.
        """
        info = fleet.get(arm)
        if info not in self.probed:
            config = fleet.config(arm)
            self._check_builds(info)
            self.observer.progress("probes", f"probing the {arm} engine")
            try:
                probes = probe_engine(config.spec, info, config.access)
            except EngineError as e:
                if (why := fleet.why_ended(arm)) is not None:
                    raise EngineError(f"{why}; it was answering probes") from e
                cause = likely_cause([str(e)])
                raise e if cause is None else EngineError(f"{e}. {cause}") from e
            self.observer.finish("probes")
            if (how := another_model(config.spec, self.run.manifest.probes, probes)) is not None:
                raise InputError(
                    f"{self.run.path}: the {arm} engine at {info.base_url} does not serve the model that this arm was "
                    f"begun with ({how}); serve that one again, or begin a new run with --fresh or another --out"
                )
            self._record_probes(fleet, probes)
            if fleet.why_ended(arm) is not None:
                # Asking again would end the next one as well: what was answered holds for it.
                info = fleet.get(arm)
                self.update(engine_info=fleet.infos)
            self.probed.append(info)
        return info

    def _check_builds(self, info: EngineInfo) -> None:
        """Notes the builds that are known now that an engine is up.

        Raises:
            InputError: one is not what the run was begun with.
        """
        begun, now = self.run.manifest.builds, provenance.builds(self.run.manifest.engines)
        now |= {} if info.version is None else {f"version that the {info.arm} engine says": info.version}
        if (changed := changed_builds(begun, now)) is not None:
            raise InputError(
                f"{self.run.path} was begun with another build: {changed}; go back to what it was, or begin a new run "
                "with --fresh or another --out"
            )
        self.update(builds=now | begun)

    def _record_probes(self, fleet: Fleet, probes: list[Probe]) -> None:
        new = {(p.name, p.arm): p for p in probes}
        kept = tuple(p for p in self.run.manifest.probes if (p.name, p.arm) not in new)
        self.update(engine_info=fleet.infos, probes=kept + tuple(probes))
        for probe in probes:
            if probe.status == "fail":
                self.observer.note(f"probe `{probe.name}` failed on {probe.arm}: {probe.detail}")

    def _why_stopped(self, arm: Arm, part: Part) -> str | None:
        """The failed probe that stands against measuring an arm; None when there is none."""
        return why_stopped(self.run.manifest.probes, arm, part)

    def _accuracy(self, prepared: Prepared, arms: tuple[Arm, ...], fleet: Fleet) -> None:
        """Asks the arms; when an engine has died, starts it again and goes on where it stopped."""
        decide = decider(prepared.plan, with_load=self.request.plan.perf is not None)
        while True:
            targets = {arm: self._accuracy_target(arm, fleet) for arm in arms}
            stopped = {arm: why for arm in arms if (why := self._why_stopped(arm, "accuracy")) is not None}
            self.stopped.update((f"accuracy of {arm}", why) for arm, why in stopped.items())
            try:
                probes = run_accuracy(prepared, targets, self.run.path, self.observer, decide=decide, stopped=stopped)
                self._record_probes(fleet, probes)
                ended = [s for s in read_statuses(self.run.path) if s.arm in arms and s.status == "incomplete"]
                self.unscored.update((f"{s.column} of {s.arm}", s.reason or s.status) for s in ended)
                return
            except EngineError:
                if all(fleet.why_ended(arm) is None and fleet.alive(arm) for arm in arms):
                    raise

    def _accuracy_target(self, arm: Arm, fleet: Fleet) -> AccuracyTarget:
        info, config = self._engine(arm, fleet), fleet.config(arm)
        return AccuracyTarget(
            base_url=info.base_url,
            served_model=info.served_model,
            tokenizer=config.spec.tokenizer,
            engine_key=engine_key(config.spec),
            max_model_len=info.max_model_len or config.spec.max_model_len,
            tokenizer_revision=config.spec.revision,
            access=config.access,
        )

    def _perf(self, plan: PerfPlan, fleet: Fleet) -> None:
        """Runs stage after stage of the sweep; the manifest's plan gets the trials of each as it is decided."""
        self._remember()
        known = self.run.manifest.plan.perf
        # Rates found before an interruption stay in the plan while the search is gone through again.
        decided = list(known.trials) if known is not None and plan.auto is not None else []
        stages = sweep(plan)
        opened = open_gpus()
        with nullcontext() if opened is None else opened as self.gpus:
            stage: Stage | None = next(stages)
            while stage is not None:
                if plan.adaptive and not stage.searched:
                    decided += [trial for trial in stage.trials if trial not in decided]
                    trials = plan.model_copy(update={"trials": tuple(decided)})
                    self.update(plan=self.run.manifest.plan.model_copy(update={"perf": trials}))
                if stage.reason is not None:
                    self.observer.note(stage.reason)
                self._stage(stage, fleet)
                try:
                    stage = stages.send(self._outcomes(stage) if plan.adaptive else {})
                except StopIteration:
                    stage = None
        self.observer.finish("trials")

    def _stage(self, stage: Stage, fleet: Fleet) -> None:
        remaining = [trial for trial in stage.trials if not self.run.has_trial(trial.trial_id)]
        done = len(stage.trials) - len(remaining)
        if done:
            self.observer.note(f"{done} of {len(stage.trials)} trials are there already")
        while remaining:
            trial = remaining[0]
            if self.budget.allows(trial, remaining, fleet.running):
                self.observer.progress("trials", f"{trial.point.point_id} on {trial.arm}", done, len(stage.trials))
                self._trial(trial, fleet)
                done += 1
            else:
                self.left_out += 1
            remaining = remaining[1:]

    def _outcomes(self, stage: Stage) -> dict[str, Outcome]:
        objective = None if self.request.slo is None else parse_objective(self.request.slo)
        recorded = {t.trial_id: self.run.trial(t.trial_id) for t in stage.trials}
        return {trial_id: outcome_of(*found, objective) for trial_id, found in recorded.items() if found is not None}

    def _remember(self) -> None:
        """Tells the budget what trials and starts took when this run was begun."""
        for record in self.run.trial_records():
            if record.status == "complete":
                self.budget.took(record.trial, record.total_s)
        for info in self.run.manifest.engine_info:
            if info.start_s is not None:
                self.budget.started(info.start_s)

    @property
    def _options(self) -> Options:
        request = self.request
        return Options(request.workers, request_timeout_s=request.request_timeout_s, deadline_s=self.budget.deadline_s)

    def _trial(self, trial: Trial, fleet: Fleet) -> None:
        """Runs one trial, starting its engine if need be, and puts it on disk."""
        begun, up = perf_counter(), fleet.running
        info = self._engine(trial.arm, fleet)
        ready = perf_counter()
        if fleet.running != up:
            self.budget.started(ready - begun, len(set(fleet.running) - set(up)))
        if (why := self._why_stopped(trial.arm, "load")) is not None:
            self.stopped[f"load points of {trial.arm}"] = why
            self.run.write_trial(TrialRecord.not_run(trial, why), RequestTable.empty())
            return
        engine = Serving(info, fleet.config(trial.arm), fleet.session(trial.arm))
        try:
            found = measure(trial, engine, self.gpus, self.observer, self._options)
        except MeasureInterruptedError as e:
            self.run.write_trial(e.recorded.record, e.recorded.table)
            raise
        if found.record.status == "failed" and (why := fleet.why_ended(trial.arm)) is not None:
            found = replace(found, record=found.record.model_copy(update={"reason": why}))
        self.run.write_trial(found.record, found.table)
        if found.record.status == "complete":
            self.budget.took(trial, perf_counter() - ready)
        elif found.record.status == "interrupted":
            self.left_out += 1
            self.observer.note(f"{trial.trial_id} was cut: {found.record.reason}")
        else:
            self.failed_trials += 1
            self.observer.note(f"{trial.trial_id} failed: {found.record.reason}")


def engine_key(spec: EngineSpec) -> str:
    """Identity of what answers: model, revision and every engine setting; not where it listens."""
    return content_hash(spec.model_dump(mode="json", exclude={"port", "url"}))
