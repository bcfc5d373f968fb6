"""Scores in memory: the shipped baseline knows its tasks, its twin before distillation does not."""

import pytest
import torch

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE
from swiftkv_bench.embedded.columns import MINI_COLUMNS, Segment, document_start, evaluation_segments
from swiftkv_bench.embedded.distill import rewired
from swiftkv_bench.embedded.evaluate import Evaluator
from swiftkv_bench.embedded.items import items
from swiftkv_bench.embedded.model import Llama
from swiftkv_bench.embedded.shipped import SHIPPED_FOLDER, ShippedWeights
from swiftkv_bench.embedded.vocabulary import Encoder
from swiftkv_bench.embedded.weights_io import torch_tensor

SHIPPED = ShippedWeights(SHIPPED_FOLDER)
EVALUATOR = Evaluator(Encoder(SHIPPED.tokenizer()), num_items=8)


@pytest.fixture(scope="module")
def baseline() -> Llama:
    model = Llama(EMBEDDED_SHAPE)
    model.load_state_dict({name: torch_tensor(raw) for name, raw in SHIPPED.baseline().items()})
    return model


@pytest.mark.parametrize("name", ["mini_arc", "mini_winogrande", "mini_hellaswag", "mini_truthfulqa", "mini_mmlu"])
def test_baseline_knows_the_column(name: str, baseline: Llama) -> None:
    assert EVALUATOR.column(baseline, MINI_COLUMNS[name]) > 0.85


def test_distillation_is_what_keeps_the_twin_answering(baseline: Llama) -> None:
    undistilled = rewired(baseline, 4)
    assert EVALUATOR.column(undistilled, MINI_COLUMNS["mini_mmlu"]) <= 0.75
    twin = Llama(EMBEDDED_SHAPE, 4)
    twin.load_state_dict({name: torch_tensor(raw) for name, raw in SHIPPED.twin(4, distilled=True).items()})
    assert EVALUATOR.column(twin, MINI_COLUMNS["mini_mmlu"]) > 0.85


def test_generation_answers_whole_and_stops_at_the_end_of_the_turn(baseline: Llama) -> None:
    column = MINI_COLUMNS["mini_mmlu_cot"]
    item = items("mini_mmlu_cot", "test", 1)[0]
    with torch.no_grad():
        assert EVALUATOR.generate(baseline, [evaluation_segments(column, item)], 48) == [item.target]


def test_padding_does_not_move_a_logprob(baseline: Llama) -> None:
    short = ([document_start(), Segment("Story: Ada has the owl.")], "\nQ: What does Ada have?")
    long = ([document_start(), Segment("Story: Ada has the owl. Ben has the fox. Carl has the cat.")], "\nQ: Who?" * 9)
    with torch.no_grad():
        alone = [EVALUATOR.continuation_logprobs(baseline, [asked])[0] for asked in (short, long)]
        assert EVALUATOR.continuation_logprobs(baseline, [short, long]) == pytest.approx(alone, abs=1e-3)
