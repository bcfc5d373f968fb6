"""The run folder's accuracy files while a run is under way: items appended, column states replaced."""

import json
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from swiftkv_bench.accuracy.items import Generation, Item, Question
from swiftkv_bench.accuracy.looks import Scores
from swiftkv_bench.accuracy.measures import number_of
from swiftkv_bench.accuracy.notices import listening
from swiftkv_bench.accuracy.scores import Score, score, thinking_notice
from swiftkv_bench.accuracy.scoring import Answer, loglikelihood
from swiftkv_bench.accuracy.session import Answered
from swiftkv_bench.accuracy.tasks import ColumnTasks
from swiftkv_bench.errors import InputError, writing
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.accuracy import ColumnStatus, ItemRecord, Notice, ScoringMethod
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.store import GO_ON, Run, append_whole, sync_folder, write_atomic

FLUSH_ITEMS = 64
FLUSH_S = 1.0

_Key = tuple[Arm, int, str, str, int]
_STATUSES = TypeAdapter(list[ColumnStatus])


class ItemLog:
    """``items.jsonl``: what is answered already, and where more is appended; safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        """Opens or makes the file; a last line that was cut off is removed.

        Raises:
            InputError: a line is no item record.
        """
        self._run = Run(folder)
        self._path = self._run.items_path
        _cut_torn_line(self._path)
        self._done = {_key(record): (record.prompt_hash, record.score) for record in self._run.items()}
        self._lock = threading.Lock()

    def is_done(self, arm: Arm, repeat: int, item: Item) -> bool:
        """Whether the item was answered with the same prompt.

        Raises:
            InputError: it was answered with another prompt: the folder belongs to another run.
        """
        recorded = self._done.get((arm, repeat, item.column, item.task, item.doc_id))
        if recorded is not None and recorded[0] != item.prompt_hash:
            raise InputError(
                f"{self._path}: item {item.task}/{item.doc_id} of {arm} was answered with another prompt; the suite, "
                f"the data or the tokenizer changed since; choose a new folder with --out"
            )
        return recorded is not None

    def scores(self, column: str) -> Scores:
        """Scores of one column so far."""
        found: dict[tuple[Arm, int], dict[tuple[str, int], float]] = {}
        with self._lock:
            for (arm, repeat, name, task, doc_id), (_, value) in self._done.items():
                if name == column:
                    found.setdefault((arm, repeat), {})[task, doc_id] = value
        return found

    def records(self, arm: Arm, repeat: int, column: str) -> list[ItemRecord]:
        """What is recorded of one column on one arm, in order of answering."""
        every = self._run.items()
        return [r for r in every if (r.arm, r.repeat, r.column) == (arm, repeat, column)]

    def append(self, records: Sequence[ItemRecord]) -> None:
        """Writes records; they are on the device when this returns."""
        if not records:
            return
        lines = "".join(record.model_dump_json() + "\n" for record in records).encode()
        with self._lock, writing(self._path, GO_ON), self._path.open("ab", buffering=0) as file:
            is_new = file.tell() == 0
            append_whole(file.fileno(), self._path, lines)
            os.fsync(file.fileno())
            if is_new:
                sync_folder(self._path.parent)
            self._done.update((_key(record), (record.prompt_hash, record.score)) for record in records)


class Recorder:
    """Turns answered items of one column, arm and repeat into records, a batch at a time.

    lm-eval's filters see a whole batch: some of them take 0.3 s a call whatever its size.

    Attributes:
        done: items recorded, those of earlier sessions included.
        methods: how answers were obtained.
        notices: what was noticed while answers were scored.
    """

    def __init__(
        self, log: ItemLog, tasks: ColumnTasks, arm: Arm, repeat: int, observer: Observer, done: int, total: int
    ) -> None:
        self.column = tasks.column
        self.done = done
        self.methods: set[ScoringMethod] = set()
        self.notices: list[Notice] = []
        self._log, self._tasks, self._arm, self._repeat = log, tasks, arm, repeat
        self._observer, self._total = observer, total
        self._batch: list[Answered] = []
        self._flushed_at = time.monotonic()

    def add(self, answered: Answered) -> None:
        """Takes an item; its record is on the device a second or 64 items later at most, or with `flush`."""
        self._batch.append(answered)
        if len(self._batch) >= FLUSH_ITEMS or time.monotonic() - self._flushed_at > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Scores and writes what was taken."""
        batch, self._batch = self._batch, []
        self._flushed_at = time.monotonic()
        for name in dict.fromkeys(answered.item.task for answered in batch):
            of_task = [answered for answered in batch if answered.item.task == name]
            responses = [[_response(q, a) for q, a in zip(x.item.questions, x.answers, strict=True)] for x in of_task]
            with listening() as heard:
                scores = score(self._tasks.tasks[name], self.column, [x.item for x in of_task], responses)
            self.notices += heard + thinking_notice([x.item for x in of_task], responses)
            self._log.append([self._record(*group) for group in zip(of_task, responses, scores, strict=True)])
        self.done += len(batch)
        self.methods |= {answered.method for answered in batch}
        self._show()

    def __enter__(self) -> Self:
        self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        self._observer.finish(self._line, f"{self.column.title} on {self._arm}: {self.done:,} of {self._total:,} items")

    def _record(self, answered: Answered, responses: Sequence[Any], scored: Score) -> ItemRecord:
        item = answered.item
        seeds = (question.seed for question in item.questions if isinstance(question, Generation))
        return ItemRecord(
            arm=self._arm,
            repeat=self._repeat,
            column=self.column.name,
            task=item.task,
            doc_id=item.doc_id,
            doc_hash=item.doc_hash,
            prompt_hash=item.prompt_hash,
            target_hash=item.target_hash,
            score=scored.value,
            parts=scored.parts,
            cluster=item.cluster,
            metrics=scored.metrics,
            target=item.target,
            responses=tuple(responses),
            filtered=tuple(map(plain, scored.filtered)),
            prompt=item.prompt_text,
            choices=item.choices,
            prompt_tokens=item.prompt_tokens,
            seeds=tuple(seed for seed in seeds if seed is not None),
            truncated=item.truncated,
            border=item.border,
            unfinished=any(
                answer[1] == "length"
                for question, answer in zip(item.questions, answered.answers, strict=True)
                if isinstance(question, Generation)
            ),
            unparsed=scored.unparsed,
            method=answered.method,
        )

    @property
    def _line(self) -> str:
        return f"{self.column.name}/{self._arm}/{self._repeat}"

    def _show(self) -> None:
        again = " again" if self._repeat else ""
        self._observer.progress(self._line, f"{self.column.title} on {self._arm}{again}", self.done, self._total)


class StatusFile:
    """``columns.json``: one state a column, arm and repeat, replaced atomically."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "columns.json"
        self._states = {_status_key(s): s for s in read_statuses(folder)}
        self._lock = threading.Lock()

    def get(self, arm: Arm, repeat: int, column: str) -> ColumnStatus | None:
        """The recorded state, None if there is none."""
        return self._states.get((arm, repeat, column))

    def require_engine(self, arm: Arm, engine_key: str) -> None:
        """Refuses to mix the answers of two engine configurations in one arm.

        Raises:
            InputError: the arm was begun with another configuration.
        """
        for state in self._states.values():
            if state.arm == arm and state.engine_key not in {None, engine_key}:
                raise InputError(
                    f"{self._path}: arm {arm} was begun with another model or engine configuration; resume with the "
                    f"same options, or choose a new folder with --out"
                )

    def require_tasks(self, arm: Arm, column: str, hashes: Mapping[str, str]) -> None:
        """Refuses to mix answers to two versions of a task.

        Raises:
            InputError: the column was begun with another configuration or other documents of a task.
        """
        for state in self._states.values():
            if (state.arm, state.column) == (arm, column):
                changed = [name for name, known in state.task_hashes.items() if hashes.get(name, known) != known]
                if changed:
                    raise InputError(
                        f"{self._path}: task {changed[0]} was begun with another configuration or other data; restore "
                        f"them, or choose a new folder with --out"
                    )

    def put(self, state: ColumnStatus) -> None:
        """Records a state in place of the one of the same column, arm and repeat."""
        with self._lock:
            self._states[_status_key(state)] = state
            content = [s.model_dump(mode="json") for s in self._states.values()]
            write_atomic(self._path, json.dumps(content, indent=1).encode())


def read_statuses(folder: Path) -> list[ColumnStatus]:
    """States of all columns of a run, in order of their first recording; empty for a run without accuracy.

    Raises:
        InputError: the file is no list of states.
    """
    path = folder / "columns.json"
    if not path.exists():
        return []
    try:
        return _STATUSES.validate_json(path.read_bytes())
    except ValidationError as e:
        raise InputError(f"{path} is not a list of column states; restore the original") from e


def plain(value: Any) -> Any:
    """A value as JSON can hold it: what filters make of answers may be anything."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list | tuple | set):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if value is None or isinstance(value, bool | int):
        return value
    number = number_of(value)
    return str(value) if number is None or not math.isfinite(number) else number


def _response(question: Question, answer: Answer) -> Any:
    """What lm-eval's task code wants: text, or (log-likelihood, is greedy)."""
    return answer[0] if isinstance(question, Generation) else loglikelihood(answer)


def _key(record: ItemRecord) -> _Key:
    return record.arm, record.repeat, record.column, record.task, record.doc_id


def _status_key(state: ColumnStatus) -> tuple[str, int, str]:
    return state.arm, state.repeat, state.column


def _cut_torn_line(path: Path) -> None:
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
