"""Text of the user's as a rows file: read, freed of what is evaluated on, encoded, packed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swiftkv_bench.embedded.overlap import Passages
from swiftkv_bench.embedded.row_file import write_rows
from swiftkv_bench.embedded.text_rows import read_texts
from swiftkv_bench.embedded.twin import read_tokenizer
from swiftkv_bench.errors import InputError, writing


@dataclass(frozen=True)
class Encoded:
    """What was written, and the documents read and left out."""

    rows: int
    tokens: int
    documents: int
    excluded: int


def excluded_passages(path: Path | None) -> Passages:
    """The passages of a text file: ``.jsonl`` with ``text``, else documents separated by blank lines.

    Raises:
        InputError: it cannot be read.
    """
    if path is None:
        return Passages([])
    try:
        content = path.read_text(encoding="utf-8")
        lines = content.splitlines() if path.suffix == ".jsonl" else []
        return Passages([json.loads(line)["text"] for line in lines] if lines else content.split("\n\n"))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"--exclude {path} cannot be read ({e!r}): give a text file or .jsonl with text.") from e


def encode_rows(model: Path, data: Sequence[Path], out: Path, row_tokens: int, exclude: Path | None) -> Encoded:
    """Write the rows file.

    A document longer than a row is cut into rows of its own; short ones of a file share rows. The rest that fills no
    row is left out, so no row holds text of two files.

    Raises:
        InputError: a file cannot be used, or all of them fill no row.
    """
    tokenizer, passages = read_tokenizer(model), excluded_passages(exclude)
    rows: list[list[int]] = []
    documents = excluded = 0
    for path in data:
        texts = read_texts(path, tokenizer)
        documents += len(texts)
        rest: list[int] = []
        for text, special in texts:
            if passages.occur_in(text):
                excluded += 1
                continue
            ids = list(tokenizer(text, add_special_tokens=special)["input_ids"])
            whole = len(ids) // row_tokens * row_tokens
            rows += [ids[begin : begin + row_tokens] for begin in range(0, whole, row_tokens)]
            rest += ids[whole:]
            if len(rest) >= row_tokens:
                rows.append(rest[:row_tokens])
                rest = []  # the next row begins with a whole document
    if not rows:
        raise InputError(f"--data holds no {row_tokens} tokens (--row-tokens) of text: give more text or shorter rows.")
    with writing(out, "choose another file with --out"):
        write_rows(out, np.array(rows))
    return Encoded(len(rows), len(rows) * row_tokens, documents, excluded)
