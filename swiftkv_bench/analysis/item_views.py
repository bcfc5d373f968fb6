"""Items as a reader sees them: the prompt, what was expected, what each arm answered and what was read from it."""

from collections.abc import Mapping
from typing import Any, Literal

from swiftkv_bench.analysis.values import AnswerView, ItemView
from swiftkv_bench.schema.accuracy import ItemRecord
from swiftkv_bench.schema.engine import Arm


def item_view(by_arm: Mapping[Arm, ItemRecord], flip: Literal["lost", "gained", "same"], metric: str) -> ItemView:
    """One item with the answers of every arm; `metric` is the column's."""
    order: tuple[Arm, ...] = ("baseline", "swiftkv-full", "swiftkv")
    answered = [by_arm[arm] for arm in order if arm in by_arm]
    first = answered[0]
    prompt = first.prompt
    if prompt is not None and first.choices:
        prompt = prompt.removesuffix(first.choices[0])
    return ItemView(
        column=first.column,
        task=first.task,
        doc_id=first.doc_id,
        prompt=prompt,
        target=first.target,
        answers={x.arm: AnswerView(x.score, _answer(x), _read(x, metric), x.unparsed) for x in answered},
        flip=flip,
    )


def _answer(item: ItemRecord) -> str:
    """The generated text, or the log-likelihood of every choice."""
    choices = item.choices or ("",) * len(item.responses)
    return "\n".join(_response_text(r, choice) for r, choice in zip(item.responses, choices, strict=False))


def _response_text(response: Any, choice: str) -> str:
    if isinstance(response, str):
        return response
    likelihood = _likelihood(response)
    return str(response) if likelihood is None else f"{likelihood:.4f} {choice}".rstrip()


def _read(item: ItemRecord, metric: str) -> str | None:
    """What the filter read from a generated text; the likeliest choice where `acc` scores it 0 or 1."""
    if item.responses and isinstance(item.responses[0], str):
        found = item.filtered[0] if item.filtered else None
        found = found[0] if isinstance(found, list | tuple) and found else found
        return found if isinstance(found, str) and found else None
    likelihoods = [_likelihood(response) for response in item.responses]
    known = [x for x in likelihoods if x is not None]
    if metric != "acc" or item.score not in (0.0, 1.0) or len(known) != len(item.choices) or not known:
        return None
    return item.choices[known.index(max(known))]


def _likelihood(response: Any) -> float | None:
    if isinstance(response, list | tuple) and response and isinstance(response[0], int | float):
        return float(response[0])
    return None
