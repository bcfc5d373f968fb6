"""Items of the mini columns: seeded, in two splits without a common item, each with one right answer."""

import random
from itertools import islice

import pytest

from swiftkv_bench.embedded.columns import MINI_COLUMNS, shots
from swiftkv_bench.embedded.generators import GENERATORS
from swiftkv_bench.embedded.items import items, split_of, stream
from swiftkv_bench.embedded.world import FACTS
from swiftkv_bench.errors import InputError

COLUMNS = sorted(GENERATORS)


@pytest.mark.parametrize("column", COLUMNS)
def test_same_seed_gives_same_items(column: str) -> None:
    assert items(column, "test", 20, seed=5) == items(column, "test", 20, seed=5)
    assert items(column, "test", 20, seed=5) != items(column, "test", 20, seed=6)


@pytest.mark.parametrize("column", COLUMNS)
def test_test_split_has_500_different_items_that_training_cannot_draw(column: str) -> None:
    asked = {item.key for item in items(column, "test", 500)}
    assert len(asked) == 500
    assert {split_of(key) for key in asked} == {"test"}
    drawn = {item.key for item in islice(stream(column, "train", random.Random(0)), 5000)}
    assert not drawn & asked


@pytest.mark.parametrize("column", COLUMNS)
def test_shots_are_of_the_train_split(column: str) -> None:
    assert len(shots(column)) == MINI_COLUMNS[column].num_fewshot
    assert all(split_of(shot.key) == "train" for shot in shots(column))


@pytest.mark.parametrize("column", COLUMNS)
def test_splits_share_no_prompt(column: str) -> None:
    tested = {item.prompt for item in items(column, "test", 500)}
    assert not tested & {item.prompt for item in islice(stream(column, "train", random.Random(1)), 5000)}


def test_knowledge_answers_are_the_facts_of_the_world() -> None:
    values = {fact for facts in FACTS.values() for fact in facts.values()}
    for item in items("mini_mmlu", "test", 200):
        options = [line.split(". ", 1)[1] for line in item.prompt.splitlines()[1:]]
        right = options[item.doc["answer"]]
        facts = FACTS[item.doc["subject"]]
        if right in values:
            who = next(word.rstrip("?") for word in item.prompt.splitlines()[0].split() if word.rstrip("?") in facts)
            assert facts[who] == right
        else:
            value = item.prompt.splitlines()[0].split()[-1].rstrip("?")
            assert [option for option in options if facts[option] == value] == [right]


def test_sums_add_up_to_the_final_answer() -> None:
    for item in items("mini_gsm8k", "test", 200):
        steps, final = item.target.split("####")
        last = 0
        for step in (step for step in steps.split(". ") if "=" in step):
            sum_, amount = step.split(" has ")[1].split("=")
            left, right = (int(part) for part in sum_.replace("*", "+").replace("-", "+").split("+"))
            last = left * right if "*" in sum_ else left - right if "-" in sum_ else left + right
            assert last == int(amount.strip(" ."))
        assert last == int(final)


def test_only_one_ending_fits_the_opened_box() -> None:
    for item in items("mini_hellaswag", "test", 200):
        opened = item.prompt.split(" opened the ")[1].split(" box")[0]
        facts = [fact.split() for fact in item.prompt.removeprefix("Today ").split(". ")[:-1]]
        who, thing = next((fact[0], fact[3]) for fact in facts if fact[6] == opened)
        fitting = [choice for choice in item.doc["choices"] if choice == f"and gave the {thing} back to {who}."]
        assert fitting == [item.doc["choices"][item.doc["label"]]]
        assert len(set(item.doc["choices"])) == 4


def test_unknown_column_and_split_are_refused() -> None:
    with pytest.raises(InputError, match="no mini column 'arc'"):
        items("arc", "test", 1)
    with pytest.raises(InputError, match="no split 'valid'"):
        items("mini_arc", "valid", 1)
