"""Prompts as text: files of prompts, and the tokenizer that counts and makes texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.json_text import read_json

_KNOWN = "JSON lines with `prompt`, or ShareGPT's JSON array of conversations"
_HUMAN, _MODEL = ("human", "user"), ("gpt", "assistant", "chatgpt", "bing", "bard")
_TRIED = 8192
"""Ids that are tried for being whole words: enough for different prompts, and fast in a large vocabulary."""


@dataclass(frozen=True)
class Row:
    """One prompt of a file, with the answer that was recorded for it, if any."""

    prompt: str
    answer: str | None = None


class Texts:
    """A tokenizer.json: texts to ids and back."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer  # slow to import, needed for texts only

        self._words: dict[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]] = {}
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as e:  # the library raises plain Exception
            raise InputError(f"{path} is not a tokenizer file ({e}); name another with --tokenizer") from e

    def encode(self, text: str) -> list[int]:
        """Ids of a prompt, with the special tokens that a server adds."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def count(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text

    @property
    def special(self) -> int:
        """Tokens that a server adds to every prompt."""
        return len(self.encode(""))

    def words(self, ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        """Of ranges of ids, those that stay themselves as text: alone, and after themselves.

        Raises:
            InputError: there are fewer than two.
        """
        if ranges not in self._words:
            ids = np.concatenate([np.arange(low, high) for low, high in ranges])
            if len(ids) > _TRIED:
                ids = np.sort(np.random.default_rng(0).choice(ids, _TRIED, replace=False))
            self._words[ranges] = tuple((i, i + 1) for i in ids.tolist() if self._stays(i))
        if len(self._words[ranges]) < 2:
            raise InputError("the tokenizer has no two tokens that are words of their own; send ids, or name another")
        return self._words[ranges]

    def _stays(self, token: int) -> bool:
        text = self.decode([token])
        plain = text.isascii() and text.isprintable() and any(c.isalnum() for c in text)
        special = self._tokenizer.decode([token], skip_special_tokens=True) != text
        if not plain or special or '"' in text or "\\" in text:
            return False
        twice = self.decode([token, token])
        return self._tokenizer.encode(twice, add_special_tokens=False).ids == [token, token]


@lru_cache(maxsize=4)
def load_texts(path: Path) -> Texts:
    """The tokenizer of a file, read once.

    Raises:
        InputError: it is none.
    """
    return Texts(path)


@dataclass(frozen=True)
class PromptFile:
    """A file of prompts.

    Attributes:
        format: what it is, in words.
        answered: each prompt has the answer that was recorded for it.
        left_out: conversations that do not begin with a question and its answer.
    """

    rows: tuple[Row, ...]
    format: str
    answered: bool
    left_out: int = 0


def read_prompts(path: Path, n: int | None) -> Sequence[Row]:
    """The first `n` prompts of a file, or all.

    Raises:
        InputError: as `read_prompt_file`, or it has fewer.
    """
    rows = read_prompt_file(path).rows
    if n is not None and len(rows) < n:
        raise InputError(
            f"{path} has {len(rows)} prompts, {n} are asked for, and a repeated prompt would be served from the "
            "prefix cache; lower --requests or give more prompts"
        )
    return rows[:n]


def read_prompt_file(path: Path) -> PromptFile:
    """A file of prompts, read once as long as it does not change.

    JSON lines with `prompt` (lines end at line feeds alone: a prompt may hold other separators), or ShareGPT's array
    of conversations, of which the first question and its answer are taken.

    Raises:
        InputError: the file cannot be read or is neither, or one is no prompt; the message says line and column.
    """
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"cannot read the prompts {path}: {e}; give {_KNOWN}") from e


@lru_cache(maxsize=2)
def _read(path: Path, _: int) -> PromptFile:
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip()[:1] == "[" and text.lstrip()[1:2] != "[":
        said = _conversations(text, path)
        rows = tuple(row for row in map(_shared, said) if row is not None)
        found = PromptFile(rows, "ShareGPT", answered=True, left_out=len(said) - len(rows))
    else:
        lines = ((i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip())
        found = PromptFile(tuple(_prompt_of(line, path, i) for i, line in lines), "JSON lines", answered=False)
    if not found.rows:
        raise InputError(f"{path} has no prompts; give {_KNOWN}")
    return found


def _prompt_of(line: str, path: Path, number: int) -> Row:
    value = read_json(line, path, number, kind="prompt", repair=f"give {_KNOWN}")
    if not isinstance(value, dict) or "prompt" not in value:
        raise InputError(f"{path}:{number}:1 has no `prompt`; give {_KNOWN}")
    prompt = value["prompt"]
    if not isinstance(prompt, str) or not prompt:
        raise InputError(f"{path}:{number}:1 has a `prompt` that is empty or no text; mend or delete the line")
    return Row(prompt)


def _conversations(text: str, path: Path) -> list[list[tuple[str, str]]]:
    """What was said in each, as (who, what)."""
    value = read_json(text, path, 1, kind="list of conversations", repair=f"give {_KNOWN}")
    return [_said(one, f"{path}: conversation {i}") for i, one in enumerate(value, 1)]


def _said(conversation: Any, where: str) -> list[tuple[str, str]]:
    said = conversation.get("conversations") if isinstance(conversation, dict) else None
    if not isinstance(said, list):
        raise InputError(f"{where} has no `conversations`; give {_KNOWN}")
    turns = [(one.get("from"), one.get("value")) if isinstance(one, dict) else (None, None) for one in said]
    whole = [(who, what) for who, what in turns if isinstance(who, str) and isinstance(what, str)]
    if len(whole) != len(turns):
        raise InputError(f"{where} has a turn without `from` and `value`; give {_KNOWN}")
    return whole


def _shared(said: list[tuple[str, str]]) -> Row | None:
    """The first question and its answer; None where a conversation does not begin with them."""
    if len(said) < 2:
        return None
    (asker, question), (teller, answer) = said[:2]
    whole = asker in _HUMAN and teller in _MODEL and question.strip() and answer.strip()
    return Row(question, answer) if whole else None
