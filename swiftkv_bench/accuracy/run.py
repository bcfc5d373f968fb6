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
from dataclasses import dataclass, replace
from pathlib import Path

from swiftkv_bench.accuracy.data import MissingDataError
from swiftkv_bench.accuracy.items import Item, build_items, in_parts, sample
from swiftkv_bench.accuracy.looks import Decide, Looks
from swiftkv_bench.accuracy.native import is_written, write_native
from swiftkv_bench.accuracy.notices import counted, listening
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.records import ItemLog, Recorder, StatusFile
from swiftkv_bench.accuracy.scores import item_notices, rehearse
from swiftkv_bench.accuracy.session import Session, Tally
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.accuracy.tasks import ColumnTasks, load_column, named
from swiftkv_bench.errors import InputError, ProbeError, ScoringError
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.accuracy import NO_DATA, AccuracyPlan, ColumnStatus, DataSource, Notice
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Probe
from swiftkv_bench.stats.sequential import LOOKS

CONCURRENCY = 64
"""Requests in flight for each engine: enough to fill its batches, few enough to keep shots of one subject together."""


@dataclass(frozen=True)
class Prepared:
    """Columns of a plan with their data; made before any engine starts.

    Attributes:
        plan: with the measure of every column whose task was built.
        missing: column -> why its data are not at hand.
    """

    plan: AccuracyPlan
    columns: tuple[ColumnTasks, ...]
    missing: dict[str, str]

    @property
    def task_hashes(self) -> dict[str, str]:
        """Task -> hash of its resolved configuration and documents."""
        return {name: digest for column in self.columns for name, digest in column.hashes.items()}

    @property
    def sources(self) -> dict[str, DataSource]:
        """Task -> where its documents came from."""
        return {name: source for column in self.columns for name, source in column.sources.items()}


def prepare_accuracy(plan: AccuracyPlan, data_dir: Path | None, observer: Observer) -> Prepared:
    """Loads the data of every column, checks them, and scores made-up answers to the first document of each.

    Raises:
        InputError: data of no column are at hand, data are incomplete, or a task asks what is not done here.
    """
    loaded: list[ColumnTasks] = []
    missing: dict[str, str] = {}
    for done, column in enumerate(plan.columns):
        observer.progress("data", f"data of {column.title}", done, len(plan.columns))
        try:
            loaded.append(load_column(plan, column, data_dir))
            _require_scorable(plan, loaded[-1])
        except MissingDataError as e:
            missing[column.name] = f"{NO_DATA}: {e}"
    observer.finish("data")
    if not loaded:
        raise InputError("; ".join(dict.fromkeys(reason.removeprefix(f"{NO_DATA}: ") for reason in missing.values())))
    for name, reason in missing.items():
        observer.note(f"column {name} is not run: {reason}")
    measured = {one.column.name: one.column for one in loaded}
    columns = tuple(measured.get(column.name, column) for column in plan.columns)
    return Prepared(plan.model_copy(update={"columns": columns}), tuple(loaded), missing)


def _require_scorable(plan: AccuracyPlan, tasks: ColumnTasks) -> None:
    with named(plan, tasks.column):
        try:
            with listening():
                rehearse(tasks)
        except ScoringError as e:
            raise InputError(str(e)) from e


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
    sessions = [Session(arm, targets[arm], folder, run.stop, observer) for arm in arms]
    try:
        for column_tasks in prepared.columns if sessions else ():
            run.column(column_tasks, sessions)
    finally:
        for session in sessions:
            session.close()
        for arm in arms:
            run.name_unasked(arm)
    return [probe for session in sessions for probe in session.probes]


@dataclass(frozen=True)
class _Asked:
    """A column as one arm is asked it, and what was noticed before."""

    tasks: ColumnTasks
    items: list[Item]
    notices: list[Notice]


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
        """One column on all arms; the first failure stops the others and is raised.

        A document that cannot be asked ends the column on every arm.
        """
        try:
            items, notices = self._items(column_tasks, {session.target for session in sessions})
        except ScoringError as e:
            for session in sessions:
                self._refuse(session, column_tasks, str(e))
            return
        looks, decide, name = None, self.decide, column_tasks.column.name
        if decide is not None:
            looks = Looks({session.arm for session in sessions}, lambda: decide(name, self.log.scores(name)))
        with ThreadPoolExecutor(len(sessions), thread_name_prefix="arm") as pool:
            arms = [
                pool.submit(
                    self._arm, session, _Asked(column_tasks, items[session.target], notices[session.target]), looks
                )
                for session in sessions
            ]
            try:
                for arm in wait(arms, return_when=FIRST_EXCEPTION).done:
                    arm.result()
            except BaseException:
                self.stop.set()
                raise

    def _refuse(self, session: Session, column_tasks: ColumnTasks, reason: str) -> None:
        """The column is not asked, or not to its end; what was answered in an earlier session stays."""
        column = column_tasks.column.name
        if self.statuses.get(session.arm, 0, column) is None:
            state = ColumnStatus(arm=session.arm, column=column, status="not run", reason=reason)
            self.statuses.put(state)
        self.observer.note(f"column {column} is not asked of {session.arm}: {reason}")

    def name_unasked(self, arm: Arm) -> None:
        """Gives every planned column of an arm a state."""
        for column in self.plan.columns:
            if self.statuses.get(arm, 0, column.name) is None:
                reason = "the run ended before it was asked"
                self.statuses.put(ColumnStatus(arm=arm, column=column.name, status="not run", reason=reason))

    def _items(
        self, column_tasks: ColumnTasks, targets: set[Target]
    ) -> tuple[dict[Target, list[Item]], dict[Target, list[Notice]]]:
        """Items for each target and what was noticed of them; targets that tokenise alike share them.

        Raises:
            ScoringError: a document cannot be asked.
        """
        self.observer.progress("prompts", f"prompts of {column_tasks.column.title}")
        chosen = sample(column_tasks, self.plan.limit, self.plan.seed)
        built: dict[tuple[str, str | None, int], tuple[list[Item], list[Notice]]] = {}
        for t in targets:
            if t.tokenization not in built:
                prompter = Prompter(t.tokenizer, t.tokenizer_revision)
                with listening() as heard:
                    items = build_items(
                        column_tasks, chosen, prompter, max_model_len=t.max_model_len,
                        max_gen_tokens=self.plan.max_gen_tokens, seed=self.plan.seed,
                        think_end_token=self.plan.think_end_token,
                    )  # fmt: skip
                built[t.tokenization] = items, [*column_tasks.notices, *item_notices(items), *heard]
        self.observer.finish("prompts")
        return {t: built[t.tokenization][0] for t in targets}, {t: built[t.tokenization][1] for t in targets}

    def _arm(self, session: Session, asked: "_Asked", looks: Looks | None) -> None:
        repeats = (0, 1) if self.plan.repeat_baseline and session.arm == "baseline" else (0,)
        for repeat in repeats:
            if repeat:
                items = [item for item in asked.items if self.log.is_done(session.arm, 0, item)]
                asked = replace(asked, items=items)
            if self.stop.is_set():
                continue
            changed = self._column_on_arm(session, repeat, asked, looks)
            name, tasks = session.arm if repeat == 0 else f"{session.arm}-again", asked.tasks
            folder = self.folder / "lm_eval" / name / tasks.column.name
            if changed or not is_written(folder):
                records = self.log.records(session.arm, repeat, tasks.column.name)
                write_native(folder, tasks, asked.items, records, session.target)

    def _column_on_arm(self, session: Session, repeat: int, asked: "_Asked", looks: Looks | None) -> bool:
        """Answers what is not answered yet; False if there was nothing to do."""
        column, arm, items = asked.tasks.column, session.arm, asked.items
        done = sum(self.log.is_done(arm, repeat, item) for item in items)
        known = self.statuses.get(arm, repeat, column.name)
        self.statuses.require_tasks(arm, column.name, asked.tasks.hashes)
        looks = looks if repeat == 0 else None
        if done == len(items) and known is not None and known.status == "complete":
            if looks is not None:
                looks.leave(arm)
            return False
        tally, started = Tally(), time.perf_counter()
        recorder = Recorder(self.log, asked.tasks, arm, repeat, self.observer, done, len(items))
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
                    "task_hashes": {item.task: asked.tasks.hashes[item.task] for item in items},
                    "notices": counted([*asked.notices, *recorder.notices]),
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
