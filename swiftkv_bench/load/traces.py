"""Recorded traffic: files that say when requests came and how long they were.

Four published formats are told by their first line. `_CSV` is the table of those in columns; Mooncake's is JSON lines.

- Mooncake (https://github.com/kvcache-ai/Mooncake): `timestamp` in milliseconds, `input_length`, `output_length` and,
  where prompts share prefixes, `hash_ids`, one a block of 512 tokens.
- Azure LLM inference (https://github.com/Azure/AzurePublicDataset): `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`.
- BurstGPT (https://github.com/HPMLL/BurstGPT): `Timestamp` in seconds, `Request tokens`, `Response tokens`.
"""

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.json_text import read_json
from swiftkv_bench.schema.requests import Float, Int

BLOCK_TOKENS = 512
"""Tokens of a prompt that one of Mooncake's hash ids stands for."""
_LONGEST = 1_000_000_000
_MS_PER_S = 1e3
_KNOWN = "Mooncake JSON lines, Azure LLM inference CSV or BurstGPT CSV"
_KEYS = ("timestamp", "input_length", "output_length")


@dataclass(frozen=True)
class Trace:
    """A recorded sequence of requests, in order of time."""

    at_s: Float
    """shape (n,): arrival times, 0 at the first."""
    input_tokens: Int
    """shape (n,): prompt lengths."""
    output_tokens: Int
    """shape (n,): output lengths."""
    hash_ids: tuple[tuple[int, ...], ...] | None = None
    """One id a block of `BLOCK_TOKENS` of each prompt: equal first ids, equal prefixes. None: nothing is shared."""
    format: str = "Mooncake"
    unit: str = "milliseconds"
    """How the file writes times."""
    left_out: int = 0
    """Rows without an answer, which are not sent."""

    def __len__(self) -> int:
        return len(self.at_s)

    def first(self, n: int) -> "Trace":
        """The first `n` requests."""
        ids = None if self.hash_ids is None else self.hash_ids[:n]
        return replace(
            self, at_s=self.at_s[:n], input_tokens=self.input_tokens[:n], output_tokens=self.output_tokens[:n],
            hash_ids=ids,
        )  # fmt: skip

    @property
    def expected_hits(self) -> float | None:
        """Prompt tokens in blocks seen before, but for the last token / prompt tokens; None without hash ids."""
        if self.hash_ids is None:
            return None
        nodes: dict[tuple[int, int], int] = {}
        found = 0
        for tokens, ids in zip(self.input_tokens.tolist(), self.hash_ids, strict=True):
            known, node, size = 0, 0, len(nodes)
            for one in ids:
                node = nodes.setdefault((node, one), len(nodes) + 1)
                known += node <= size
            found += min(known * BLOCK_TOKENS, tokens - 1)
        return found / int(self.input_tokens.sum())


@dataclass(frozen=True)
class _Row:
    at_s: float
    inputs: int
    outputs: int
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class _Csv:
    """A format in columns: where time and lengths stand, and how a time is written."""

    format: str
    columns: tuple[str, str, str]
    seconds: Callable[[str], float]
    unit: str


def _utc(text: str) -> float:
    """Seconds of `2023-11-16 18:15:46.6805900`; digits beyond microseconds count as well."""
    whole, dot, rest = text.strip().partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    stamp = datetime.fromisoformat(whole + rest[len(digits) :])
    fraction = float(f"0.{digits}") if dot and digits else 0.0
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() + fraction


_CSV = (
    _Csv("Azure LLM inference", ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _utc, "date and time"),
    _Csv("BurstGPT", ("Timestamp", "Request tokens", "Response tokens"), float, "seconds"),
)


def read_trace(path: Path) -> Trace:
    """The requests of a trace, read once as long as it does not change.

    Rows without an answer (a recorded failure) are left out and counted.

    Raises:
        InputError: the file cannot be read or is of none of the formats, a value cannot be used, or times go back.
            The message says line and column.
    """
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"cannot read the trace {path}: {e}; give {_KNOWN}") from e


@lru_cache(maxsize=2)
def _read(path: Path, _: int) -> Trace:
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith("["):
        raise InputError(
            f"{path}:1:1 begins a JSON array, which no trace does; conversations without times go to --prompts, traces "
            f"are {_KNOWN}"
        )
    if first.lstrip().startswith("{"):
        return _traced(path, _mooncake_rows(lines, path), "Mooncake", "milliseconds")
    names = [name.strip() for name in next(csv.reader([first]), [])]
    for kind in _CSV:
        if set(kind.columns) <= set(names):
            return _traced(path, _csv_rows(lines, path, kind), kind.format, kind.unit)
    told = f"has the columns {', '.join(names)}" if first else "is empty"
    raise InputError(f"the trace {path} {told}, which is none of {_KNOWN}; give a file with its first line")


def _traced(path: Path, rows: Iterator[tuple[str, _Row]], kind: str, unit: str) -> Trace:
    kept: list[_Row] = []
    before, left_out = -math.inf, 0
    for where, row in rows:
        if row.at_s < before:
            raise InputError(f"{where} goes back in time; sort the trace by its times")
        before = row.at_s
        if row.outputs:
            kept.append(row)
        else:
            left_out += 1
    if not kept:
        raise InputError(f"the trace {path} has no requests; give a file with at least one that was answered")
    ids = tuple(row.ids for row in kept if row.ids is not None)
    if ids and len(ids) != len(kept):
        raise InputError(f"the trace {path} has hash_ids in {len(ids)} of {len(kept)} lines; give them in all or none")
    return Trace(
        at_s=np.array([row.at_s - kept[0].at_s for row in kept]),
        input_tokens=np.array([row.inputs for row in kept], dtype=np.int64),
        output_tokens=np.array([row.outputs for row in kept], dtype=np.int64),
        hash_ids=ids or None,
        format=kind,
        unit=unit,
        left_out=left_out,
    )


def _mooncake_rows(lines: Sequence[str], path: Path) -> Iterator[tuple[str, _Row]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = read_json(line, path, number, kind="request", repair="mend or delete the line")
            yield f"{path}:{number}", _mooncake_row(row, line, f"{path}:{number}")


def _mooncake_row(row: Any, line: str, where: str) -> _Row:
    missing = [key for key in _KEYS if not isinstance(row, dict) or key not in row]
    if missing:
        raise InputError(f"{where}:1 has no {', no '.join(missing)}; a line needs {', '.join(_KEYS)}")
    stamp, inputs, outputs = (_number(row[key], key, f"{where}:{line.find(json.dumps(key)) + 1}") for key in _KEYS)
    at = f"{where}:{line.find(json.dumps('hash_ids')) + 1}"
    of_length = f"{where}:{line.find(json.dumps(_KEYS[1])) + 1}"
    return _row(stamp / _MS_PER_S, inputs, outputs, of_length, _hash_ids(row.get("hash_ids"), inputs, at))


def _number(value: object, name: str, where: str) -> float:
    # math.isfinite raises for a whole number that no float holds.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise InputError(f"{where} has {name} {value!r}, which is no number; mend or delete the line")
    return value


def _row(at_s: float, inputs: float, outputs: float, where: str, ids: tuple[int, ...] | None = None) -> _Row:
    whole = inputs == int(inputs) and outputs == int(outputs)
    if not (whole and 1 <= inputs <= _LONGEST and 0 <= outputs <= _LONGEST and math.isfinite(at_s)):
        raise InputError(
            f"{where} has {inputs:g} prompt and {outputs:g} output tokens, a length that no model takes; mend or "
            "delete the line"
        )
    return _Row(at_s, int(inputs), int(outputs), ids)


def _hash_ids(value: object, inputs: float, where: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in value):
        raise InputError(f"{where} has hash_ids that are no list of whole numbers; mend or delete the line")
    if len(value) != math.ceil(inputs / BLOCK_TOKENS):
        raise InputError(
            f"{where} has {len(value)} hash_ids for {inputs:,.0f} prompt tokens; one is meant for each block of "
            f"{BLOCK_TOKENS}"
        )
    return tuple(value)


def _csv_rows(lines: Sequence[str], path: Path, kind: _Csv) -> Iterator[tuple[str, _Row]]:
    reader = csv.reader(lines)
    names = [name.strip() for name in next(reader)]
    places = [names.index(name) for name in kind.columns]
    read: Mapping[str, Callable[[str], float]] = dict(zip(kind.columns, (kind.seconds, float, float), strict=True))
    for values in reader:
        if not values or values == [""]:
            continue
        where, found = f"{path}:{reader.line_num}", []
        for name, place in zip(kind.columns, places, strict=True):
            text = values[place].strip() if place < len(values) else ""
            try:
                found.append(_number(read[name](text), name, f"{where}:{place + 1}"))
            except ValueError as e:
                raise InputError(
                    f"{where}:{place + 1} (line, column) has {name} {text!r}, not {_meant(name, kind)}; mend or "
                    "delete the row"
                ) from e
        yield where, _row(found[0], found[1], found[2], f"{where}:{places[1] + 1}")


def _meant(name: str, kind: _Csv) -> str:
    return f"a time ({kind.unit})" if name == kind.columns[0] else "a number of tokens"
