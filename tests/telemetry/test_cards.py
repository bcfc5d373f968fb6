"""Which GPUs are an engine's: CUDA's words for them, and vLLM's ranks."""

import pytest

from swiftkv_bench.provenance import parse_accelerators
from swiftkv_bench.telemetry.cards import engine_cards, is_one_of, share_a_card, visible_cards


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("1, 3", ("1", "3")),
        ("GPU-5a1e,GPU-77", ("GPU-5a1e", "GPU-77")),
        ("MIG-41b4", ("MIG-41b4",)),
        ("", ()),
        ("-1", ()),
        ("0,-1,2", ("0",)),
        ("NoDevFiles", ()),
    ],
)
def test_cards_are_seen_up_to_the_first_word_that_names_none(given: str, seen: tuple[str, ...]) -> None:
    assert visible_cards({"CUDA_VISIBLE_DEVICES": given}) == seen


def test_an_environment_that_does_not_say_shows_all_cards() -> None:
    assert visible_cards({}) is None


@pytest.mark.parametrize(
    ("env", "args", "cards"),
    [
        ({}, {}, ("0",)),
        ({}, {"tensor-parallel-size": 4}, ("0", "1", "2", "3")),
        ({}, {"tensor-parallel-size": "2", "pipeline-parallel-size": "2"}, ("0", "1", "2", "3")),
        ({"CUDA_VISIBLE_DEVICES": "4,5,6,7"}, {"tensor-parallel-size": "2"}, ("4", "5")),
        ({"CUDA_VISIBLE_DEVICES": "4,5"}, {"data-parallel-size": 2}, ("4", "5")),
    ],
)
def test_an_engine_has_a_card_a_rank(env: dict[str, str], args: dict[str, object], cards: tuple[str, ...]) -> None:
    assert engine_cards(env, args) == cards


def test_a_card_is_named_by_index_or_by_the_beginning_of_its_uuid() -> None:
    uuid = "GPU-5a1e9c1c-0000"
    assert is_one_of(("1",), 1, uuid)
    assert is_one_of(("GPU-5a1e",), 1, uuid)
    assert is_one_of(None, 1, uuid)
    assert not is_one_of(("0", "GPU-77", "MIG-5a1e"), 1, uuid)
    assert not is_one_of((), 1, uuid)


def test_a_run_has_the_accelerators_that_it_sees() -> None:
    text = "0, GPU-aa, NVIDIA A10, 23028, 580.1\n1, GPU-bb, NVIDIA H100, 81559, 580.1\nNo more\n"
    assert [a.name for a in parse_accelerators(text, None)] == ["NVIDIA A10", "NVIDIA H100"]
    assert [(a.name, a.memory_bytes, a.driver) for a in parse_accelerators(text, ("1",))] == [
        ("NVIDIA H100", 81559 * 2**20, "580.1")
    ]
    assert [a.name for a in parse_accelerators(text, ("GPU-a",))] == ["NVIDIA A10"]
    assert parse_accelerators(text, ()) == ()
    assert len(parse_accelerators(text, ("MIG-41b4",))) == 2  # a slice is of one of them


def test_engines_on_cards_of_their_own_share_none() -> None:
    assert not share_a_card([("0", "1"), ("2",)])
    assert share_a_card([("0", "1"), ("1",)])
    assert not share_a_card([("0",), ()])
