"""Recorded answers scored again without an engine: another filter, a mended pattern, the same questions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swiftkv_bench.accuracy.items import Item, build_items
from swiftkv_bench.accuracy.native import write_native
from swiftkv_bench.accuracy.notices import counted, listening
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.records import ItemLog, StatusFile, plain, read_statuses
from swiftkv_bench.accuracy.run import Prepared
from swiftkv_bench.accuracy.scores import Score, item_notices, score, thinking_notice
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.accuracy.tasks import ColumnTasks
from swiftkv_bench.errors import InputError, ScoringError
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.accuracy import AccuracyPlan, ColumnStatus, ItemRecord, Notice
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.store import Run

_Side = tuple[Arm, int, str]
"""(arm, repeat, column)."""


@dataclass(frozen=True)
class _Scored:
    """One column of one arm, scored again."""

    items: list[Item]
    records: list[ItemRecord]
    notices: list[Notice]


def rescore_run(
    run: Run, prepared: Prepared, targets: Mapping[Arm, Target], folder: Path, observer: Observer
) -> None:  # fmt: skip
    """Scores a run's answers as the prepared plan says, into another run's folder; each item keeps its old score.

    Args:
        targets: what each arm's prompts were made with; no server is asked.

    Raises:
        InputError: the plan asks something else than the run did, or an answer cannot be scored.
    """
    asked = run.manifest.plan.accuracy
    if asked is None:
        raise InputError(f"{run.path} has no accuracy columns; only answers to items can be scored again")
    columns = {tasks.column.name: tasks for tasks in prepared.columns}
    recorded = _by_side(run.items())
    log, states = ItemLog(folder), StatusFile(folder)
    for state in read_statuses(run.path):
        tasks = columns.get(state.column)
        if tasks is None:
            continue
        _require_order(state)
        records = recorded.get((state.arm, state.repeat, state.column), [])
        observer.progress("rescore", f"{tasks.column.title} on {state.arm}")
        scored = _again(tasks, records, targets[state.arm], asked, prepared.plan)
        log.append(scored.records)
        states.put(_state(state, tasks, scored))
        name = state.arm if state.repeat == 0 else f"{state.arm}-again"
        write_native(folder / "lm_eval" / name / state.column, tasks, scored.items, scored.records, targets[state.arm])
    observer.finish("rescore")


def _by_side(items: Iterable[ItemRecord]) -> dict[_Side, list[ItemRecord]]:
    found: dict[_Side, dict[tuple[str, int], ItemRecord]] = {}
    for item in items:
        found.setdefault((item.arm, item.repeat, item.column), {})[item.task, item.doc_id] = item
    return {side: list(records.values()) for side, records in found.items()}


def _require_order(state: ColumnStatus) -> None:
    if state.status == "ended early":
        raise InputError(
            f"column {state.column} of {state.arm} ended early on its old scores, so no level holds for new ones; run "
            f"it without --stop-when-decided to score it again, or leave it out with --suite"
        )


def _again(
    tasks: ColumnTasks, records: Sequence[ItemRecord], target: Target, asked: AccuracyPlan, plan: AccuracyPlan
) -> _Scored:
    """The records with new scores.

    Raises:
        InputError: as `rescore_run`.
    """
    by_key = {(record.task, record.doc_id): record for record in records}
    gone = next((name for name, _ in by_key if name not in tasks.tasks), None)
    if gone is not None:
        raise InputError(f"column {tasks.column.name}: the answers are to task {gone}, which the suite does not have")
    prompter = Prompter(target.tokenizer, target.tokenizer_revision)
    new: dict[tuple[str, int], ItemRecord] = {}
    try:
        with listening() as heard:
            # As they were asked: with the run's limits and the stop strings that went with its rule of thinking.
            items = build_items(
                tasks, list(by_key), prompter, max_model_len=target.max_model_len, max_gen_tokens=asked.max_gen_tokens,
                seed=asked.seed, think_end_token=asked.think_end_token,
            )  # fmt: skip
            items = [_as_asked(tasks, item, by_key[item.key], plan) for item in items]
            for name in dict.fromkeys(item.task for item in items):
                of_task = [item for item in items if item.task == name]
                answers = [_answers(by_key[item.key]) for item in of_task]
                scores = score(tasks.tasks[name], tasks.column, of_task, answers)
                for item, one in zip(of_task, scores, strict=True):
                    new[item.key] = _record(by_key[item.key], item, one)
                heard += thinking_notice(of_task, answers)
    except ScoringError as e:
        raise InputError(f"column {tasks.column.name}: {e}") from e
    notices = [*tasks.notices, *item_notices(items), *heard]
    return _Scored(items, [new[key] for key in by_key], notices)


def _as_asked(tasks: ColumnTasks, item: Item, record: ItemRecord, plan: AccuracyPlan) -> Item:
    """The item, with the new plan's rule of where an answer begins.

    Raises:
        InputError: the recorded answer is to another question.
    """
    if item.prompt_hash != record.prompt_hash:
        raise InputError(
            f"column {tasks.column.name}: document {item.doc_id} of task {item.task} would be asked otherwise now "
            f"(prompt, choices, stop strings, length or sampling), so its recorded answer says nothing; change only "
            f"what is made of answers (filter_list, metric_list, process_results, doc_to_target), or run the suite"
        )
    generated = record.method == "generation"
    return replace(item, think_end_token=plan.think_end_token) if generated else item


def _answers(record: ItemRecord) -> list[Any]:
    """Responses as lm-eval's code wants them: text, or (log-likelihood, is greedy)."""
    return [tuple(answer) if isinstance(answer, list | tuple) else answer for answer in record.responses]


def _record(record: ItemRecord, item: Item, scored: Score) -> ItemRecord:
    before = record.score if record.score_before is None else record.score_before
    return record.model_copy(
        update={
            "score": scored.value, "parts": scored.parts, "metrics": scored.metrics, "score_before": before,
            "filtered": tuple(map(plain, scored.filtered)), "unparsed": scored.unparsed, "cluster": item.cluster,
            "target": item.target, "target_hash": item.target_hash, "doc_hash": item.doc_hash,
        }
    )  # fmt: skip


def _state(state: ColumnStatus, tasks: ColumnTasks, scored: _Scored) -> ColumnStatus:
    hashes = {item.task: tasks.hashes[item.task] for item in scored.items}
    return state.model_copy(update={"task_hashes": hashes, "notices": counted(scored.notices)})
