"""Text that a model writes itself: dialogues and continuations from the user's seeds, as rows files.

Leaves the writing of a batch to ``sampling``.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from swiftkv_bench.embedded.encoding import excluded_passages
from swiftkv_bench.embedded.llama_folder import LlamaFolder
from swiftkv_bench.embedded.model import Llama
from swiftkv_bench.embedded.overlap import Passages
from swiftkv_bench.embedded.row_file import write_rows
from swiftkv_bench.embedded.sampling import Plan, Sampler, Turns
from swiftkv_bench.embedded.twin import read_tokenizer
from swiftkv_bench.errors import InputError, writing
from swiftkv_bench.observer import Observer

#: Each row has one of these, in turn: from nearly greedy, as evaluation is, to the model's own distribution.
TEMPERATURES = (0.4, 0.7, 0.9, 1.0)

#: Tokens of a rows file: below 16 MB when compressed.
_FILE_TOKENS = 10_000_000


@dataclass(frozen=True)
class SampleSettings:
    """How much to write and how.

    Attributes:
        rows: to write.
        row_tokens: of each.
        batch_rows: written at once.
        budget_s: seconds after which no batch is begun that would end later; None: no limit.
        seed: of the seeds' order and the sampling.
    """

    rows: int
    row_tokens: int
    batch_rows: int
    budget_s: float | None
    seed: int


@dataclass(frozen=True)
class Written:
    """What was written, the rows left out, and tokens of both a second of sampling."""

    files: int
    rows: int
    tokens: int
    excluded: int
    tokens_per_s: float


@dataclass(frozen=True)
class Seed:
    """What a row begins with, and whose turn is open then."""

    ids: list[int]
    assistant: bool


def write_samples(
    model: Path, seeds: Path, out: Path, settings: SampleSettings, exclude: Path | None, observer: Observer
) -> Written:
    """Write rows files at ``out`` (and numbered siblings) with what the model writes from the seeds.

    Raises:
        InputError: model, seeds or the excluded text cannot be read, or `out` cannot be written.
    """
    tokenizer, passages = read_tokenizer(model), excluded_passages(exclude)
    found = read_seeds(seeds, tokenizer, settings.row_tokens // 2)
    turns = turns_of(tokenizer)
    source = LlamaFolder(model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device("meta"):
        base = Llama(source.shape)
    base.load_state_dict({name: tensor.to(device, dtype) for name, tensor in source.weights().items()}, assign=True)
    sampler = Sampler(base, settings.batch_rows, settings.row_tokens)
    on_device = None if turns is None else Turns(turns.end, turns.follow.to(device))
    begun = time.perf_counter()
    batches: list[npt.NDArray[np.int64]] = []
    order = np.random.default_rng(settings.seed)
    generator = torch.Generator(device).manual_seed(settings.seed)
    while (done := len(batches)) * settings.batch_rows < settings.rows:
        spent = time.perf_counter() - begun
        if settings.budget_s is not None and done > 0 and spent * (done + 1) / done > settings.budget_s:
            break
        rate = done * settings.batch_rows * settings.row_tokens / max(spent, 1e-9)
        text = f"{done * settings.batch_rows} of {settings.rows} rows, {rate:,.0f} tokens/s"
        observer.progress("sample", text, done * settings.batch_rows, settings.rows)
        plan = _plan(found, settings, order, device)
        batches.append(sampler(plan, on_device, generator).cpu().numpy())
    observer.finish("sample")
    rate = len(batches) * settings.batch_rows * settings.row_tokens / (time.perf_counter() - begun)
    ids = np.concatenate(batches)[: settings.rows]
    kept = _free_of(passages, ids, tokenizer)
    excluded = len(ids) - len(kept)
    with writing(out, "choose another file with --out"):
        files = _write(out, kept)
    return Written(files, len(kept), kept.size, excluded, rate)


def _free_of(passages: Passages, ids: npt.NDArray[np.int64], tokenizer: Any) -> npt.NDArray[np.int64]:
    if len(passages) == 0:
        return ids
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return ids[[not passages.occur_in(text) for text in texts]]


def _write(out: Path, ids: npt.NDArray[np.int64]) -> int:
    rows = max(1, _FILE_TOKENS // ids.shape[1])
    for number, begin in enumerate(range(0, len(ids), rows)):
        path = out if len(ids) <= rows else out.with_name(f"{out.stem}-{number}{out.suffix}")
        write_rows(path, ids[begin : begin + rows])
    files: int = math.ceil(len(ids) / rows)
    return files


def read_seeds(path: Path, tokenizer: Any, longest: int) -> list[Seed]:
    """What rows begin with.

    A line with ``messages`` whose last is the user's is answered; one whose last is another's (or none at all) has
    the model ask; one with ``text`` is gone on with. Longer ones are left out.

    Raises:
        InputError: the file cannot be read, a line is neither, or none is left.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"--seeds {path} cannot be read ({e}): give a .jsonl file.") from e
    markers = _markers(tokenizer)
    seeds = []
    for number, line in enumerate(lines, 1):
        try:
            seed = _seed(json.loads(line), tokenizer, markers)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise InputError(f"--seeds {path}:{number} has neither text nor messages ({e!r}): repair the line.") from e
        if 0 < len(seed.ids) <= longest:
            seeds.append(seed)
    if not seeds:
        raise InputError(f"--seeds {path} has no line of at most {longest} tokens: give shorter ones.")
    return seeds


def _seed(entry: dict[str, Any], tokenizer: Any, markers: tuple[str, str, str] | None) -> Seed:
    if "text" in entry:
        return Seed(list(tokenizer(entry["text"])["input_ids"]), assistant=True)
    messages = entry["messages"]
    if markers is None:
        raise ValueError("the model has no chat template")
    asked = bool(messages) and messages[-1]["role"] == "user"
    if asked:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    elif messages and messages[-1]["role"] == "assistant":
        text = tokenizer.apply_chat_template(messages, tokenize=False).rstrip("\n") + markers[2]
    else:
        text = tokenizer.apply_chat_template([*messages, {"role": "user", "content": "\0"}], tokenize=False)
        text = text.split("\0")[0]
    return Seed(list(tokenizer(text, add_special_tokens=False)["input_ids"]), assistant=asked)


def _markers(tokenizer: Any) -> tuple[str, str, str] | None:
    """What ends a turn, and what stands between it and the assistant's next one, and the user's; None: no chat."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    turns = [
        {"role": role, "content": mark} for role, mark in zip(("user", "assistant", "user"), "\1\2\3", strict=True)
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    first, second = text.split("\1")[1].split("\2")[0], text.split("\2")[1].split("\3")[0]
    end = tokenizer.eos_token if first.startswith(tokenizer.eos_token) else first.split("\n")[0]
    return end, first.removeprefix(end), second.removeprefix(end)


def turns_of(tokenizer: Any) -> Turns | None:
    """The turns of the model's chat template; None where it has none.

    Raises:
        InputError: the template ends a turn by more than one token.
    """
    markers = _markers(tokenizer)
    if markers is None:
        return None
    end, *follow = ([*tokenizer(part, add_special_tokens=False)["input_ids"]] for part in markers)
    if len(end) != 1:
        raise InputError("the chat template ends a turn with more than one token: only one is supported.")
    width = max(map(len, follow))
    padded = torch.full((2, width), -1, dtype=torch.int64)
    for row, ids in enumerate(follow):
        padded[row, : len(ids)] = torch.tensor(ids)
    return Turns(end[0], padded)


def _plan(seeds: Sequence[Seed], settings: SampleSettings, order: np.random.Generator, device: torch.device) -> Plan:
    forced = torch.full((settings.batch_rows, settings.row_tokens), -1, dtype=torch.int64)
    picked = [seeds[index] for index in order.choice(len(seeds), settings.batch_rows)]
    for row, seed in enumerate(picked):
        forced[row, : len(seed.ids)] = torch.tensor(seed.ids)
    return Plan(
        forced.to(device),
        torch.tensor([seed.assistant for seed in picked], device=device),
        torch.tensor([TEMPERATURES[row % len(TEMPERATURES)] for row in range(settings.batch_rows)], device=device),
    )
