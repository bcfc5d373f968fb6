"""From flags to a finished run: builds the request, finds or makes the run folder, executes, shows."""

import dataclasses
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from swiftkv_bench import __version__, points, provenance, redaction, request, runner
from swiftkv_bench.accuracy.run import prepare_accuracy
from swiftkv_bench.cli.options import AccuracyFlags, EngineFlags, LoadFlags, RunFlags
from swiftkv_bench.cli.output import show, show_plan
from swiftkv_bench.cli.progress import observer as make_observer
from swiftkv_bench.engines.memory import hardware_here
from swiftkv_bench.engines.start_checks import check_start
from swiftkv_bench.errors import EngineError
from swiftkv_bench.load.driver import REQUEST_TIMEOUT_S
from swiftkv_bench.notation import parse_duration, parse_objective
from swiftkv_bench.observer import Observer
from swiftkv_bench.points import LoadRequest
from swiftkv_bench.request import AccuracyRequest, RunRequest
from swiftkv_bench.resume import claimed, run_id
from swiftkv_bench.schema.base import content_hash
from swiftkv_bench.schema.manifest import Manifest, RunPlan
from swiftkv_bench.store import cache_dir

RESULTS = Path("results")


def execute(
    engines: EngineFlags,
    run: RunFlags,
    *,
    accuracy: AccuracyFlags | None = None,
    load: LoadFlags | None = None,
    repeat_baseline: bool = False,
) -> None:
    """Runs what the flags ask for and shows its report; `repeat_baseline` puts the load on the baseline twice.

    Raises:
        InputError: a flag cannot be used; nothing was started or written.
        EngineError: an engine failed; what was measured is kept and shown.
        StorageError: the disk is full; what was recorded is kept.
    """
    with make_observer(run.quiet) as observer:
        wanted = build_request(engines, run, observer, accuracy=accuracy, load=load, repeat_baseline=repeat_baseline)
        manifest = new_manifest(wanted)
        if run.dry_run:
            show_plan(wanted, as_json=run.json)
            return
        request.check_tokenizers(wanted)
        failure: EngineError | None = None
        with claimed(manifest, run.out, RESULTS, fresh=run.fresh) as place:
            if place.note is not None:
                observer.note(place.note)
            observer.note(f"{'resuming' if place.resumed else 'writing to'} {place.run.path}")
            try:
                done = runner.execute(wanted, place.run, observer)
            except KeyboardInterrupt:
                observer.note(
                    f"stopped; what is done is kept in {place.run.path}. Resume with: {_command(run, place.run.path)}"
                )
                raise
            except EngineError as e:
                failure, done = e, place.run.reopened()
        try:
            show([done], done.path / "report", as_json=run.json, observer=observer)
        except KeyboardInterrupt:
            observer.note(f"stopped while drawing; the records are whole: swiftkv-bench report {done.path}")
            raise
        if failure is None:
            observer.note(f"exit code 0: measured. For one by the verdict: swiftkv-bench compare {done.path}")
    if failure is not None:
        raise failure


def build_request(
    engines: EngineFlags,
    run: RunFlags,
    observer: Observer,
    *,
    accuracy: AccuracyFlags | None,
    load: LoadFlags | None,
    repeat_baseline: bool = False,
) -> RunRequest:
    """The request that flags ask for, checked whole.

    Raises:
        InputError: a flag cannot be used.
    """
    profile, sentence = request.choose_profile(engines.profile)
    arms = accuracy.arms if accuracy is not None else "both"
    configs = request.engines_for(profile, arms, engines.options(), cache_dir(), repeat_baseline=repeat_baseline)
    if any(config.spec.kind != "url" for config in configs):
        observer.note(sentence)
    together = profile.together if engines.together is None else engines.together
    # A plan is looked at where it will not run: the machine counts when engines are about to start.
    check_start(configs, together=together, hardware=None if run.dry_run else hardware_here())
    items = trials = prepared = None
    if load is not None:
        if load.slo is not None:
            parse_objective(load.slo)
        under_load = [config for config in configs if config.spec.arm != "swiftkv-full"]
        trials = points.perf_plan(_load(load), profile, under_load, seed=run.seed, together=together)
    if accuracy is not None:
        asked = AccuracyRequest(
            tuple(accuracy.suite or ()), accuracy.limit, accuracy.repeat_baseline, accuracy.stop_when_decided
        )
        items = request.accuracy_plan(asked, profile, configs, seed=run.seed)
        prepared = prepare_accuracy(items, accuracy.data_dir, observer)
        items = prepared.plan
    return RunRequest(
        profile=profile,
        engines=configs,
        plan=RunPlan(accuracy=items, perf=trials),
        together=together,
        accuracy=prepared,
        workers=1 if load is None else load.workers,
        request_timeout_s=_request_timeout_s(load),
        self_test=load is not None and load.self_test,
        slo=None if load is None else load.slo,
        budget_s=None if load is None or load.budget is None else parse_duration(load.budget, "--budget"),
    )


def _request_timeout_s(load: LoadFlags | None) -> float:
    return REQUEST_TIMEOUT_S if load is None else parse_duration(load.request_timeout, "--request-timeout")


def new_manifest(wanted: RunRequest) -> Manifest:
    """The manifest of a run that has not started."""
    now = datetime.now(UTC)
    parts = "-".join(name for name in ("accuracy", "perf") if getattr(wanted.plan, name) is not None)
    specs = tuple(config.spec for config in wanted.engines)
    return Manifest(
        run_id=run_id(now, wanted.profile.name if any(s.kind != "url" for s in specs) else "attached", parts),
        status="running",
        created_utc=now.isoformat(timespec="seconds"),
        argv=redaction.redact_command(["swiftkv-bench", *sys.argv[1:]]),
        profile=wanted.profile.name,
        engines=specs,
        slo=wanted.slo,
        plan=wanted.plan,
        plan_hash=content_hash([wanted.plan.model_dump(mode="json"), [runner.engine_key(s) for s in specs]]),
        builds=provenance.builds(specs),
        task_hashes={} if wanted.accuracy is None else wanted.accuracy.task_hashes,
        data={} if wanted.accuracy is None else wanted.accuracy.sources,
        git=provenance.git_state(Path(__file__).parent),
        machine=provenance.machine(),
        packages=provenance.package_versions(),
        harness_version=__version__,
    )


def _load(flags: LoadFlags) -> LoadRequest:
    """Each field of the request is the flag of the same name."""
    asked = {field.name: getattr(flags, field.name) for field in dataclasses.fields(LoadRequest)}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    return LoadRequest(**frozen)


def _command(run: RunFlags, path: Path) -> str:
    words = ["swiftkv-bench", *sys.argv[1:]]
    if run.out is None:
        words += ["--out", str(path)]
    return shlex.join(redaction.redact_command(words))
