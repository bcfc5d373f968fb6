"""Accuracy suites, the plan of an accuracy run, and the record of an item.

An item is one document of one task answered by one arm. Its raw responses are kept with it; every metric
can be computed again from them.
"""

from typing import Any, Literal

from pydantic import Field

from swiftkv_bench.schema.base import Record
from swiftkv_bench.schema.engine import Arm

Aggregation = Literal[
    "mean", "brier_score", "perplexity", "weighted_perplexity", "bits_per_byte", "f1", "matthews_corrcoef",
    "bleu", "chrf", "chrf++", "ter",
]  # fmt: skip
"""lm-eval's name of what makes a column's figure of its items; `brier_score` is a mean too. See `stats.aggregates`."""


class Measure(Record):
    """What a column's figure is: which end is better, how items make it, and what values it can have."""

    higher_is_better: bool = Field(True, description="False where a larger figure is a worse one: error, perplexity")
    aggregation: Aggregation = Field("mean", description="how the values of items become the column's figure")
    low: float | None = Field(0.0, description="smallest possible figure; None: no bound")
    high: float | None = Field(1.0, description="largest possible figure; None: no bound")

    @property
    def is_share(self) -> bool:
        """A figure between 0 and 1, shown in per cent."""
        return (self.low, self.high) == (0.0, 1.0)

    @property
    def is_mean(self) -> bool:
        """The figure is the mean of the items' scores."""
        return self.aggregation in ("mean", "brier_score")


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
    chance: float | None = Field(None, description="expected score of guessing, in the metric's unit")
    margin: float = Field(0.025, description="default non-inferiority margin, in the metric's unit", gt=0)
    weight_by: Literal["item", "task"] = Field("item", description="how a group's subtasks are averaged")
    range: tuple[float | None, float | None] | None = Field(
        None, description="smallest and largest possible figure of a metric that lm-eval does not define"
    )
    group_by: str | None = Field(
        None, description="field of a document whose value groups items that are not independent, e.g. a passage"
    )
    measure: Measure = Field(Measure(), description="what the figure is, as the task says; not set in a suite's file")


class AccuracySuite(Record):
    """`suites/accuracy/<name>/suite.yaml`; task files of its own lie beside it."""

    name: str = Field(description="equals the folder name")
    description: str = Field(description="one line")
    protocol: str = Field(description="where the protocol comes from; rows of different suites never meet")
    published: str | None = Field(None, description="CSV of published rows made with this protocol")
    max_gen_tokens: int = Field(1024, description="generation limit where the task names none", gt=0)
    macro_margin: float = Field(0.01, description="margin of the macro average, share of one", gt=0)
    think_end_token: str | None = Field(
        None, description="text after which a generated answer begins, e.g. </think>; lm-eval's word"
    )
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


class Notice(Record):
    """Something that bears on a column's figures, and how often: what lm-eval warned of, prompts that were cut."""

    code: str = Field(description="kind, e.g. token-border")
    text: str = Field(description="what it is, one sentence")
    count: int = Field(1, description="items or documents it is about", ge=1)


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
    notices: tuple[Notice, ...] = Field((), description="what bears on the figures")


class DataSource(Record):
    """Where the documents of a task came from, and what they were."""

    dataset: str = Field(
        description="repository, folder or loader as the task names it; `made by the task` for its own"
    )
    name: str | None = Field(None, description="the data set's configuration")
    revision: str | None = Field(None, description="revision that the task pins")
    files: dict[str, str] = Field({}, description="file of the user's own -> its SHA-256")
    documents: int = Field(description="documents", ge=0)
    content_hash: str = Field(description="hash of all documents, as the task sees them")


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
    think_end_token: str | None = Field(None, description="as the suite says")
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
    score: float = Field(
        description="the column's metric for this item; of a metric that is no mean of items, the figure of this item "
        "alone, for reading"
    )
    parts: tuple[float, ...] = Field(
        (), description="what the column's aggregation takes of this item: `stats.aggregates`; empty for a mean"
    )
    cluster: str | None = Field(
        None, description="what the item shares with others: its document's hash, its group's, or its subset's"
    )
    metrics: dict[str, float] = Field({}, description="all metrics lm-eval computed for this item that are numbers")
    target: str = Field(description="expected answer as text")
    responses: tuple[Any, ...] = Field(description="raw: (log-likelihood, is greedy) or generated text")
    filtered: tuple[Any, ...] = Field((), description="what the column's filter made of the responses")
    prompt: str | None = Field(None, description="prompt text of the first request, for reading")
    choices: tuple[str, ...] = Field(
        (), description="what each log-likelihood is of: the text after the beginning that all share; for reading"
    )
    prompt_tokens: int = Field(description="prompt tokens of all requests of the item", ge=0)
    seeds: tuple[int, ...] = Field((), description="seed of each sampled answer; empty for greedy ones")
    score_before: float | None = Field(None, description="the score that `accuracy --rescore` replaced")
    truncated: bool = Field(False, description="a prompt was cut to fit the context")
    border: bool = Field(False, description="a token spans a context and its continuation")
    unfinished: bool = Field(False, description="generation ended at the token limit")
    unparsed: bool = Field(False, description="no answer could be read from the text")
    method: ScoringMethod = Field(description="how the answer was obtained")
