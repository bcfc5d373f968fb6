"""vLLM's V2 model runner on the CPU, chosen by vLLM itself, beside the plain-torch reference.

Not here, since Triton's interpreter fails there for every model: seeded sampling, the kernel of top-k and top-p.
"""

import json
import re
from itertools import pairwise
from typing import Any

import pytest

from .comparison import TOLERANCE_NAT, References
from .feature_runs import GRAMMARS
from .v2_runs import BORDERS, CROWD, FORCED, PENALTIES, SHORT

pytestmark = pytest.mark.vllm

GREEDY = {
    "chunks": ("swiftkv", len(SHORT) * 4),
    "cold": ("swiftkv", len(BORDERS) * 4),
    "warm": ("swiftkv", len(BORDERS) * 4),
    "full_depth": ("swiftkv", len(BORDERS) * 4),
    "crowd": ("swiftkv", CROWD * 2),
    "aborts": ("swiftkv", 4 * 8),
    "preempted": ("swiftkv", 4 * 12),
    "groups": ("groups", 3 * 4),
    "full": ("swiftkv", 3 * 4),
    "embeddings": ("swiftkv", 3 * 4),
    "ngram": ("swiftkv", 4 * 8),
    "draft_model": ("swiftkv", 4 * 8),
}
"""Run -> checkpoint, generated tokens."""


def test_vllm_chose_the_v2_runner(v2_runs: dict[str, Any]) -> None:
    assert v2_runs["v2_runner"] is True


@pytest.mark.parametrize("name", GREEDY)
def test_answers_are_those_of_the_reference(name: str, v2_runs: dict[str, Any], v2_references: References) -> None:
    checkpoint, tokens = GREEDY[name]
    found = v2_references.compare(checkpoint, v2_runs[name])
    assert found.tokens == tokens
    assert found.mismatches == 0
    assert found.worst < TOLERANCE_NAT
    assert found.worst_prompt < TOLERANCE_NAT


def test_prompt_logprobs_came_for_exactly_those_who_asked(v2_runs: dict[str, Any]) -> None:
    given = [answer["prompt_logprobs"] for answer in v2_runs["chunks"]]
    assert [None if one is None else len(one) for one in given] == [
        length - 1 if index % 3 == 0 else None for index, length in enumerate(SHORT)
    ]


def test_the_preempted_run_was_preempted(v2_runs: dict[str, Any]) -> None:
    assert v2_runs["preemptions"] > 0


def test_mode_full_runs_every_token_through_both_halves(v2_runs: dict[str, Any]) -> None:
    totals = v2_runs["full_totals"]
    assert totals["second_half_tokens"] == totals["tokens"] == (3 + 40 + 130) + 3 * 3


@pytest.mark.parametrize("name", ["ngram", "draft_model"])
def test_speculation_proposed_tokens(name: str, v2_runs: dict[str, Any]) -> None:
    assert v2_runs[f"{name}_drafts"] > 0


@pytest.mark.parametrize("name", ["ngram_forced", "draft_model_forced"])
def test_drafts_do_not_escape_forced_tokens(name: str, v2_runs: dict[str, Any], v2_references: References) -> None:
    forced, free = v2_runs[name]
    assert forced["tokens"] == FORCED
    assert v2_references.compare("swiftkv", [free]).mismatches == 0


def test_forced_tokens_are_emitted_with_the_reference_s_logprobs(
    v2_runs: dict[str, Any], v2_references: References
) -> None:
    assert [answer["tokens"] for answer in v2_runs["forced"]] == [FORCED] * 3
    assert v2_references.compare("swiftkv", v2_runs["forced"]).worst < TOLERANCE_NAT


def test_each_of_two_samples_has_the_reference_s_logprobs(v2_runs: dict[str, Any], v2_references: References) -> None:
    assert len(v2_runs["samples"]) == 2
    assert v2_references.compare("swiftkv", v2_runs["samples"]).worst < TOLERANCE_NAT


def test_penalties_choose_what_they_choose_of_the_reference(v2_runs: dict[str, Any], v2_references: References) -> None:
    for answer in v2_runs["penalties"]:
        prompt, tokens = answer["prompt"], answer["tokens"]
        truth = v2_references.logprobs("swiftkv", prompt + tokens)
        for step, token in enumerate(tokens):
            row = truth[len(prompt) - 1 + step].clone()
            for before in set(tokens[:step]):
                count = tokens[:step].count(before)
                row[before] -= PENALTIES["frequency_penalty"] * count + PENALTIES["presence_penalty"]
            assert token == int(row.argmax())


def test_beams_are_those_of_the_reference(v2_runs: dict[str, Any], v2_references: References) -> None:
    prompt = v2_runs["forced"][1]["prompt"]
    beams: list[tuple[list[int], float]] = [([], 0.0)]
    for _ in range(3):
        grown = []
        for tokens, score in beams:
            row = v2_references.logprobs("swiftkv", prompt + tokens)[-1]
            values, ids = row.topk(2)
            grown += [(([*tokens, int(i)]), score + float(v)) for v, i in zip(values, ids, strict=True)]
        beams = sorted(grown, key=lambda beam: -beam[1])[:2]
    assert [tokens for tokens, _ in v2_runs["beams"]] == [tokens for tokens, _ in beams]
    assert [score for _, score in v2_runs["beams"]] == pytest.approx([score for _, score in beams], abs=TOLERANCE_NAT)
    assert all(first[1] >= second[1] for first, second in pairwise(beams))


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_structured_answers_obey_and_do_not_depend_on_skipping(grammar: str, v2_runs: dict[str, Any]) -> None:
    skip, full = v2_runs["structured"][grammar]
    assert skip["tokens"] == full["tokens"]
    assert skip["logprobs"] == pytest.approx(full["logprobs"], abs=TOLERANCE_NAT)
    if grammar == "regex":
        assert re.fullmatch(GRAMMARS["regex"]["regex"], skip["text"])
    elif grammar == "choice":
        assert skip["text"] in GRAMMARS["choice"]["choice"]
    else:
        assert json.loads(skip["text"]).keys() == {"a", "b"}


def test_v1_and_v2_answer_alike(v2_runs: dict[str, Any], engine_runs: dict[str, dict[str, Any]]) -> None:
    under_v1 = engine_runs["skip_large"]["answers"][:10]
    for one, other in zip(under_v1, v2_runs["as_v1"], strict=True):
        assert one["prompt"] == other["prompt"]
        assert one["tokens"] == other["tokens"]
        assert one["logprobs"] == pytest.approx(other["logprobs"], abs=TOLERANCE_NAT)
