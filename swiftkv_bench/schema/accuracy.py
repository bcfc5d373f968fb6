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
    task: str = Field(description="name of the task, or of the group its subsets form")
    file: str = Field(
        description="lm-eval task file: beside suite.yaml, or `lm_eval:<path>` among lm-eval's own tasks; "
        "`{subset}` stands for the subset"
    )
    subsets: tuple[str, ...] = Field(
        (), description="one task each, named <task>_<subset>; the subset is the data set's configuration"
    )
    metric: str = Field(description="lm-eval metric of the column: acc, acc_norm, exact_match, ...")
    filter: str = Field("none", description="lm-eval filter whose metric is read")
    num_fewshot: int = Field(description="shots", ge=0)
    chat_template: bool = Field(description="prompts go through the tokenizer's chat template")
    fewshot_as_multiturn: bool = Field(False, description="shots are turns of the conversation")
    add_bos: bool = Field(True, description="prepend the begin-of-text token where the template does not")
    documents: int = Field(description="documents of the column, all subsets together; asserted", gt=0)
    chance: float | None = Field(None, description="expected score of guessing, share of one")
    margin: float = Field(0.025, description="default non-inferiority margin, share of one", gt=0)
    weight_by: Literal["item", "task"] = Field("item", description="how a group's subtasks are averaged")


class AccuracySuite(Record):
    """`suites/accuracy/<name>/suite.yaml`; task files of its own lie beside it."""

    name: str = Field(description="equals the folder name")
    description: str = Field(description="one line")
    protocol: str = Field(description="where the protocol comes from; rows of different suites never meet")
    published: str | None = Field(None, description="CSV of published rows made with this protocol")
    max_gen_tokens: int = Field(1024, description="generation limit where the task names none", gt=0)
    macro_margin: float = Field(0.01, description="margin of the macro average, share of one", gt=0)
    columns: tuple[Column, ...] = Field(description="in order of the table")


ScoringMethod = Literal["generation", "choice tokens", "forced decode", "prompt logprobs", "one-token requests"]
"""How the answers of a column were obtained.

`generation`: greedy text. `choice tokens`: one request gives the log-probability of every one-token choice.
`forced decode`: the engine emits the given continuation and reports each token's log-probability.
`prompt logprobs`: the server scores the prompt's own tokens; only where the honesty probe passed.
`one-token requests`: one request for each token of a continuation.
"""


ColumnState = Literal["complete", "ended early", "incomplete", "not run"]
"""How far a column got; `ended early`: its verdicts were reached, so the rest was not asked."""


NO_DATA = "data not present"
"""How the reason of a column begins that is not run because its data are not at hand."""


class ColumnStatus(Record):
    """How far one column got on one arm, and what must be known to read its figure."""

    arm: Arm = Field(description="who answered")
    repeat: int = Field(0, description="1 for the second answer of an A/A run", ge=0)
    column: str = Field(description="column key")
    status: ColumnState = Field(description="how far it got")
    reason: str | None = Field(None, description="why it is not complete, one sentence")
    engine_key: str | None = Field(None, description="identity of the engine that answered: model and configuration")
    methods: tuple[ScoringMethod, ...] = Field((), description="how answers were obtained")
    items: int = Field(0, description="items answered", ge=0)
    items_asked: int = Field(0, description="items of the plan: the limit or the whole task", ge=0)
    requests: int = Field(0, description="requests sent in the last session that asked anything", ge=0)
    requests_from_journal: int = Field(0, description="answers that session took from the journal instead", ge=0)
    seconds: float | None = Field(None, description="time of the last session that asked anything, seconds")
    task_hashes: dict[str, str] = Field({}, description="task -> hash of its resolved configuration and data")


class AccuracyPlan(Record):
    """What an accuracy run asks of which arms."""

    kind: Literal["accuracy"] = "accuracy"
    suite: str = Field(description="suite name")
    suite_hash: str = Field(description="content hash of the suite and every task it uses")
    source: str | None = Field(None, description="file of a suite of the user's own; None for a shipped one")
    protocol: str = Field("", description="as the suite says")
    published: str | None = Field(None, description="as the suite says")
    max_gen_tokens: int = Field(1024, description="as the suite says", gt=0)
    macro_margin: float = Field(0.01, description="as the suite says", gt=0)
    columns: tuple[Column, ...] = Field(description="columns asked for")
    arms: tuple[Arm, ...] = Field(description="arms, in order")
    limit: int | None = Field(None, description="items a column, the same seeded sample in all arms")
    seed: int = Field(description="seed of the item sample", ge=0)
    repeat_baseline: bool = Field(False, description="answer everything twice with the baseline (A/A)")
    stop_when_decided: bool = Field(
        False, description="after each tenth of a column see whether its verdicts are reached, and end it then"
    )

    def planned(self, column: Column) -> int:
        """Items of a column that each arm is to answer."""
        return column.documents if self.limit is None else min(self.limit, column.documents)


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
    choices: tuple[str, ...] = Field(
        (), description="what each log-likelihood is of: the text after the beginning that all share; for reading"
    )
    prompt_tokens: int = Field(description="prompt tokens of all requests of the item", ge=0)
    truncated: bool = Field(False, description="a prompt was cut to fit the context")
    unfinished: bool = Field(False, description="generation ended at the token limit")
    unparsed: bool = Field(False, description="no answer could be read from the text")
    method: ScoringMethod = Field(description="how the answer was obtained")
