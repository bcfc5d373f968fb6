"""The items of a column: which documents are asked, with which prompts, and how answers become scores.

An item is one document of one task. Prompts, filters and metrics are computed by lm-eval's own task code.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from swiftkv_bench.accuracy.encoding import Encoder
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.tasks import FEWSHOT_SEED, ColumnTasks
from swiftkv_bench.errors import ScoringError
from swiftkv_bench.schema.accuracy import Column

_INVALID = "[invalid]"
"""What lm-eval's regex filters return where nothing matched."""


@dataclass(frozen=True)
class Generation:
    """Greedy text wanted after a prompt."""

    prompt: tuple[int, ...]
    max_tokens: int
    stop: tuple[str, ...]


@dataclass(frozen=True)
class Continuation:
    """Log-likelihood wanted of a continuation given its context."""

    context: tuple[int, ...]
    tokens: tuple[int, ...]


Question = Generation | Continuation


@dataclass(frozen=True)
class Item:
    """One document of one task with everything that is asked about it.

    Attributes:
        questions: in the order of lm-eval's instances.
        truncated: a prompt was cut at its left end to fit the context.
        prompt_text: text of the first prompt, continuation included, for reading.
        choices: what follows the beginning that all questions share, one text a question; empty for generated text.
    """

    column: str
    task: str
    doc_id: int
    document: dict[str, Any]
    instances: list[Any]
    questions: tuple[Question, ...]
    truncated: bool
    prompt_text: str
    choices: tuple[str, ...]
    target: str

    @property
    def key(self) -> tuple[str, int]:
        """Identity within a column."""
        return self.task, self.doc_id

    @property
    def prompt_hash(self) -> str:
        """SHA-256 of all token ids asked about, with the cut between context and continuation."""
        ids = [
            [q.prompt, q.max_tokens, q.stop] if isinstance(q, Generation) else [q.context, q.tokens]
            for q in self.questions
        ]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()

    @property
    def doc_hash(self) -> str:
        """Hash of the document as lm-eval's samples files have it."""
        return _lm_eval_hash(json.dumps(self.document, indent=2, default=str, ensure_ascii=False))

    @property
    def target_hash(self) -> str:
        """Hash of the expected answer as lm-eval's samples files have it."""
        return _lm_eval_hash(self.target)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all questions: prompts, or contexts with their continuations."""
        return sum(
            len(q.prompt) if isinstance(q, Generation) else len(q.context) + len(q.tokens) for q in self.questions
        )


@dataclass(frozen=True)
class Score:
    """What lm-eval makes of the answers to an item."""

    metrics: dict[str, float]
    filtered: tuple[Any, ...]
    unparsed: bool


def sample(column_tasks: ColumnTasks, limit: int | None, seed: int) -> list[tuple[str, int]]:
    """Documents to ask, as (task, doc_id) in order of the tasks; all without a limit.

    Documents are ranked by SHA-256 of (seed, task, doc_id), so that the sample is the same in every arm and on
    every machine, and a smaller sample is part of a larger one.
    """
    documents = [(name, i) for name, task in column_tasks.tasks.items() for i in range(len(task.task_docs))]
    if limit is None or limit >= len(documents):
        return documents
    chosen = set(sorted(documents, key=lambda document: _rank(seed, document))[:limit])
    return [d for d in documents if d in chosen]


def in_parts(items: Sequence[Item], parts: int, seed: int) -> list[list[Item]]:
    """Items in parts of equal size, each a random sample of what is left and itself in the given order.

    After part k of K are round(k n / K) of n items, so that parts end where `stats.sequential` takes its looks to be.
    """
    ranked = sorted(range(len(items)), key=lambda i: _rank(seed, items[i].key))
    ends = sorted({round(k * len(items) / parts) for k in range(parts + 1)})
    return [[items[i] for i in sorted(ranked[start:end])] for start, end in pairwise(ends)]


def build_items(
    column_tasks: ColumnTasks, chosen: Sequence[tuple[str, int]], prompter: Prompter, *, max_model_len: int,
    max_gen_tokens: int,
) -> list[Item]:  # fmt: skip
    """The items of the chosen documents. A document's prompt does not depend on which others are chosen.

    Args:
        max_model_len: context length; longer prompts lose their left end, as in lm-eval, and are marked.
        max_gen_tokens: generation limit where the task names none.
    """
    column = column_tasks.column
    by_task: dict[str, set[int]] = {}
    for name, doc_id in chosen:
        by_task.setdefault(name, set()).add(doc_id)
    drafts = [
        _Draft(name, task, doc_id, document, _instances(name, task, doc_id, document, context, column, prompter))
        for name, task in column_tasks.tasks.items()
        if name in by_task
        for doc_id, document, context in _contexts(task, by_task[name], column, prompter)
    ]
    encoder = Encoder(prompter, column.add_bos, (args for draft in drafts for args in draft.arguments))
    fit = _Fit(encoder, max_model_len, max_gen_tokens, prompter.eos_text)
    return [_item(column, draft, fit) for draft in drafts]


def score(task: Any, column: Column, items: Sequence[Item], responses: Sequence[Sequence[Any]]) -> list[Score]:
    """lm-eval's filters and metrics over the responses of items of one task.

    Args:
        responses: per item, per question: text, or (log-likelihood, is greedy).

    Raises:
        ScoringError: a score is not finite.
    """
    for item, answers in zip(items, responses, strict=True):
        for instance, answer in zip(item.instances, answers, strict=True):
            instance.resps = [answer]
            instance.filtered_resps = {}
    instances = [instance for item in items for instance in item.instances]
    for ensemble in task._filters:
        if ensemble.name == column.filter:
            ensemble.apply(instances)
    scores = []
    for item in items:
        filtered = tuple(instance.filtered_resps[column.filter] for instance in item.instances)
        metrics: dict[str, Any] = task.process_results(item.document, list(filtered))
        generated = isinstance(item.questions[0], Generation)
        plain = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
        if not math.isfinite(plain[column.metric]):
            raise ScoringError(
                f"document {item.doc_id} of task {item.task}: {column.metric} is {plain[column.metric]}; the task's "
                f"process_results cannot score these answers, leave the column out"
            )
        scores.append(Score(plain, filtered, unparsed=generated and _is_unparsed(filtered[0])))
    return scores


def _contexts(task: Any, wanted: set[int], column: Column, prompter: Prompter) -> Iterator[tuple[int, Any, Any]]:
    """(doc_id, document, context) of the wanted documents.

    Shots are drawn in order of the documents from one seeded generator: drawing for those in between too makes
    the shots of a document those of a run over the whole task.
    """
    task.set_fewshot_seed(FEWSHOT_SEED)
    last = max(wanted)
    own_pool = task.fewshot_cfg.split == task.config.test_split
    for doc_id, document in enumerate(task.task_docs):
        if doc_id in wanted:
            yield doc_id, document, task.fewshot_context(
                document,
                num_fewshot=column.num_fewshot,
                apply_chat_template=column.chat_template,
                fewshot_as_multiturn=column.fewshot_as_multiturn,
                chat_template=prompter.chat if column.chat_template else None,
                gen_prefix=task.doc_to_prefix(document),
            )  # fmt: skip
        elif column.num_fewshot:
            task.sampler.sample(n=column.num_fewshot, eval_doc=document if own_pool else None)
        if doc_id == last:
            return


@dataclass(frozen=True)
class _Draft:
    """A document with lm-eval's instances, not yet tokenised."""

    task: str
    lm_eval_task: Any
    doc_id: int
    document: Any
    instances: list[Any]

    @property
    def arguments(self) -> list[tuple[str, str | None]]:
        """(context, continuation) of each instance; the continuation is None where text is generated."""
        return [
            (i.args[0], i.args[1] if i.request_type == "loglikelihood" else None) for i in self.instances
        ]  # fmt: skip


def _instances(
    name: str, task: Any, doc_id: int, document: Any, context: Any, column: Column, prompter: Prompter
) -> list[Any]:
    built = task.construct_requests(
        doc=document, ctx=context, metadata=(name, doc_id, 1), apply_chat_template=column.chat_template,
        chat_template=prompter.chat if column.chat_template else None,
    )  # fmt: skip
    return built if isinstance(built, list) else [built]


def _item(column: Column, draft: _Draft, fit: "_Fit") -> Item:
    fitted = [fit.question(instance) for instance in draft.instances]
    context, continuation = draft.arguments[0]
    return Item(
        column=column.name,
        task=draft.task,
        doc_id=draft.doc_id,
        document=draft.document,
        instances=draft.instances,
        questions=tuple(question for question, _ in fitted),
        truncated=any(cut for _, cut in fitted),
        prompt_text=context + (continuation or ""),
        choices=_choices(draft.arguments),
        target=str(draft.lm_eval_task.doc_to_target(draft.document)),
    )


def _choices(arguments: Sequence[tuple[str, str | None]]) -> tuple[str, ...]:
    """Where the texts of multiple-choice questions part, at a word's beginning."""
    texts = [context + continuation for context, continuation in arguments if continuation is not None]
    if len(texts) < 2:
        return ()
    shared = os.path.commonprefix(texts)  # noqa: RUF071 (characters are what is meant)
    start = max(shared.rfind(" "), shared.rfind("\n")) + 1
    return tuple(text[start:] for text in texts)


@dataclass(frozen=True)
class _Fit:
    """Turns lm-eval's instances into questions that fit the context."""

    encoder: Encoder
    max_model_len: int
    max_gen_tokens: int
    eos_text: str | None

    def question(self, instance: Any) -> tuple[Question, bool]:
        """The question of an instance and whether it was cut."""
        if instance.request_type == "loglikelihood":
            return self._continuation(*instance.args)
        return self._generation(*instance.args)

    def _continuation(self, context: str, continuation: str) -> tuple[Question, bool]:
        head, tail = self.encoder.pair(context, continuation)
        # One token less than the context, since every server generates at least one.
        room = max(1, self.max_model_len - 1 - len(tail))
        return Continuation(tuple(head[-room:]), tuple(tail)), len(head) > room

    def _generation(self, prompt: str, options: dict[str, Any]) -> tuple[Question, bool]:
        ids = self.encoder.prompt(prompt)
        max_tokens = options.get("max_gen_toks") or self.max_gen_tokens
        until = options.get("until") or []
        stop = [until] if isinstance(until, str) else list(until)
        if self.eos_text is not None and self.eos_text not in stop:
            stop.append(self.eos_text)
        room = max(1, self.max_model_len - max_tokens)
        return Generation(tuple(ids[-room:]), max_tokens, tuple(stop)), len(ids) > room


def _rank(seed: int, document: tuple[str, int]) -> bytes:
    return hashlib.sha256(f"{seed}:{document[0]}:{document[1]}".encode()).digest()


def _is_unparsed(filtered: Any) -> bool:
    value = filtered[0] if isinstance(filtered, list) and filtered else filtered
    return value == _INVALID or (isinstance(value, str) and not value.strip())


def _lm_eval_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
