"""Scores of a model in memory on the mini columns, by the protocol of ``columns``, without an engine.

For training; an accuracy run scores through an engine and lm-eval instead.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from swiftkv_bench.embedded.architecture import END_OF_TEXT, END_OF_TURN, SPECIAL_TOKEN_IDS
from swiftkv_bench.embedded.columns import MINI_COLUMNS, MiniColumn, Segment, evaluation_segments
from swiftkv_bench.embedded.items import Item, items
from swiftkv_bench.embedded.model import Llama
from swiftkv_bench.embedded.vocabulary import Encoder

_PADDING = SPECIAL_TOKEN_IDS[END_OF_TEXT]
_STOPS = (SPECIAL_TOKEN_IDS[END_OF_TURN], SPECIAL_TOKEN_IDS[END_OF_TEXT])


@dataclass(frozen=True)
class Evaluator:
    """Scores models on the first ``num_items`` test items of every column."""

    encoder: Encoder
    num_items: int
    rows_at_once: int = 250

    def table(self, model: Llama) -> dict[str, float]:
        """Mean score of each column, share of one, and their ``macro`` average."""
        scores = {name: self.column(model, column) for name, column in MINI_COLUMNS.items()}
        return scores | {"macro": sum(scores.values()) / len(scores)}

    @torch.no_grad()
    def column(self, model: Llama, column: MiniColumn) -> float:
        """Mean score of one column, share of one."""
        test = items(column.name, "test", self.num_items)
        if column.kind == "generate":
            scores = self._generated(model, column, test)
        elif column.kind == "blank":
            scores = self._blank(model, column, test)
        else:
            scores = self._endings(model, column, test)
        return sum(scores) / len(scores)

    def _generated(self, model: Llama, column: MiniColumn, test: Sequence[Item]) -> list[float]:
        texts = self.generate(model, [evaluation_segments(column, item) for item in test], column.max_gen_tokens or 1)
        pattern = re.compile(column.answer or "")
        scores = []
        for item, text in zip(test, texts, strict=True):
            given, wanted = pattern.search(text), pattern.search(item.target)
            scores.append(float(given is not None and wanted is not None and given[1] == wanted[1]))
        return scores

    def _blank(self, model: Llama, column: MiniColumn, test: Sequence[Item]) -> list[float]:
        asked = []
        for item in test:
            before, after = item.doc["sentence"].split("_")
            for option in (item.doc["option1"], item.doc["option2"]):
                asked.append((evaluation_segments(column, item, before + option), after))
        sums = self.continuation_logprobs(model, asked)
        return [
            float((2 if second > first else 1) == int(item.doc["answer"]))
            for item, first, second in zip(test, sums[::2], sums[1::2], strict=True)
        ]

    def _endings(self, model: Llama, column: MiniColumn, test: Sequence[Item]) -> list[float]:
        def endings(item: Item) -> list[str]:
            listed = item.doc["choices"] if column.kind == "choices" else item.doc["mc2_targets"]["choices"]
            return [str(ending) for ending in listed]

        asked = [(evaluation_segments(column, item), f" {ending}") for item in test for ending in endings(item)]
        sums = iter(self.continuation_logprobs(model, asked))
        scores = []
        for item in test:
            listed = endings(item)
            logprobs = torch.tensor([next(sums) for _ in listed])
            if column.kind == "choices":
                best = int((logprobs / torch.tensor([len(ending) for ending in listed])).argmax())
                scores.append(float(best == item.doc["label"]))
            else:
                true = torch.tensor(item.doc["mc2_targets"]["labels"], dtype=torch.bool)
                scores.append(float(logprobs.softmax(0)[true].sum()))
        return scores

    def continuation_logprobs(self, model: Llama, asked: Sequence[tuple[list[Segment], str]]) -> list[float]:
        """Log-probability, nat, of each continuation after its prompt."""
        rows = []
        for prompt, continuation in asked:
            context, ending = self.encoder.ids(prompt), self.encoder.ids([Segment(continuation)])
            rows.append((context + ending, len(context)))
        sums: list[float] = []
        for begin in range(0, len(rows), self.rows_at_once):
            part = rows[begin : begin + self.rows_at_once]
            ids = _padded([row for row, _ in part], _device(model))
            logprobs = functional.log_softmax(model(ids)[:, :-1].float(), dim=-1)
            taken = logprobs.gather(-1, ids[:, 1:, None])[..., 0]
            sums += [float(taken[index, start - 1 : len(row) - 1].sum()) for index, (row, start) in enumerate(part)]
        return sums

    def generate(self, model: Llama, prompts: Sequence[list[Segment]], max_tokens: int) -> list[str]:
        """Greedy continuation of each prompt up to a stop token."""
        texts: list[str] = []
        for begin in range(0, len(prompts), self.rows_at_once):
            part = [self.encoder.ids(prompt) for prompt in prompts[begin : begin + self.rows_at_once]]
            for ids in _greedy(model, part, max_tokens):
                texts.append(self.encoder.decode(ids))
        return texts


def _greedy(model: Llama, prompts: list[list[int]], max_tokens: int) -> list[list[int]]:
    device = _device(model)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    room = [[*prompt, *[_PADDING] * max_tokens] for prompt in prompts]
    ids = _padded(room, device)
    row = torch.arange(len(prompts), device=device)
    stops = torch.tensor(_STOPS, device=device)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for step in range(max_tokens):
        last = model.hidden(ids[:, : int(lengths.max()) + step])[row, lengths + step - 1]
        chosen = model.logits(last).argmax(-1)
        done |= torch.isin(chosen, stops)
        if bool(done.all()):
            break
        ids[row, lengths + step] = torch.where(done, _PADDING, chosen)
    return [
        [token for token in ids[index, len(prompt) :].tolist() if token != _PADDING]
        for index, prompt in enumerate(prompts)
    ]


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    length = max(len(row) for row in rows)
    return torch.tensor([[*row, *[_PADDING] * (length - len(row))] for row in rows], device=device)


def _device(model: Llama) -> torch.device:
    return model.model.embed_tokens.weight.device
