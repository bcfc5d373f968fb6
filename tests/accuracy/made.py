"""Suites written by a test: task files and data as a user would write them, and what an engine answers to them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.records import read_statuses
from swiftkv_bench.accuracy.run import Prepared, prepare_accuracy, run_accuracy
from swiftkv_bench.accuracy.suites import load_suite, plan_accuracy
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.accuracy import ColumnStatus, ItemRecord
from swiftkv_bench.store import Run
from tests.accuracy.toy_engine import ToyEngine

Row = dict[str, Any]

QUESTION = """
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
"""A task file of free answers, to which a test adds what it is about; a key given again replaces the first."""

CHOICE = """
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{label}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Documents as lines of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def made(folder: Path, task: str, rows: Sequence[Row], *, base: str = QUESTION, **column: Any) -> Path:
    """A suite of one column in a file `mine.yaml`, its task in `one.yaml`, its documents in `rows.jsonl`.

    Args:
        task: lines of the task file beside those of `base`.
        column: keys of the column; a key of the suite itself begins with `suite_`.
    """
    write_rows(folder / "rows.jsonl", rows)
    own = {line.split(":", 1)[0] for line in task.splitlines() if line and not line[0].isspace()}
    kept = [line for line in base.splitlines() if line.split(":", 1)[0] not in own]
    (folder / "one.yaml").write_text("\n".join([*kept, task]) + "\n")
    of_suite = {key.removeprefix("suite_"): column.pop(key) for key in list(column) if key.startswith("suite_")}
    metric = "acc" if base is CHOICE else "exact_match"
    default = {
        "name": "one", "title": "One", "task": "one", "file": "one.yaml", "metric": metric, "num_fewshot": 0,
        "chat_template": False, "add_bos": False, "documents": len(rows),
    }  # fmt: skip
    suite = {"name": "mine", "description": "d", "protocol": "p", "columns": [default | column], **of_suite}
    (folder / "mine.yaml").write_text(yaml.safe_dump(suite))
    return folder / "mine.yaml"


def with_columns(suite: Path, *columns: Row) -> Path:
    """The same suite with more columns, each the first one with some keys changed."""
    content = yaml.safe_load(suite.read_text())
    content["columns"] += [content["columns"][0] | column for column in columns]
    suite.write_text(yaml.safe_dump(content))
    return suite


def prepared(suite: Path, **plan: Any) -> Prepared:
    """What a command makes of a suite before any engine starts."""
    return prepare_accuracy(plan_accuracy(load_suite(str(suite)), ["baseline"], file=suite, **plan), None, Silent())


def reader(tokenizer: Path) -> Callable[[Sequence[int]], str]:
    """Text of token ids."""
    from transformers import PreTrainedTokenizerFast

    loaded = PreTrainedTokenizerFast.from_pretrained(tokenizer)
    return lambda ids: str(loaded.decode(list(ids)))


def answers(tokenizer: Path, texts: Mapping[str, str]) -> Callable[[list[int]], str]:
    """What an engine says to a prompt that ends with one of the given texts."""
    read = reader(tokenizer)

    def reply(prompt: list[int]) -> str:
        text = read(prompt)
        return next((answer for end, answer in texts.items() if text.endswith(end)), "")

    return reply


def run(
    suite: Path, folder: Path, engine: ToyEngine, tokenizer: Path, *, max_model_len: int = 16384
) -> tuple[list[ItemRecord], list[ColumnStatus]]:
    """Items in order of their documents, and the states of the columns."""
    target = Target(engine.url, "toy", str(tokenizer), "engine", max_model_len)
    run_accuracy(prepared(suite), {"baseline": target}, folder, Silent())
    items = sorted(Run(folder).items(), key=lambda item: (item.column, item.task, item.doc_id))
    return items, read_statuses(folder)


def ids(tokenizer: Path, text: str) -> list[int]:
    """Token ids of a text."""
    return Prompter(str(tokenizer)).encode([text])[text]
