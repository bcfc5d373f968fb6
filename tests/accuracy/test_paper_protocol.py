"""Suite `paper` against the code that made the published rows: same prompts, same scores.

The goldens were computed by that code itself, lm-eval 0.4.5 of github.com/neuralmagic/lm-evaluation-harness at
6b293283, on the same data. They hold hashes and scores, no text of a data set.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from swiftkv_bench.accuracy.items import Item, build_items
from swiftkv_bench.accuracy.scores import score
from swiftkv_bench.accuracy.suites import load_suite, plan_accuracy, suite_file
from swiftkv_bench.accuracy.tasks import ColumnTasks, load_column
from swiftkv_bench.errors import ScoringError

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "goldens" / "paper_prompts.json").read_text())


class MessagePrompter:
    """Stands in for a tokenizer: a chat prompt is the JSON of its messages, every character is a token."""

    bos_id = start_id = eos_text = None

    def chat(self, history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        assert add_generation_prompt
        return json.dumps(history)

    def encode(self, texts: Iterable[str]) -> dict[str, list[int]]:
        return {text: [1] * len(text) for text in texts}


@cache
def _column_tasks(task: str, data: Path) -> ColumnTasks:
    """The column of a task, reduced to that task."""
    suite = load_suite("paper")
    plan = plan_accuracy(suite, ["baseline"], file=suite_file("paper"))
    for column in suite.columns:
        if task == column.task:
            documents = 12 if column.name == "hellaswag" else column.documents
            return load_column(plan, column.model_copy(update={"documents": documents}), data)
        subset = task.removeprefix(f"{column.task}_")
        if subset in column.subsets:
            documents = {"anatomy": 135, "world_religions": 171, "abstract_algebra": 100}[subset]
            return load_column(plan, column.model_copy(update={"subsets": (subset,), "documents": documents}), data)
    raise AssertionError(f"no column of paper has task {task}")


def _items(task: str, doc_ids: list[int], data: Path) -> list[Item]:
    return build_items(
        _column_tasks(task, data),
        [(task, i) for i in doc_ids],
        MessagePrompter(),  # type: ignore[arg-type]
        max_model_len=1_000_000,
        max_gen_tokens=1024,
    )


@pytest.fixture
def data_of(real_data: Path, hellaswag_data: Path) -> Any:
    return lambda task: hellaswag_data if task == "hellaswag" else real_data


@pytest.mark.parametrize("task", GOLDEN["prompts"])
def test_prompts_are_byte_equal_to_those_of_the_published_rows(task: str, data_of: Any) -> None:
    expected = GOLDEN["prompts"][task]
    found = {}
    for item in _items(task, [int(i) for i in expected], data_of(task)):
        arguments = [
            list(instance.args) if instance.request_type == "loglikelihood" else [instance.args[0]]
            for instance in item.instances
        ]
        found[str(item.doc_id)] = hashlib.sha256(json.dumps(arguments).encode()).hexdigest()
    assert found == expected


@pytest.mark.parametrize(
    "case", GOLDEN["scores"], ids=lambda c: f"{c['task']}-{c['doc_id']}-{str(c['responses'])[:24]}"
)
def test_scores_equal_those_of_the_published_rows(case: dict[str, Any], data_of: Any) -> None:
    column_tasks = _column_tasks(case["task"], data_of(case["task"]))
    [item] = _items(case["task"], [case["doc_id"]], data_of(case["task"]))
    responses = [r if isinstance(r, str) else (r[0], r[1]) for r in case["responses"]]
    [scored] = score(column_tasks.tasks[case["task"]], column_tasks.column, [item], [responses])
    assert scored.value == pytest.approx(case["score"], abs=1e-12)


def _truthfulqa(loglikelihoods: list[float], data: Path) -> float:
    [item] = _items("truthfulqa_mc2", [0], data)
    column_tasks = _column_tasks("truthfulqa_mc2", data)
    responses = [[(loglikelihoods[i % 3], False) for i in range(len(item.questions))]]
    [scored] = score(column_tasks.tasks["truthfulqa_mc2"], column_tasks.column, [item], responses)
    return scored.value


def test_choices_less_likely_than_a_float_can_say_are_scored_by_their_ratios(real_data: Path) -> None:
    likely = _truthfulqa([-1.0, -2.0, -3.0], real_data)
    assert 0 < likely < 1
    assert _truthfulqa([-1001.0, -1002.0, -1003.0], real_data) == pytest.approx(likely, abs=1e-12)


def test_a_score_that_is_no_number_is_refused_with_its_document(real_data: Path) -> None:
    with pytest.raises(ScoringError, match="document 0 of task truthfulqa_mc2: acc is nan"):
        _truthfulqa([float("nan"), -1.0, -2.0], real_data)


@pytest.mark.parametrize(
    "name",
    [
        "arc_challenge_llama_3.1_instruct",
        "mmlu_llama_3.1_instruct_anatomy",
        "mmlu_cot_0shot_llama_3.1_instruct_anatomy",
        "gsm8k_cot_llama_3.1_instruct",
    ],
)
def test_generation_stops_at_the_protocols_strings_and_1024_tokens(name: str, real_data: Path) -> None:
    [item] = _items(name, [0], real_data)
    [question] = item.questions
    assert question.stop == ("</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>")  # type: ignore[union-attr]
    assert question.max_tokens == 1024  # type: ignore[union-attr]


def test_shots_of_a_document_do_not_depend_on_the_sample(real_data: Path) -> None:
    [alone] = _items("winogrande", [57], real_data)
    among = {item.doc_id: item for item in _items("winogrande", [0, 3, 57], real_data)}[57]
    assert alone.prompt_text == among.prompt_text
