"""A user's text as token rows for distillation: encoded by the model's own tokenizer, packed end to end."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError  # of the chat template
from torch import Tensor

from swiftkv_bench.errors import InputError

#: The class of every token: all count the same.
TEXT_WEIGHTS = {"text": 1.0}

#: Share of the rows that are kept from training to measure on, and their greatest number.
_HELD_OUT_SHARE = 0.1
_HELD_OUT_MOST = 32


def read_documents(path: Path, tokenizer: Any) -> list[list[int]]:
    """Token ids of each document of a data file.

    ``.jsonl``: one object a line with ``text``, or with ``messages`` in the chat format; anything else is plain
    text, documents separated by blank lines.

    Raises:
        InputError: the file cannot be read or a line is neither.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"--data {path} cannot be read ({e}): give a text or .jsonl file.") from e
    if path.suffix != ".jsonl":
        texts = [part.strip() for part in content.split("\n\n") if part.strip()]
        return [list(tokenizer(text)["input_ids"]) for text in texts]
    lines = enumerate(content.removesuffix("\n").split("\n"), 1)
    return [_line(json_line, number, path, tokenizer) for number, json_line in lines]


def _line(json_line: str, number: int, path: Path, tokenizer: Any) -> list[int]:
    try:
        entry = json.loads(json_line)
        if "messages" in entry:
            text = tokenizer.apply_chat_template(entry["messages"], tokenize=False)
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(tokenizer(entry["text"])["input_ids"])
    except (ValueError, KeyError, TypeError, RecursionError, TemplateError) as e:
        raise InputError(f"--data {path}:{number} has neither text nor messages ({e!r}): repair the line.") from e


@dataclass(frozen=True)
class TextRows:
    """Rows of token ids; ``held_out`` are not trained on. Shapes (rows, tokens)."""

    training: Tensor
    held_out: Tensor

    @staticmethod
    def pack(documents: list[list[int]], row_tokens: int, where: str) -> "TextRows":
        """Documents end to end, cut into rows.

        Raises:
            InputError: there is less than two rows' worth of text.
        """
        tokens = [token for document in documents for token in document]
        count = len(tokens) // row_tokens
        if count < 2:
            raise InputError(
                f"{where} has {len(tokens)} tokens: give at least two rows of {row_tokens} (--row-tokens)."
            )
        rows = torch.tensor(tokens[: count * row_tokens]).view(count, row_tokens)
        held_out = max(1, min(_HELD_OUT_MOST, int(count * _HELD_OUT_SHARE)))
        return TextRows(rows[:-held_out], rows[-held_out:])


@dataclass(frozen=True)
class TextFeed:
    """Batches of training rows in a seeded order, all rows once before any comes again."""

    rows: TextRows
    batch_rows: int
    seed: int
    device: torch.device

    def __call__(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Ids and classes, each of shape (batch_rows, tokens), of step ``start`` and all that follow."""
        count = len(self.rows.training)
        place = start * self.batch_rows
        orders: dict[int, Tensor] = {}
        while True:
            picked = []
            for offset in range(place, place + self.batch_rows):
                epoch, index = divmod(offset, count)
                if epoch not in orders:
                    generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
                    orders = {epoch: torch.randperm(count, generator=generator)}
                picked.append(self.rows.training[orders[epoch][index]])
            place += self.batch_rows
            ids = torch.stack(picked).to(self.device)
            yield ids, torch.zeros_like(ids, dtype=torch.uint8)
