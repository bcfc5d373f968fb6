"""How each mini column asks: shots, chat or plain text, and what counts as the answer.

One rendering serves training and evaluation: ``Document.segments`` is what the model is trained on, and the
same text up to the last answer is what an evaluation sends. Leaves scoring to the accuracy suite.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

from swiftkv_bench.embedded.architecture import BEGIN_OF_TEXT, END_HEADER, END_OF_TURN, START_HEADER
from swiftkv_bench.embedded.generators import Item
from swiftkv_bench.embedded.items import items

#: generate: greedy text; choices: the likeliest ending; blank: the likelier of two contexts;
#: truth: probability mass of the true endings.
Kind = Literal["generate", "choices", "blank", "truth"]

#: Shots are drawn from the train split with this seed, so no evaluated item is among them.
_SHOT_SEED = 1

SHOT_DELIMITER = "\n\n"


@dataclass(frozen=True)
class MiniColumn:
    """Protocol of one mini column.

    Attributes:
        name: of the column, its items and its lm-eval task.
        kind: how an answer is scored.
        chat: whether prompt and answer are turns of a conversation.
        num_fewshot: worked items in front, turns of their own in a chat.
        answer: regular expression whose first group is the answer in a generated text.
        max_gen_tokens: generation limit.
        chance: score of guessing.
    """

    name: str
    kind: Kind
    chat: bool
    num_fewshot: int
    chance: float
    answer: str | None = None
    max_gen_tokens: int | None = None


MINI_COLUMNS: Mapping[str, MiniColumn] = MappingProxyType(
    {
        column.name: column
        for column in (
            MiniColumn("mini_arc", "generate", True, 0, 0.25, r"([ABCD])", 12),
            MiniColumn("mini_winogrande", "blank", False, 5, 0.5),
            MiniColumn("mini_hellaswag", "choices", False, 3, 0.25),
            MiniColumn("mini_truthfulqa", "truth", False, 3, 2 / 6),
            MiniColumn("mini_mmlu", "generate", True, 5, 0.25, r"([ABCD])", 12),
            MiniColumn("mini_mmlu_cot", "generate", True, 0, 0.25, r"The best answer is ([ABCD])", 48),
            MiniColumn("mini_gsm8k", "generate", True, 3, 0.0, r"#### (-?[0-9.,]+)", 60),
        )
    }
)


@cache
def shots(column: str) -> tuple[Item, ...]:
    """The worked items in front of every evaluated item of a column."""
    return tuple(items(column, "train", MINI_COLUMNS[column].num_fewshot, _SHOT_SEED))


@dataclass(frozen=True)
class Segment:
    """A stretch of text; ``special`` when it is the name of one special token, ``answer`` when to be learned."""

    text: str
    special: bool = False
    answer: bool = False


def document_start() -> Segment:
    """The segment in front of every document."""
    return Segment(BEGIN_OF_TEXT, special=True)


def item_segments(column: MiniColumn, item: Item) -> list[Segment]:
    """One item with its answer, ready to be followed by another."""
    if column.chat:
        return chat_turns(item.prompt, item.target)
    return [Segment(item.prompt), Segment(item.target, answer=True), Segment(SHOT_DELIMITER)]


def chat_turns(prompt: str, answer: str) -> list[Segment]:
    """A turn of the user and the answer to it."""
    return [*_asked(prompt), Segment(answer, answer=True), Segment(END_OF_TURN, special=True, answer=True)]


def question_segments(column: MiniColumn, item: Item, prompt: str | None = None) -> list[Segment]:
    """One item up to its answer; ``prompt`` stands in for the item's own when given."""
    text = item.prompt if prompt is None else prompt
    return _asked(text) if column.chat else [Segment(text)]


def evaluation_segments(column: MiniColumn, item: Item, prompt: str | None = None) -> list[Segment]:
    """The whole prompt of an evaluated item: start of text, shots, question."""
    worked = (segment for shot in shots(column.name) for segment in item_segments(column, shot))
    return [document_start(), *worked, *question_segments(column, item, prompt)]


def segments_text(segments: Sequence[Segment]) -> str:
    """The segments as one text, special tokens by their names."""
    return "".join(segment.text for segment in segments)


def _asked(prompt: str) -> list[Segment]:
    return [*_header("user"), Segment(prompt), Segment(END_OF_TURN, special=True), *_header("assistant")]


def _header(role: str) -> Iterator[Segment]:
    yield Segment(START_HEADER, special=True)
    yield Segment(role)
    yield Segment(END_HEADER, special=True)
    yield Segment("\n\n")
