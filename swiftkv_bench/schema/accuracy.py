"""Accuracy suites, the plan of an accuracy run, and the record of an item.

An item is one document of one task answered by one arm. Its raw responses are kept with it; every metric
can be computed again from them.
"""

from typing import Any, Literal

from pydantic import Field

from swiftkv_bench.schema.base import Record
from swiftkv_bench.schema.engine import Arm


class Column(Record):
    """One column of a suite's table: a task or group of lm-eval, with everything that moves its figure."""

    name: str = Field(description="column key, e.g. arc_challenge")
    title: str = Field(description="column head, e.g. ARC-Challenge")
    task: str = Field(description="lm-eval task or group name")
    metric: str = Field(description="lm-eval metric of the column: acc, acc_norm, exact_match, ...")
    filter: str = Field("none", description="lm-eval filter whose metric is read")
    num_fewshot: int = Field(description="shots", ge=0)
    chat_template: bool = Field(description="prompts go through the tokenizer's chat template")
    fewshot_as_multiturn: bool = Field(False, description="shots are turns of the conversation")
    add_bos: bool = Field(True, description="prepend the begin-of-text token where the template does not")
    documents: int = Field(description="documents of the whole task; asserted", gt=0)
    chance: float | None = Field(None, description="expected score of guessing, share of one")
    margin: float = Field(0.025, description="default non-inferiority margin, share of one", gt=0)
    weight_by: Literal["item", "task"] = Field("item", description="how a group's subtasks are averaged")


class AccuracySuite(Record):
    """`suites/accuracy/<name>/suite.yaml`; lm-eval task files of its own lie beside it."""

    name: str = Field(description="equals the folder name")
    description: str = Field(description="one line")
    protocol: str = Field(description="where the protocol comes from; rows of different suites never meet")
    published: str | None = Field(None, description="CSV of published rows made with this protocol")
    max_gen_tokens: int = Field(1024, description="generation limit where the task names none", gt=0)
    macro_margin: float = Field(0.01, description="margin of the macro average, share of one", gt=0)
    columns: tuple[Column, ...] = Field(description="in order of the table")


class AccuracyPlan(Record):
    """What an accuracy run asks of which arms."""

    kind: Literal["accuracy"] = "accuracy"
    suite: str = Field(description="suite name")
    suite_hash: str = Field(description="content hash of the suite and every task it uses")
    columns: tuple[Column, ...] = Field(description="columns asked for")
    arms: tuple[Arm, ...] = Field(description="arms, in order")
    limit: int | None = Field(None, description="items a column, the same seeded sample in all arms")
    seed: int = Field(description="seed of the item sample", ge=0)
    repeat_baseline: bool = Field(False, description="answer everything twice with the baseline (A/A)")


class ItemRecord(Record):
    """One document of one task answered by one arm, once."""

    arm: Arm = Field(description="who answered")
    repeat: int = Field(0, description="1 for the second answer of an A/A run", ge=0)
    column: str = Field(description="column key")
    task: str = Field(description="lm-eval task (the subject, for a group)")
    doc_id: int = Field(description="index of the document in the task's split", ge=0)
    doc_hash: str = Field(description="hash of the document")
    prompt_hash: str = Field(description="hash of the token ids sent (all requests of the item)")
    target_hash: str = Field(description="hash of the expected answer")
    score: float = Field(description="the column's metric for this item, 0 to 1")
    metrics: dict[str, float] = Field({}, description="all metrics lm-eval computed for this item")
    target: str = Field(description="expected answer as text")
    responses: tuple[Any, ...] = Field(description="raw: (log-likelihood, is greedy) or generated text")
    filtered: tuple[Any, ...] = Field((), description="what the column's filter made of the responses")
    prompt: str | None = Field(None, description="prompt text of the first request, for reading")
    prompt_tokens: int = Field(description="prompt tokens of all requests of the item", ge=0)
    truncated: bool = Field(False, description="a prompt was cut to fit the context")
    unfinished: bool = Field(False, description="generation ended at the token limit")
    unparsed: bool = Field(False, description="no answer could be read from the text")
    method: str = Field(description="how it was scored: generate, prompt-logprobs, one-token, forced")
