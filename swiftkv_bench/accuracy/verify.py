"""A recorded run checked by other code: stock lm-eval computes a sample of its items again from the weights.

lm-eval's ``hf`` class runs the model with transformers and PyTorch, so nothing but the prompts and the weights is
shared with the engine. transformers does not know SwiftKV models; for these the class is given this package's
plain forward (``swiftkv.transformers_model``), which computes every layer for every token, so that an engine which
skips rows it must not cannot agree. Needs PyTorch and the package accelerate.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftkv_bench.accuracy.items import Continuation, Generation, Item, build_items
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.run import Prepared
from swiftkv_bench.accuracy.scores import score
from swiftkv_bench.accuracy.tasks import ColumnTasks
from swiftkv_bench.engines.probes.asking import Limit, rounding
from swiftkv_bench.errors import InputError
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.accuracy import ItemRecord
from swiftkv_bench.schema.engine import Arm, EngineSpec
from swiftkv_bench.store import Run

LEAST_ITEMS = 2
"""Items of a column that are computed again however small the share."""


@dataclass(frozen=True)
class Weights:
    """What an arm's items are computed from.

    Attributes:
        model: hub id or folder.
        skipping: a SwiftKV checkpoint, which transformers alone cannot load.
        dtype: torch's name of the type to compute in, or `auto`.
    """

    model: str
    tokenizer: str
    max_model_len: int
    skipping: bool = False
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "auto"


@dataclass(frozen=True)
class ItemAgreement:
    """One item computed again.

    Attributes:
        recorded, computed: its score in the run, and by the second computation.
        difference_nat: largest difference of two log-likelihoods; None for generated text.
        lead_nat: what the recorded log-likelihoods of the best choice and another must move by together until that one
            is as good; None where the score is not that of the best choice.
        same_text: whether the texts are equal, special tokens and broken characters left out; None for log-likelihoods.
        beyond_rounding: two log-likelihoods differ by more than the arithmetic of both may, so that not both are the
            weights'. Never of texts: rounding can part two greedy texts anywhere.
    """

    task: str
    doc_id: int
    recorded: float
    computed: float
    difference_nat: float | None
    lead_nat: float | None
    same_text: bool | None
    beyond_rounding: bool = False

    @property
    def is_tie(self) -> bool:
        """Differences of this size may put another choice first: two choices are as likely as each other."""
        if self.difference_nat is None or self.lead_nat is None:
            return False
        return self.lead_nat <= 2 * self.difference_nat

    @property
    def same_score(self) -> bool:
        """Equal but for rounding."""
        return abs(self.recorded - self.computed) < 1e-3


@dataclass(frozen=True)
class Agreement:
    """How far the second computation of a column agrees with the recorded one, item by item.

    Attributes:
        of: items recorded.
    """

    arm: Arm
    column: str
    title: str
    of: int
    items: tuple[ItemAgreement, ...]

    @property
    def same_score(self) -> int:
        """Items with the same score."""
        return sum(item.same_score for item in self.items)

    @property
    def same_text(self) -> int | None:
        """Items with the same text; None for log-likelihoods."""
        known = [item.same_text for item in self.items if item.same_text is not None]
        return sum(known) if known else None

    @property
    def beyond_rounding(self) -> int:
        """Items whose log-likelihoods differ by more than rounding."""
        return sum(item.beyond_rounding for item in self.items)

    @property
    def largest_difference_nat(self) -> float | None:
        """Between two log-likelihoods of any item; None for generated text."""
        return max((i.difference_nat for i in self.items if i.difference_nat is not None), default=None)


def arithmetic(spec: EngineSpec, weights: Weights) -> Limit:
    """What rounding may do between an engine and the second computation: as the coarser of both."""
    second = spec if weights.dtype == "auto" else spec.model_copy(update={"args": {"dtype": weights.dtype}})
    return max(rounding(spec), rounding(second), key=lambda limit: limit.mean)


def verify_run(
    run: Run, prepared: Prepared, arm: Arm, weights: Weights, observer: Observer, *, limit: Limit, share: float = 0.01
) -> list[Agreement]:
    """Computes a sample of an arm's items again, the same sample every time; at least 2 items a column.

    Args:
        limit: what rounding may do: `arithmetic`.
        share: share of each column's items.

    Raises:
        InputError: the weights cannot be loaded, or a recorded prompt cannot be made again.
    """
    recorded: dict[str, list[ItemRecord]] = {}
    for record in run.items():
        if record.arm == arm and record.repeat == 0:
            recorded.setdefault(record.column, []).append(record)
    columns = [c for c in prepared.columns if c.column.name in recorded]
    if not columns:
        raise InputError(f"{run.path} holds no items of arm {arm}")
    observer.progress("verify", f"loading {weights.model}")
    language_model, prompter = _hf(weights), Prompter(weights.tokenizer, weights.revision)
    found = []
    for column_tasks in columns:
        records = recorded[column_tasks.column.name]
        chosen = _sampled(records, share)
        items = build_items(
            column_tasks, [(r.task, r.doc_id) for r in chosen], prompter, max_model_len=weights.max_model_len,
            max_gen_tokens=prepared.plan.max_gen_tokens, seed=prepared.plan.seed,
            think_end_token=prepared.plan.think_end_token,
        )  # fmt: skip
        by_key = {(r.task, r.doc_id): r for r in chosen}
        agreements = []
        for done, item in enumerate(items):
            observer.progress("verify", f"{column_tasks.column.title} on {arm}", done, len(items))
            agreements.append(_again(column_tasks, item, by_key[item.key], language_model, prompter, limit))
        column = column_tasks.column
        found.append(Agreement(arm, column.name, column.title, len(records), tuple(agreements)))
    observer.finish("verify")
    return found


def _sampled(records: Sequence[ItemRecord], share: float) -> list[ItemRecord]:
    count = min(len(records), max(LEAST_ITEMS, round(share * len(records))))
    return sorted(records, key=lambda r: hashlib.sha256(f"verify:{r.task}:{r.doc_id}".encode()).digest())[:count]


def _hf(weights: Weights) -> Any:
    """lm-eval's `hf` class over the weights."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    try:
        from lm_eval.models.huggingface import HFLM
    except ImportError as e:
        raise InputError(f"verify needs PyTorch and accelerate ({e}); install swiftkv-bench[verify]") from e
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    common = {"batch_size": 1, "max_length": weights.max_model_len, "add_bos_token": False, "device": weights.device}
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(weights.tokenizer, revision=weights.revision or "main")
        if not weights.skipping:
            return HFLM(
                pretrained=weights.model, tokenizer=tokenizer, revision=weights.revision or "main",
                dtype=weights.dtype, **common,
            )  # fmt: skip
        from swiftkv_bench.swiftkv.transformers_model import load

        network = load(weights.model, weights.revision, weights.device, weights.dtype)
        return HFLM(pretrained=network, tokenizer=tokenizer, **common)
    except (OSError, ValueError, RuntimeError, AssertionError) as e:
        raise InputError(
            f"the weights {weights.model} cannot be loaded on {weights.device}: {str(e).splitlines()[0]}; "
            f"name others with --model, or another --device"
        ) from e


def _again(
    column_tasks: ColumnTasks, item: Item, record: ItemRecord, language_model: Any, prompter: Prompter, limit: Limit
) -> ItemAgreement:
    if record.prompt_hash != item.prompt_hash:
        raise InputError(
            f"the prompt of {item.task}/{item.doc_id} is not the recorded one: the data, the suite or the tokenizer "
            f"changed since the run"
        )
    column = column_tasks.column
    language_model.add_bos_token = column.add_bos and not column.chat_template
    responses = [_compute(language_model, item, i) for i in range(len(item.questions))]
    [scored] = score(column_tasks.tasks[item.task], column, [item], [responses])
    generated = isinstance(item.questions[0], Generation)
    differences = [] if generated else [abs(a[0] - b[0]) for a, b in zip(responses, record.responses, strict=True)]
    same_text = None
    if generated:
        same_text = is_same_text(responses[0], record.responses[0], prompter)
    return ItemAgreement(
        task=item.task,
        doc_id=item.doc_id,
        recorded=record.score,
        computed=scored.value,
        difference_nat=max(differences, default=None),
        lead_nat=_lead(column_tasks, item, record),
        same_text=same_text,
        beyond_rounding=any(
            not found <= _allowed_nat(question, limit)
            for question, found in zip(item.questions, differences, strict=False)
            if isinstance(question, Continuation)
        ),
    )


def _allowed_nat(question: Continuation, limit: Limit) -> float:
    """What rounding may do to a log-likelihood: its mean at every token, and once its worst."""
    return limit.mean * len(question.tokens) + limit.worst


def _lead(column_tasks: ColumnTasks, item: Item, record: ItemRecord) -> float | None:
    task, metric = column_tasks.tasks[item.task], column_tasks.column.metric
    if task.OUTPUT_TYPE != "multiple_choice" or metric not in ("acc", "acc_norm"):
        return None
    choices = task.doc_to_choice(item.document)
    lengths = [float(len(choice)) if metric == "acc_norm" else 1.0 for choice in choices]
    return lead([found[0] for found in record.responses[: len(choices)]], lengths) if all(lengths) else None


def lead(log_likelihoods: Sequence[float], lengths: Sequence[float]) -> float | None:
    """What two log-likelihoods must move by together until another choice is as good as the best; None below two.

    Args:
        lengths: what lm-eval divides each by: characters for `acc_norm`, 1 for `acc`, where it is best − second best.
    """
    values = [found / length for found, length in zip(log_likelihoods, lengths, strict=True)]
    best = max(range(len(values)), key=values.__getitem__, default=0)
    others = (i for i in range(len(values)) if i != best)
    # A shift d of each moves two quotients towards each other by d / length of the one and of the other.
    return min((2 * (values[best] - values[i]) / (1 / lengths[best] + 1 / lengths[i]) for i in others), default=None)


def is_same_text(one: str, other: str, prompter: Prompter) -> bool:
    """Equality but for what two decoders of the same tokens write differently.

    lm-eval's hf class leaves special tokens out, an engine is asked to keep them. Where bytes are no whole character,
    one writes a replacement character, the other nothing, or another character across a special token left out; then
    only ASCII is compared.
    """
    texts = [prompter.without_special(text) for text in (one, other)]
    if any("\N{REPLACEMENT CHARACTER}" in text for text in texts):
        texts = ["".join(sign for sign in text if sign.isascii()) for text in texts]
    return texts[0] == texts[1]


def _compute(language_model: Any, item: Item, i: int) -> Any:
    """One response by lm-eval's model class; log-likelihoods from the very token ids that the engine was sent.

    Raises:
        InputError: lm-eval's class would generate from other tokens than the engine did.
    """
    question, instance = item.questions[i], item.instances[item.owners[i]]
    if isinstance(question, Continuation):
        request = (("", ""), list(question.context), list(question.tokens))
        [(value, is_greedy)] = language_model._loglikelihood_tokens([request], disable_tqdm=True)
        return float(value), bool(is_greedy)
    from lm_eval.api.instance import Instance

    context, options = instance.args
    wanted = {**options, "max_gen_toks": question.max_tokens, "until": list(question.stop)}
    if tuple(language_model.tok_encode(context)[-len(question.prompt) :]) != question.prompt:
        raise InputError(f"lm-eval's hf class makes other tokens of the prompt of {item.task}/{item.doc_id}")
    again = Instance(request_type="generate_until", doc=item.document, arguments=(context, wanted), idx=0)
    [text] = language_model.generate_until([again], disable_tqdm=True)
    return text
