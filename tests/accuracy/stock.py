"""Stock lm-eval beside ours: the same task file, documents and tokenizer, and a model that is a known function.

lm-eval runs its own loader, its own evaluator and its own encoding of prompts over a model class of a dozen lines;
ours builds items and scores them. Both models answer from token ids alone, so any other prompt gives another answer.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from swiftkv_bench.accuracy.items import Continuation, Generation, Item, answer_seed, build_items, sample
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.scores import Score, score
from swiftkv_bench.accuracy.tasks import ColumnTasks
from tests.accuracy.toy_engine import logprobs_after

MAX_MODEL_LEN = 4096
MAX_GEN_TOKENS = 64
WORDS = ("yes", "no", "0", "1", "2", "A", "B", "the cat sat", "a dog on the mat", "42")


def said(prompt: Sequence[int], turn: int) -> str:
    """What the model says to a prompt the `turn`th time: two words and a line that no task wants."""
    digest = hashlib.sha256(repr((tuple(prompt), turn)).encode()).digest()
    return f" {WORDS[digest[0] % len(WORDS)]}\nand {WORDS[digest[1] % len(WORDS)]}"


def likelihood(context: Sequence[int], tokens: Sequence[int]) -> tuple[float, bool]:
    """(log-likelihood, is greedy) of a continuation."""
    ids, total, greedy = [*context, *tokens], 0.0, True
    for i in range(len(context), len(ids)):
        row = logprobs_after(ids[:i])
        total += float(row[ids[i]])
        greedy &= int(row.argmax()) == ids[i]
    return total, greedy


class ToyLM(TemplateLM):  # type: ignore[misc]  # lm_eval is untyped
    """The model as lm-eval wants one; greedy unless a task samples, when each answer is another."""

    def __init__(self, tokenizer: Path) -> None:
        super().__init__()
        self._prompter = Prompter(str(tokenizer))
        self._times: Counter[tuple[int, ...]] = Counter()

    @property
    def eot_token_id(self) -> int:
        assert self._prompter.start_id is not None
        return self._prompter.start_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return list(self._prompter.encode([string])[string])

    def _loglikelihood_tokens(self, requests: list[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        return [likelihood(context, tokens) for _, context, tokens in requests]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        found = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]), prefix_token=self.eot_token_id,
                max_seq_len=MAX_MODEL_LEN - 2, context_len=1,
            )  # fmt: skip
            found.append(sum(likelihood(*make_disjoint_window(window))[0] for window in windows))
        return found

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        texts = []
        for request in requests:
            context, options = request.args
            read: Any = normalize_gen_kwargs(options, default_max_gen_toks=MAX_GEN_TOKENS)
            until = handle_stop_sequences(list(read["until"]), eos=self._prompter.eos_text)
            prompt = tuple(self.tok_encode(context))
            turn = self._times[prompt] if read.get("temperature") else 0
            self._times[prompt] += 1
            texts.append(postprocess_generated_text(said(prompt, turn), until, None))
        return texts


@dataclass(frozen=True)
class Compared:
    """One document on both sides.

    Attributes:
        stock, ours: lm-eval's sample and our item with its score.
    """

    stock: dict[str, Any]
    item: Item
    responses: list[Any]
    scored: Score


def stock_results(folder: Path, task: str, tokenizer: Path) -> dict[str, Any]:
    """What lm-eval's own evaluator makes of a task file in a folder."""
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found: Any = simple_evaluate(
        model=ToyLM(tokenizer), tasks=[task], task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    return dict(found)


def compared(column: ColumnTasks, tokenizer: Path, results: dict[str, Any]) -> list[Compared]:
    """Every document of a column of one task on both sides, in order."""
    items = build_items(
        column, sample(column, None, 0), Prompter(str(tokenizer)), max_model_len=MAX_MODEL_LEN,
        max_gen_tokens=MAX_GEN_TOKENS,
    )  # fmt: skip
    [(name, task)] = column.tasks.items()
    responses = [_answers(item) for item in items]
    scores = score(task, column.column, items, responses)
    samples = {s["doc_id"]: s for s in results["samples"][name] if s["filter"] == column.column.filter}
    return [Compared(samples[i.doc_id], i, r, s) for i, r, s in zip(items, responses, scores, strict=True)]


def _answers(item: Item) -> list[Any]:
    turns = {answer_seed(0, item.task, item.doc_id, 0, turn): turn for turn in range(item.repeats)}
    found: list[Any] = []
    for question in item.questions:
        if isinstance(question, Continuation):
            found.append(likelihood(question.context, question.tokens))
        elif isinstance(question, Generation):
            found.append(said(question.prompt, 0 if question.seed is None else turns[question.seed]))
    return found
