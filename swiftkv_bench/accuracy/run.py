"""Runs an accuracy plan against engines: every item of every column, recorded as it is answered.

Files in the run folder: ``items.jsonl`` (one `ItemRecord` a line, appended), ``journal/<arm>.jsonl`` (every
answer, the base of resuming), ``columns.json`` (one `ColumnStatus` a column, arm and repeat) and
``lm_eval/<arm>/<column>/`` (the same in lm-eval's own format). Starting,
restarting and stopping engines is the runner's business; statistics are the analysis'.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from swiftkv_bench.accuracy.data import MissingDataError
from swiftkv_bench.accuracy.items import Item, build_items, in_parts, sample
from swiftkv_bench.accuracy.looks import Decide, Looks
from swiftkv_bench.accuracy.native import write_native
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.records import ItemLog, Recorder, StatusFile
from swiftkv_bench.accuracy.session import Session, Tally
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.accuracy.tasks import ColumnTasks, load_column
from swiftkv_bench.errors import InputError, ProbeError, ScoringError
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.accuracy import NO_DATA, AccuracyPlan, ColumnStatus
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Probe
from swiftkv_bench.stats.sequential import LOOKS

CONCURRENCY = 64
"""Requests in flight for each engine: enough to fill its batches, few enough to keep shots of one subject together."""


@dataclass(frozen=True)
class Prepared:
    """Columns of a plan with their data; made before any engine starts.

    Attributes:
        missing: column -> why its data are not at hand.
    """

    plan: AccuracyPlan
    columns: tuple[ColumnTasks, ...]
    missing: dict[str, str]

    @property
    def task_hashes(self) -> dict[str, str]:
        """Task -> hash of its resolved configuration and documents."""
        return {name: digest for column in self.columns for name, digest in column.hashes.items()}


def prepare_accuracy(plan: AccuracyPlan, data_dir: Path | None, observer: Observer) -> Prepared:
    """Loads the data of every column and checks them.

    Raises:
        InputError: data of no column are at hand, or data are incomplete.
    """
    loaded: list[ColumnTasks] = []
    missing: dict[str, str] = {}
    for done, column in enumerate(plan.columns):
        observer.progress("data", f"data of {column.title}", done, len(plan.columns))
        try:
            loaded.append(load_column(plan, column, data_dir))
        except MissingDataError as e:
            missing[column.name] = f"{NO_DATA}: {e}"
    observer.finish("data")
    if not loaded:
        raise InputError("; ".join(dict.fromkeys(reason.removeprefix(f"{NO_DATA}: ") for reason in missing.values())))
    for name, reason in missing.items():
        observer.note(f"column {name} is not run: {reason}")
    return Prepared(plan, tuple(loaded), missing)


def run_accuracy(
    prepared: Prepared,
    targets: Mapping[Arm, Target],
    folder: Path,
    observer: Observer,
    *,
    concurrency: int = CONCURRENCY,
    decide: Decide | None = None,
    stopped: Mapping[Arm, str] | None = None,
) -> list[Probe]:
    """Asks the engines that run now everything the plan wants of their arms and records it in the folder.

    What the folder holds already is not asked again, so the same call resumes a run. The given arms answer a column
    side by side. An answer that cannot be scored ends its column on its arm: `incomplete`, with the document.

    Args:
        stopped: arms that are not asked, and why; their columns are recorded as not run.
        decide: whether a column may end early, asked after each tenth of its items where the plan wants it.

    Returns:
        What the probes of the engines found.

    Raises:
        EngineError: an engine failed; everything answered until then is recorded.
        InputError: the folder holds answers to other prompts or of another engine configuration.
    """
    stops = prepared.plan.stop_when_decided
    run = _Run(
        prepared.plan, folder, ItemLog(folder), StatusFile(folder), observer, concurrency,
        decide if stops else None, threading.Event(),
    )  # fmt: skip
    arms = [arm for arm in prepared.plan.arms if arm in targets]
    for arm, reason in (stopped or {}).items():
        arms.remove(arm)
        for column in prepared.plan.columns:
            known = run.statuses.get(arm, 0, column.name)
            if known is not None and known.status in ("complete", "ended early"):
                continue
            run.statuses.put(ColumnStatus(arm=arm, column=column.name, status="not run", reason=reason))
    for arm in arms:
        run.statuses.require_engine(arm, targets[arm].engine_key)
        for name, reason in prepared.missing.items():
            run.statuses.put(ColumnStatus(arm=arm, column=name, status="not run", reason=reason))
    sessions = [Session(arm, targets[arm], folder, run.stop) for arm in arms]
    try:
        for column_tasks in prepared.columns if sessions else ():
            run.column(column_tasks, sessions)
    finally:
        for session in sessions:
            session.close()
    return [probe for session in sessions for probe in session.probes]


@dataclass
class _Run:
    plan: AccuracyPlan
    folder: Path
    log: ItemLog
    statuses: StatusFile
    observer: Observer
    concurrency: int
    decide: Decide | None
    stop: threading.Event

    def column(self, column_tasks: ColumnTasks, sessions: list[Session]) -> None:
        """One column on all arms; the first failure stops the others and is raised."""
        items = self._items(column_tasks, {session.target for session in sessions})
        looks, decide, name = None, self.decide, column_tasks.column.name
        if decide is not None:
            looks = Looks({session.arm for session in sessions}, lambda: decide(name, self.log.scores(name)))
        with ThreadPoolExecutor(len(sessions), thread_name_prefix="arm") as pool:
            arms = [pool.submit(self._arm, session, column_tasks, items[session.target], looks) for session in sessions]
            try:
                for arm in wait(arms, return_when=FIRST_EXCEPTION).done:
                    arm.result()
            except BaseException:
                self.stop.set()
                raise

    def _items(self, column_tasks: ColumnTasks, targets: set[Target]) -> dict[Target, list[Item]]:
        """Items for each target; targets that tokenise alike share them."""
        self.observer.progress("prompts", f"prompts of {column_tasks.column.title}")
        chosen = sample(column_tasks, self.plan.limit, self.plan.seed)
        built: dict[tuple[str, str | None, int], list[Item]] = {}
        for t in targets:
            if t.tokenization not in built:
                prompter = Prompter(t.tokenizer, t.tokenizer_revision)
                built[t.tokenization] = build_items(
                    column_tasks,
                    chosen,
                    prompter,
                    max_model_len=t.max_model_len,
                    max_gen_tokens=self.plan.max_gen_tokens,
                )
        self.observer.finish("prompts")
        return {t: built[t.tokenization] for t in targets}

    def _arm(self, session: Session, column_tasks: ColumnTasks, items: list[Item], looks: Looks | None) -> None:
        repeats = (0, 1) if self.plan.repeat_baseline and session.arm == "baseline" else (0,)
        for repeat in repeats:
            if repeat:
                items = [item for item in items if self.log.is_done(session.arm, 0, item)]
            if not self.stop.is_set() and self._column_on_arm(session, repeat, column_tasks, items, looks):
                name = session.arm if repeat == 0 else f"{session.arm}-again"
                records = self.log.records(session.arm, repeat, column_tasks.column.name)
                folder = self.folder / "lm_eval" / name / column_tasks.column.name
                write_native(folder, column_tasks, items, records, session.target)

    def _column_on_arm(
        self, session: Session, repeat: int, column_tasks: ColumnTasks, items: list[Item], looks: Looks | None
    ) -> bool:
        """Answers what is not answered yet; False if there was nothing to do."""
        column, arm = column_tasks.column, session.arm
        done = sum(self.log.is_done(arm, repeat, item) for item in items)
        known = self.statuses.get(arm, repeat, column.name)
        self.statuses.require_tasks(arm, column.name, column_tasks.hashes)
        looks = looks if repeat == 0 else None
        if done == len(items) and known is not None and known.status == "complete":
            if looks is not None:
                looks.leave(arm)
            return False
        tally, started = Tally(), time.perf_counter()
        recorder = Recorder(self.log, column_tasks, arm, repeat, self.observer, done, len(items))
        status, reason = "incomplete", "stopped before all items were answered"
        try:
            if self._ask(session, repeat, items, tally, recorder, looks):
                status, reason = "ended early", "its verdicts were reached"
            elif recorder.done == len(items):
                status, reason = "complete", ""
        except ProbeError as e:
            status, reason = "not run", str(e)
        except ScoringError as e:
            reason = str(e)
        except BaseException as e:
            reason = str(e) or type(e).__name__
            raise
        finally:
            if looks is not None:
                looks.leave(arm)
            self.statuses.put(
                ColumnStatus.model_validate({
                    "arm": arm, "repeat": repeat, "column": column.name, "status": status, "reason": reason or None,
                    "engine_key": session.target.engine_key,
                    "methods": sorted({*recorder.methods, *(known.methods if known else ())}),
                    "items": recorder.done, "items_asked": len(items),
                    "requests": tally.asked, "requests_from_journal": tally.from_journal,
                    "seconds": time.perf_counter() - started,
                    "task_hashes": {item.task: column_tasks.hashes[item.task] for item in items},
                })
            )  # fmt: skip
        return True

    def _ask(
        self, session: Session, repeat: int, items: list[Item], tally: Tally, recorder: Recorder, looks: Looks | None
    ) -> bool:
        """Answers and records items; True if the column was ended early."""
        parts = [items] if looks is None else in_parts(items, LOOKS, self.plan.seed)
        with recorder:
            for number, part in enumerate(parts, 1):
                todo = [item for item in part if not self.log.is_done(session.arm, repeat, item)]
                for answered in session.answer(todo, repeat, self.concurrency, tally):
                    recorder.add(answered)
                recorder.flush()
                if looks is None or self.stop.is_set():
                    continue
                if number < len(parts) and looks.after(session.arm, number):
                    return True
        return False
