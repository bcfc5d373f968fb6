"""A recorded run checked by other code: stock lm-eval computes a sample of its items again from the weights.

lm-eval's ``hf`` class runs the model with transformers and PyTorch, so nothing but the prompts and the weights is
shared with the engine. Needs PyTorch and the package accelerate (lm-eval's extra ``hf``).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftkv_bench.accuracy.items import Item, build_items, score
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.run import Prepared
from swiftkv_bench.accuracy.tasks import ColumnTasks
from swiftkv_bench.errors import InputError
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.accuracy import ItemRecord
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.store import Run


@dataclass(frozen=True)
class Agreement:
    """How far the second computation of a column agrees with the recorded one.

    Attributes:
        items: items computed again.
        same_score: of these, items with the same score.
        largest_difference_nat: between two log-likelihoods; None for generated text.
        same_text: items with the same text, special tokens and broken characters left out; None for log-likelihoods.
        differing: doc ids per task whose score differs.
    """

    column: str
    items: int
    same_score: int
    largest_difference_nat: float | None
    same_text: int | None
    differing: tuple[tuple[str, int], ...]


def verify_run(
    run: Run, prepared: Prepared, arm: Arm, model: str, observer: Observer, *, share: float = 0.01, device: str = "cpu",
    dtype: str = "auto", max_model_len: int,
) -> list[Agreement]:  # fmt: skip
    """Computes a sample of an arm's items again, the same sample every time; at least 2 items a column.

    Args:
        model: weights that transformers can load.
        share: share of each column's items.

    Raises:
        InputError: transformers cannot load the model, or a recorded prompt cannot be made again.
    """
    recorded = [record for record in run.items() if record.arm == arm and record.repeat == 0]
    language_model, prompter = _hf(model, device, dtype, max_model_len), Prompter(model)
    found = []
    for column_tasks in prepared.columns:
        records = [record for record in recorded if record.column == column_tasks.column.name]
        chosen = _sampled(records, share)
        if chosen:
            observer.progress("verify", f"{column_tasks.column.title}: {len(chosen)} items by lm-eval's hf class")
            items = build_items(
                column_tasks, [(r.task, r.doc_id) for r in chosen], prompter, max_model_len=max_model_len,
                max_gen_tokens=prepared.plan.max_gen_tokens,
            )  # fmt: skip
            found.append(_agreement(column_tasks, items, chosen, language_model, prompter))
    observer.finish("verify")
    return found


def _sampled(records: Sequence[ItemRecord], share: float) -> list[ItemRecord]:
    count = min(len(records), max(2, round(share * len(records))))
    return sorted(records, key=lambda r: hashlib.sha256(f"verify:{r.task}:{r.doc_id}".encode()).digest())[:count]


def _hf(model: str, device: str, dtype: str, max_model_len: int) -> Any:
    try:
        from lm_eval.models.huggingface import HFLM
    except ImportError as e:
        raise InputError(f"verify needs PyTorch and accelerate ({e}); install them into this environment") from e
    name = Path(model).name if Path(model).exists() else model
    try:
        return HFLM(
            pretrained=model, device=device, dtype=dtype, batch_size=1, max_length=max_model_len, add_bos_token=False
        )
    except (OSError, ValueError) as e:
        raise InputError(f"transformers cannot load {name}: {str(e).splitlines()[0]}; verify the baseline arm") from e


def _agreement(
    column_tasks: ColumnTasks,
    items: Sequence[Item],
    records: Sequence[ItemRecord],
    language_model: Any,
    prompter: Prompter,
) -> Agreement:
    by_key = {(r.task, r.doc_id): r for r in records}
    same_score, same_text, worst, differing, generated = 0, 0, 0.0, [], False
    for item in items:
        record = by_key[item.key]
        if record.prompt_hash != item.prompt_hash:
            raise InputError(
                f"the prompt of {item.task}/{item.doc_id} is not the recorded one; was another tokenizer used?"
            )
        generated = item.instances[0].request_type == "generate_until"
        responses = [_compute(language_model, item, i) for i in range(len(item.questions))]
        [scored] = score(column_tasks.tasks[item.task], column_tasks.column, [item], [responses])
        if abs(scored.metrics[column_tasks.column.metric] - record.score) < 1e-3:
            same_score += 1
        else:
            differing.append(item.key)
        if generated:
            same_text += _comparable(responses[0], prompter) == _comparable(record.responses[0], prompter)
        else:
            worst = max([worst, *(abs(a[0] - b[0]) for a, b in zip(responses, record.responses, strict=True))])
    return Agreement(
        column=column_tasks.column.name,
        items=len(items),
        same_score=same_score,
        largest_difference_nat=None if generated else worst,
        same_text=same_text if generated else None,
        differing=tuple(differing),
    )


def _comparable(text: str, prompter: Prompter) -> str:
    """A text without what two decoders of the same tokens write differently.

    lm-eval's hf class leaves special tokens out, an engine is asked to keep them; an engine holds back bytes at the
    end that are no whole character, where the other writes a replacement character.
    """
    return prompter.without_special(text).replace("\N{REPLACEMENT CHARACTER}", "")


def _compute(language_model: Any, item: Item, i: int) -> Any:
    """One response by lm-eval's model class; log-likelihoods from the very token ids that the engine was sent."""
    question, instance = item.questions[i], item.instances[i]
    if instance.request_type == "generate_until":
        [text] = language_model.generate_until([instance], disable_tqdm=True)
        return text
    request = (("", ""), list(question.context), list(question.tokens))  # type: ignore[union-attr]
    [(value, is_greedy)] = language_model._loglikelihood_tokens([request], disable_tqdm=True)
    return float(value), bool(is_greedy)
