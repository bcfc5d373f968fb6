"""`swiftkv-bench accuracy --rescore RUN`: a new run folder with the recorded answers and new scores."""

import dataclasses
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from swiftkv_bench import __version__, integrity, provenance, redaction
from swiftkv_bench.accuracy.rescore import rescore_run
from swiftkv_bench.accuracy.run import Prepared, prepare_accuracy
from swiftkv_bench.accuracy.suites import plan_accuracy, select_columns, selected_file
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.cli.execution import RESULTS
from swiftkv_bench.cli.options import AccuracyFlags, EngineFlags, RunFlags
from swiftkv_bench.cli.output import show
from swiftkv_bench.cli.progress import observer as make_observer
from swiftkv_bench.cli.verify import recorded_data_dir
from swiftkv_bench.errors import InputError
from swiftkv_bench.resume import run_id
from swiftkv_bench.schema.accuracy import AccuracyPlan
from swiftkv_bench.schema.base import content_hash
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Manifest, RunPlan
from swiftkv_bench.store import Run, create_run, open_run


def rescore(folder: Path, accuracy: AccuracyFlags, engines: EngineFlags, run: RunFlags) -> None:
    """Scores a run's recorded answers again and shows the report of the new run.

    Raises:
        InputError: a flag has no meaning here, or the suite asks something else than the run did.
    """
    _require_no_flags(accuracy, engines)
    recorded = open_run(folder)
    integrity.verify(recorded.path)
    plan = _plan(recorded, accuracy)
    with make_observer(run.quiet) as observer:
        prepared = prepare_accuracy(plan, accuracy.data_dir or recorded_data_dir(recorded), observer)
        manifest = _manifest(recorded.manifest, prepared)
        new = create_run(run.out or RESULTS / manifest.run_id, manifest)
        rescore_run(recorded, prepared, _targets(recorded), new.path, observer)
        done = manifest.model_copy(
            update={"status": recorded.manifest.status, "status_reason": recorded.manifest.status_reason}
        )
        integrity.seal(new.path, done)
        new = new.write_manifest(done)
        show([new], new.path / "report", as_json=run.json, observer=observer)


def _require_no_flags(accuracy: AccuracyFlags, engines: EngineFlags) -> None:
    given = [*_given(engines, ()), *_given(accuracy, ("suite", "data_dir"))]
    if given:
        raise InputError(f"{given[0]} with --rescore: no engine is asked and the items are the run's; leave it out")


def _given(flags: AccuracyFlags | EngineFlags, allowed: Iterable[str]) -> list[str]:
    return [
        "--" + field.name.replace("_", "-")
        for field in dataclasses.fields(flags)
        if field.name not in allowed and getattr(flags, field.name) != field.default
    ]


def _plan(recorded: Run, accuracy: AccuracyFlags) -> AccuracyPlan:
    """The recorded plan with the suite's columns as they are now; columns that were not asked are left out.

    Raises:
        InputError: no column of the suite was asked.
    """
    asked = recorded.manifest.plan.accuracy
    if asked is None:
        raise InputError(f"{recorded.path} has no accuracy columns; only answers to items can be scored again")
    own = asked.source or asked.suite
    suite = select_columns(accuracy.suite or [own], own)
    names = {column.name for column in asked.columns}
    columns = tuple(column for column in suite.columns if column.name in names)
    if not columns:
        raise InputError(
            f"--suite {suite.name}: none of its columns ({', '.join(c.name for c in suite.columns)}) was asked in "
            f"{recorded.path}, which has {', '.join(sorted(names))}"
        )
    return plan_accuracy(
        suite.model_copy(update={"columns": columns}), asked.arms, file=selected_file(accuracy.suite or [own], own),
        limit=asked.limit, seed=asked.seed, repeat_baseline=asked.repeat_baseline,
        stop_when_decided=asked.stop_when_decided,
    )  # fmt: skip


def _targets(recorded: Run) -> dict[Arm, Target]:
    """What each arm's prompts were made with."""
    told = {info.arm: info.max_model_len for info in recorded.manifest.engine_info}
    return {
        spec.arm: Target(
            base_url="", served_model=spec.model, tokenizer=spec.tokenizer, engine_key="",
            max_model_len=told.get(spec.arm) or spec.max_model_len, tokenizer_revision=spec.revision,
        )
        for spec in recorded.manifest.engines
    }  # fmt: skip


def _manifest(old: Manifest, prepared: Prepared) -> Manifest:
    """Of the new run: engines, probes and machine are those that answered."""
    now = datetime.now(UTC)
    plan = RunPlan(accuracy=prepared.plan)
    return old.model_copy(
        update={
            "run_id": run_id(now, old.profile, "rescored"),
            "status": "running",
            "created_utc": now.isoformat(timespec="seconds"),
            "argv": tuple(redaction.redact_command(["swiftkv-bench", *sys.argv[1:]])),
            "plan": plan,
            "plan_hash": content_hash([plan.model_dump(mode="json"), [s.model_dump(mode="json") for s in old.engines]]),
            "task_hashes": prepared.task_hashes,
            "data": prepared.sources,
            "rescored_from": old.run_id,
            "git": provenance.git_state(Path(__file__).parent),
            "packages": provenance.package_versions(),
            "harness_version": __version__,
        }
    )
