"""What answers become: lm-eval's own filters, `process_results` and metrics, and the numbers that are recorded."""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from swiftkv_bench.accuracy.documents import own_trouble
from swiftkv_bench.accuracy.generation import answer_text
from swiftkv_bench.accuracy.items import Continuation, Generation, Item, Question, fewshot_context, requests
from swiftkv_bench.accuracy.measures import contribution, number_of, references_of
from swiftkv_bench.accuracy.tasks import ColumnTasks
from swiftkv_bench.errors import ScoringError
from swiftkv_bench.schema.accuracy import Column, Notice

_SCORING = threading.Lock()
"""lm-eval keeps answers in its instances, which arms that are asked side by side share, as they share filters."""

_INVALID = "[invalid]"
"""What lm-eval's regex filters return where nothing matched."""

THINKING = ("</think>", "[/THINK]", "</thinking>", "</seed:think>", "<|channel|>final")
"""Texts at which models are known to end their thinking."""

_THOUGHT = f"an answer holds thinking ({', '.join(THINKING)}), which the filter reads: no think_end_token is stated"

_REHEARSED = ("", "1", "A", "The answer is 1.", "yes")


@dataclass(frozen=True)
class Score:
    """What lm-eval makes of the answers to an item.

    Attributes:
        value: the column's figure of this item: `ItemRecord.score`.
        parts: what an aggregation that is no mean takes of it.
        metrics: every metric of the task that is a number.
    """

    value: float
    parts: tuple[float, ...]
    metrics: dict[str, float]
    filtered: tuple[Any, ...]
    unparsed: bool


def score(task: Any, column: Column, items: Sequence[Item], responses: Sequence[Sequence[Any]]) -> list[Score]:
    """lm-eval's filters and metrics over the responses of items of one task.

    Args:
        responses: per item, per question: text, or (log-likelihood, is greedy).

    Raises:
        ScoringError: an answer cannot be scored; names task and document.
    """
    with _SCORING:
        for item, answers in zip(items, responses, strict=True):
            _put(item, answers)
        _filter(task, column, items)
        return [_scored(task, column, item) for item in items]


def item_notices(items: Sequence[Item]) -> list[Notice]:
    """What bears on the figures of a column before it is answered, counted in items."""
    found = []
    for code, text, count in (
        ("token-border", "a token spans the border of context and continuation", sum(i.border for i in items)),
        ("cut-prompt", "a prompt was longer than the context and lost its left end", sum(i.truncated for i in items)),
        ("own-shot", "the item itself is among the shots of its prompt, as in lm-eval", sum(i.own_shot for i in items)),
    ):
        if count:
            found.append(Notice(code=code, text=text, count=count))
    return found


def thinks(item: Item, responses: Sequence[Any]) -> bool:
    """Whether an answer holds thinking that no rule takes out of it."""
    texts = (answer for answer in responses if isinstance(answer, str))
    return item.think_end_token is None and any(mark in text for text in texts for mark in THINKING)


def thinking_notice(items: Sequence[Item], responses: Sequence[Sequence[Any]]) -> list[Notice]:
    """Counts answers with thinking that the column's filter reads; empty where there is none."""
    count = sum(thinks(item, answers) for item, answers in zip(items, responses, strict=True))
    return [Notice(code="thinking", text=_THOUGHT, count=count)] if count else []


def rehearse(column_tasks: ColumnTasks) -> None:
    """Scores made-up answers to the first document, so that what cannot be scored is known before an engine starts.

    Raises:
        ScoringError: lm-eval's filters or metrics fail on every one of them.
    """
    column = column_tasks.column
    name, task = next(iter(column_tasks.tasks.items()))
    document = task.task_docs[0]
    with own_trouble(name, 0, "prompt"):
        task.set_fewshot_seed(0)
        instances = requests(task, name, 0, document, fewshot_context(task, document, column, None), column, None)
        target = task.doc_to_target(document)
    answers = [target[0] if isinstance(target, list) and target else target, *_REHEARSED]
    errors = []
    for answer in answers if instances[0].request_type == "generate_until" else answers[:1]:
        item, responses = _made_up(column, name, document, instances, str(answer), int(task.config.repeats))
        try:
            score(task, column, [item], [responses])
        except ScoringError as e:
            errors.append(e)
        else:
            return
    raise errors[0]


def _made_up(
    column: Column, task: str, document: Any, instances: list[Any], answer: str, repeats: int
) -> tuple[Item, list[Any]]:
    generated = [instance.request_type == "generate_until" for instance in instances]
    questions: list[Question] = [Generation((0,), 1, ()) if g else Continuation((0,), (0,)) for g in generated]
    item = Item(
        column=column.name, task=task, doc_id=0, document=document, instances=instances, questions=tuple(questions),
        groups=(1,) * len(questions), truncated=False, prompt_text="", choices=(), target="", repeats=repeats,
    )  # fmt: skip
    return item, [answer if g else (-1.0 - i, i == 0) for i, g in enumerate(generated)]


def _put(item: Item, answers: Sequence[Any]) -> None:
    """Gives each instance its answers as lm-eval would have them."""
    ends = list(accumulate(item.groups))
    for instance, end, size in zip(item.instances, ends, item.groups, strict=True):
        own = list(answers[end - size : end])
        if instance.request_type == "generate_until":
            own = [answer_text(text, item.until, item.think_end_token) for text in own]
        elif instance.request_type == "loglikelihood_rolling":
            own = [sum(likelihood for likelihood, _ in own)]
        instance.resps = own * item.repeats if len(own) == 1 else own
        instance.filtered_resps = {}


def _filter(task: Any, column: Column, items: Sequence[Item]) -> None:
    ensembles = [ensemble for ensemble in task._filters if ensemble.name == column.filter]
    instances = [instance for item in items for instance in item.instances]
    for ensemble in ensembles:
        try:
            ensemble.apply(instances)
        except Exception:
            for item in items:
                with own_trouble(item.task, item.doc_id, f"filter_list: {column.filter}"):
                    ensemble.apply(item.instances)
            raise


def _scored(task: Any, column: Column, item: Item) -> Score:
    filtered = tuple(instance.filtered_resps[column.filter] for instance in item.instances)
    with own_trouble(item.task, item.doc_id, "process_results"):
        metrics: dict[str, Any] = task.process_results(item.document, list(filtered))
        if column.metric not in metrics:
            raise ScoringError(f"process_results: gives no {column.metric}, only {', '.join(map(str, metrics))}")
        value, parts = contribution(column.measure, column.metric, metrics[column.metric])
        _require_references(task, column, metrics[column.metric])
    numbers = {str(name): number for name, found in metrics.items() if (number := _finite(found)) is not None}
    generated = isinstance(item.questions[0], Generation)
    return Score(value, parts, numbers, filtered, unparsed=generated and _is_unparsed(filtered[0]))


def _finite(value: Any) -> float | None:
    number = number_of(value)
    return number if number is not None and math.isfinite(number) else None


def _require_references(task: Any, column: Column, value: Any) -> None:
    """Every item has as many references: lm-eval drops those that some items have more of."""
    count = references_of(column.measure, value)
    if count is not None and vars(task).setdefault("swiftkv_references", count) != count:
        raise ScoringError(
            f"doc_to_target: {count} references, others have {task.swiftkv_references}; lm-eval would drop some"
        )


def _is_unparsed(filtered: Any) -> bool:
    value = filtered[0] if isinstance(filtered, list) and filtered else filtered
    return value == _INVALID or (isinstance(value, str) and not value.strip())
