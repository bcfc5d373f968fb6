"""A user's text as token rows for distillation: encoded by the model's own tokenizer, packed end to end."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError  # of the chat template
from torch import Tensor

from swiftkv_bench.embedded import row_file
from swiftkv_bench.errors import InputError

#: Share of a file's rows that are kept from training to measure on, and their greatest number.
_HELD_OUT_SHARE = 0.1
_HELD_OUT_MOST = 32


def read_documents(path: Path, tokenizer: Any) -> list[list[int]]:
    """Token ids of each document of a data file.

    ``.jsonl``: one object a line with ``text``, or with ``messages`` in the chat format; anything else is plain
    text, documents separated by blank lines.

    Raises:
        InputError: the file cannot be read or a line is neither.
    """
    return [
        list(tokenizer(text, add_special_tokens=special)["input_ids"]) for text, special in read_texts(path, tokenizer)
    ]


def read_texts(path: Path, tokenizer: Any) -> list[tuple[str, bool]]:
    """Each document's text as the model would see it, and whether the tokenizer is to add its special tokens.

    Raises:
        InputError: the file cannot be read or a line is neither text nor messages.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"--data {path} cannot be read ({e}): give a text or .jsonl file.") from e
    if path.suffix != ".jsonl":
        return [(part.strip(), True) for part in content.split("\n\n") if part.strip()]
    lines = enumerate(content.removesuffix("\n").split("\n"), 1)
    return [_line(json_line, number, path, tokenizer) for number, json_line in lines]


def _line(json_line: str, number: int, path: Path, tokenizer: Any) -> tuple[str, bool]:
    try:
        entry = json.loads(json_line)
        if "messages" in entry:
            return str(tokenizer.apply_chat_template(entry["messages"], tokenize=False)), False
        text = entry["text"]
        if not isinstance(text, str):
            raise TypeError(f"text is {text!r}")
        return text, True
    except (ValueError, KeyError, TypeError, RecursionError, TemplateError) as e:
        raise InputError(f"--data {path}:{number} has neither text nor messages ({e!r}): repair the line.") from e


@dataclass(frozen=True)
class TextRows:
    """Rows of token ids of one length; ``held_out`` are not trained on. Shapes (rows, tokens)."""

    name: str
    training: Tensor
    held_out: Tensor

    @staticmethod
    def pack(documents: list[list[int]], row_tokens: int, path: Path) -> "TextRows":
        """Documents end to end, cut into rows.

        Raises:
            InputError: there is less than two rows' worth of text.
        """
        tokens = [token for document in documents for token in document]
        count = len(tokens) // row_tokens
        if count < 2:
            raise InputError(
                f"--data {path} has {len(tokens)} tokens: give at least two rows of {row_tokens} (--row-tokens)."
            )
        return TextRows.split(path.stem, torch.tensor(tokens[: count * row_tokens]).view(count, row_tokens))

    @staticmethod
    def split(name: str, rows: Tensor) -> "TextRows":
        """Keeps the last rows from training."""
        held_out = max(1, min(_HELD_OUT_MOST, int(len(rows) * _HELD_OUT_SHARE)))
        return TextRows(name, rows[:-held_out], rows[-held_out:])


def read_rows(paths: Sequence[Path], tokenizer: Any, row_tokens: int, vocab_size: int) -> list[TextRows]:
    """The rows of each data file: text packed into rows of ``row_tokens``, a rows file as it is.

    Raises:
        InputError: a file cannot be used, or two have one name.
    """
    found: dict[str, TextRows] = {}
    for path in paths:
        if path.suffix == row_file.SUFFIX:
            ids = row_file.read_rows(path)
            if len(ids) < 2:
                raise InputError(f"--data {path} has {len(ids)} rows: give at least two.")
            rows = TextRows.split(path.stem, torch.from_numpy(ids))
        else:
            rows = TextRows.pack(read_documents(path, tokenizer), row_tokens, path)
        if int(rows.training.max()) >= vocab_size:
            raise InputError(
                f"--data {path} has token {int(rows.training.max())}, the model {vocab_size}: encode anew."
            )
        if rows.name in found:
            raise InputError(f"--data {path}: another file is called {rows.name} too; rename one.")
        found[rows.name] = rows
    return list(found.values())


def digest(sets: Sequence[TextRows]) -> str:
    """Names the training rows; equal for equal rows in equal order."""
    total = hashlib.sha256()
    for rows in sets:
        total.update(f"{rows.name} {tuple(rows.training.shape)}".encode())
        total.update(np.ascontiguousarray(rows.training.numpy()).tobytes())
    return total.hexdigest()


@dataclass(frozen=True)
class TextFeed:
    """Batches of about ``batch_tokens`` in a seeded order, each of rows of one file.

    All batches of all files come once before any comes again; what does not fill a file's last batch is left out
    of that round.
    """

    sets: Sequence[TextRows]
    batch_tokens: int
    seed: int
    device: torch.device

    def __call__(self, start: int) -> Iterator[Tensor]:
        """Ids, shape (rows, tokens), of step ``start`` and all that follow."""
        length = sum(len(rows.training) // self.batch_rows(rows) for rows in self.sets)
        while True:
            epoch, index = divmod(start, length)
            for which, picked in self._order(epoch)[index:]:
                yield self.sets[which].training[picked].to(self.device)
                start += 1

    def batch_rows(self, rows: TextRows) -> int:
        """Rows of a batch from this file: at least one, at most what it has."""
        return min(len(rows.training), max(1, self.batch_tokens // rows.training.shape[1]))

    def _order(self, epoch: int) -> list[tuple[int, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        batches = []
        for which, rows in enumerate(self.sets):
            size, order = self.batch_rows(rows), torch.randperm(len(rows.training), generator=generator)
            whole = order[: len(order) // size * size]
            batches += [(which, picked) for picked in whole.view(-1, size)]
        return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]
