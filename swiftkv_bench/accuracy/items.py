"""The items of a column: which documents are asked, with which prompts and token ids.

An item is one document of one task. Prompts are computed by lm-eval's own task code; what answers become is said in
``scores``.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from swiftkv_bench.accuracy.documents import blamed, own_trouble, require_document, require_text
from swiftkv_bench.accuracy.encoding import Encoder
from swiftkv_bench.accuracy.generation import Wish, wish
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.tasks import FEWSHOT_SEED, ColumnTasks
from swiftkv_bench.errors import ScoringError
from swiftkv_bench.schema.accuracy import Column


@dataclass(frozen=True)
class Generation:
    """Text wanted after a prompt: greedy, unless `sampling` says otherwise.

    Attributes:
        sampling: what else the engine is told, sorted by name: temperature, seed, ...
    """

    prompt: tuple[int, ...]
    max_tokens: int
    stop: tuple[str, ...]
    sampling: tuple[tuple[str, Any], ...] = ()

    @property
    def seed(self) -> int | None:
        """Seed of a sampled answer; None for a greedy one."""
        return dict(self.sampling).get("seed")


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
        instances: lm-eval's requests.
        questions: what the engine is asked, in the order of the instances.
        groups: number of questions of each instance: several answers, or the windows of a long text.
        repeats: answers an instance has for lm-eval; a greedy one is asked once and counts as often.
        until: texts at which an answer ends; cut from the answer after its thinking.
        think_end_token: text after which an answer begins; None where all of it is the answer.
        truncated: a prompt was cut at its left end to fit the context.
        border: a token spans a context and its continuation.
        own_shot: the document itself is among the shots of its prompt.
        prompt_text: text of the first prompt, continuation included, for reading.
        choices: what follows the beginning that all questions share, one text a question; empty for generated text.
    """

    column: str
    task: str
    doc_id: int
    document: dict[str, Any]
    instances: list[Any]
    questions: tuple[Question, ...]
    groups: tuple[int, ...]
    truncated: bool
    prompt_text: str
    choices: tuple[str, ...]
    target: str
    cluster: str | None = None
    repeats: int = 1
    until: tuple[str, ...] = ()
    think_end_token: str | None = None
    border: bool = False
    own_shot: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Identity within a column."""
        return self.task, self.doc_id

    @property
    def owners(self) -> tuple[int, ...]:
        """Index of the instance of each question."""
        return tuple(i for i, size in enumerate(self.groups) for _ in range(size))

    @property
    def prompt_hash(self) -> str:
        """SHA-256 of all token ids asked about, with the cut between context and continuation."""
        return hashlib.sha256(json.dumps([_asked(q) for q in self.questions]).encode()).hexdigest()

    @property
    def doc_hash(self) -> str:
        """Hash of the document as lm-eval's samples files have it."""
        from lm_eval.utils import handle_non_serializable

        return _lm_eval_hash(json.dumps(self.document, indent=2, default=handle_non_serializable, ensure_ascii=False))

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
    max_gen_tokens: int, seed: int = 0, think_end_token: str | None = None,
) -> list[Item]:  # fmt: skip
    """The items of the chosen documents. A document's prompt does not depend on which others are chosen.

    Args:
        max_model_len: context length; longer prompts lose their left end, as in lm-eval, and are marked.
        max_gen_tokens: generation limit where the task names none.
        seed: of sampled answers.
        think_end_token: text after which a generated answer begins.

    Raises:
        ScoringError: a document cannot be asked or has no right answer; names it and its field.
    """
    column = column_tasks.column
    by_task: dict[str, set[int]] = {}
    for name, doc_id in chosen:
        by_task.setdefault(name, set()).add(doc_id)
    drafts = [
        draft
        for name, task in column_tasks.tasks.items()
        if name in by_task
        for draft in _drafts(name, task, by_task[name], column, prompter)
    ]
    encoder = Encoder(prompter, column.add_bos, (args for draft in drafts for args in draft.arguments))
    fit = _Fit(encoder, max_model_len, max_gen_tokens, prompter, seed, think_end_token)
    items = []
    for draft in drafts:
        with own_trouble(draft.task, draft.doc_id, "generation_kwargs"):
            items.append(_item(column_tasks, draft, fit))
    return items


def _drafts(
    name: str, task: Any, wanted: set[int], column: Column, prompter: Prompter
) -> Iterator["_Draft"]:  # fmt: skip
    """The wanted documents with lm-eval's instances.

    Shots are drawn in order of the documents from one seeded generator: drawing for those in between too makes
    the shots of a document those of a run over the whole task.
    """
    task.set_fewshot_seed(FEWSHOT_SEED)
    last = max(wanted)
    own_pool = task.fewshot_cfg.split == task.config.test_split
    shots = _watched(task)
    for doc_id, document in enumerate(task.task_docs):
        if doc_id in wanted:
            shots.clear()
            with blamed(task, name, doc_id, document):
                require_document(task, document)
                context = fewshot_context(task, document, column, prompter)
                instances = requests(task, name, doc_id, document, context, column, prompter)
                arguments = list(map(_arguments, instances))
            own_shot = any(shot == document for shot in shots)
            yield _Draft(name, task, doc_id, document, instances, arguments, own_shot)
        elif column.num_fewshot:
            task.sampler.sample(n=column.num_fewshot, eval_doc=document if own_pool else None)
        if doc_id == last:
            return


def fewshot_context(task: Any, document: Any, column: Column, prompter: Prompter | None) -> Any:
    """lm-eval's prompt of a document: a text, or one a choice; without a prompter as plain text."""
    chat = prompter.chat if prompter is not None and column.chat_template else None
    return task.fewshot_context(
        document,
        num_fewshot=column.num_fewshot,
        apply_chat_template=chat is not None,
        fewshot_as_multiturn=column.fewshot_as_multiturn,
        chat_template=chat,
        gen_prefix=task.doc_to_prefix(document),
    )


def requests(
    task: Any, name: str, doc_id: int, document: Any, context: Any, column: Column, prompter: Prompter | None
) -> list[Any]:
    """lm-eval's instances of a document."""
    chat = prompter.chat if prompter is not None and column.chat_template else None
    built = task.construct_requests(
        doc=document, ctx=context, metadata=(name, doc_id, task.config.repeats),
        apply_chat_template=chat is not None, chat_template=chat,
    )  # fmt: skip
    return built if isinstance(built, list) else [built]


def _watched(task: Any) -> list[Any]:
    """The list that holds the shots of the document last drawn for."""
    drawn: list[Any] = []
    sampler = getattr(task, "sampler", None)
    if sampler is not None:
        draw = type(sampler).sample

        def sample_shots(*args: Any, **kwargs: Any) -> Any:
            drawn[:] = draw(sampler, *args, **kwargs)
            return list(drawn)

        sampler.sample = sample_shots
    return drawn


@dataclass(frozen=True)
class _Draft:
    """A document with lm-eval's instances, not yet tokenised.

    Attributes:
        arguments: (context, continuation) of each instance; the continuation is None where one text is all there is.
    """

    task: str
    lm_eval_task: Any
    doc_id: int
    document: Any
    instances: list[Any]
    arguments: list[tuple[str, str | None]]
    own_shot: bool


def _arguments(instance: Any) -> tuple[str, str | None]:
    is_pair = instance.request_type == "loglikelihood"
    return require_text(instance.args[0]), require_text(instance.args[1]) if is_pair else None


def _item(column_tasks: ColumnTasks, draft: _Draft, fit: "_Fit") -> Item:
    fitted = [fit.questions(instance, draft.task, draft.doc_id) for instance in draft.instances]
    context, continuation = draft.arguments[0]
    first = draft.instances[0]
    wished = fit.wish(first) if first.request_type == "generate_until" else None
    clusters = column_tasks.clusters.get(draft.task)
    return Item(
        column=column_tasks.column.name,
        task=draft.task,
        doc_id=draft.doc_id,
        document=draft.document,
        instances=draft.instances,
        questions=tuple(question for one in fitted for question in one.questions),
        groups=tuple(len(one.questions) for one in fitted),
        truncated=any(one.cut for one in fitted),
        prompt_text=context + (continuation or ""),
        choices=_choices(draft.arguments),
        target=require_text(str(draft.lm_eval_task.doc_to_target(draft.document))),
        cluster=None if clusters is None else clusters[draft.doc_id],
        repeats=int(draft.lm_eval_task.config.repeats),
        until=() if wished is None else wished.until,
        think_end_token=None if wished is None else fit.think_end_token,
        border=any(one.border for one in fitted),
        own_shot=draft.own_shot,
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
class _Fitted:
    """The questions of one instance."""

    questions: tuple[Question, ...]
    cut: bool = False
    border: bool = False


@dataclass(frozen=True)
class _Fit:
    """Turns lm-eval's instances into questions that fit the context."""

    encoder: Encoder
    max_model_len: int
    max_gen_tokens: int
    prompter: Prompter
    seed: int
    think_end_token: str | None

    def questions(self, instance: Any, task: str, doc_id: int) -> _Fitted:
        """The questions of an instance."""
        if instance.request_type == "loglikelihood":
            return self._continuation(*instance.args[:2])
        if instance.request_type == "loglikelihood_rolling":
            return self._windows(instance.args[0])
        if instance.request_type == "generate_until":
            return self._generation(instance, task, doc_id)
        raise ScoringError(f"lm-eval asks for {instance.request_type}, which is not done here")

    def wish(self, instance: Any) -> Wish:
        """How an instance wants text."""
        return wish(
            instance.args[1], max_gen_tokens=self.max_gen_tokens, eos_text=self.prompter.eos_text,
            thinks=self.think_end_token is not None,
        )  # fmt: skip

    def _continuation(self, context: str, continuation: str) -> _Fitted:
        head, tail, border = self.encoder.pair(context, continuation)
        if not tail or not head:
            raise ScoringError(
                "doc_to_target: the continuation is empty" if not tail
                else "doc_to_text: the context is empty and the tokenizer has no token to begin or end a text"
            )  # fmt: skip
        # One token less than the context, since every server generates at least one.
        room = self.max_model_len - 1
        if len(tail) >= room:
            kept = [*head, *tail][-room:]
            return _Fitted((Continuation(tuple(kept[:1]), tuple(kept[1:])),), cut=True, border=border)
        cut = len(head) + len(tail) > room
        return _Fitted((Continuation(tuple(head[len(tail) - room :]), tuple(tail)),), cut=cut, border=border)

    def _windows(self, text: str) -> _Fitted:
        """The windows of a whole text, each predicted once, as of lm-eval's vLLM class."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        if self.prompter.start_id is None:
            raise ScoringError("doc_to_target: the tokenizer has no token to begin or end a text")
        windows = map(
            make_disjoint_window,
            get_rolling_token_windows(
                token_list=self.encoder.prompt(text), prefix_token=self.prompter.start_id,
                max_seq_len=self.max_model_len - 2, context_len=1,
            ),
        )  # fmt: skip
        questions = tuple(Continuation(tuple(context), tuple(tokens)) for context, tokens in windows)
        if not questions:
            raise ScoringError("doc_to_target: the text is empty")
        return _Fitted(questions)

    def _generation(self, instance: Any, task: str, doc_id: int) -> _Fitted:
        ids = self.encoder.prompt(instance.args[0])
        wished = self.wish(instance)
        # A limit that leaves no room for a prompt is shortened; otherwise the prompt is.
        max_tokens = min(wished.max_tokens, max(1, self.max_model_len - len(ids)))
        if wished.max_tokens < self.max_model_len:
            max_tokens = wished.max_tokens
        room = self.max_model_len - max_tokens
        cut = len(ids) > room or max_tokens < wished.max_tokens
        asked = Generation(tuple(ids[-room:]), max_tokens, wished.stop, wished.sampling)
        if not asked.prompt:
            raise ScoringError("doc_to_text: the prompt is empty")
        if not wished.is_sampled:
            return _Fitted((asked,), cut)
        seeds = (answer_seed(self.seed, task, doc_id, instance.idx, i) for i in range(int(instance.repeats or 1)))
        sampled = (tuple(sorted((*wished.sampling, ("seed", one)))) for one in seeds)
        return _Fitted(tuple(replace(asked, sampling=sampling) for sampling in sampled), cut)


def answer_seed(seed: int, task: str, doc_id: int, question: int, answer: int) -> int:
    """Seed of a sampled answer, the same in every arm: the first 31 bits of a SHA-256."""
    digest = hashlib.sha256(f"{seed}:{task}:{doc_id}:{question}:{answer}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def _asked(q: Question) -> list[Any]:
    if isinstance(q, Continuation):
        return [q.context, q.tokens]
    return [q.prompt, q.max_tokens, q.stop, *([q.sampling] if q.sampling else [])]


def _rank(seed: int, document: tuple[str, int]) -> bytes:
    return hashlib.sha256(f"{seed}:{document[0]}:{document[1]}".encode()).digest()


def _lm_eval_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
