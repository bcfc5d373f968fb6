"""Features of vLLM that SwiftKV does not care about, on a real engine on the CPU beside the plain-torch reference."""

import json
import re
from typing import Any

import pytest
import torch

from .comparison import TOLERANCE_NAT, References
from .feature_runs import GRAMMARS, LENGTHS, UPDATED, prompts

pytestmark = pytest.mark.vllm

SCHEDULING = ["synchronous", "asynchronous"]


def _assert_as_the_reference(
    references: References, answers: list[dict[str, Any]], checkpoint: str = "swiftkv"
) -> None:
    found = references.compare(checkpoint, answers)
    assert found.tokens == len(LENGTHS) * 6
    assert found.mismatches == 0
    assert found.worst < TOLERANCE_NAT
    assert found.worst_prompt < TOLERANCE_NAT


def test_the_asynchronous_engine_schedules_ahead(features: dict[str, Any]) -> None:
    kinds = {name: (features[name]["scheduler"], features[name]["batches_in_flight"]) for name in SCHEDULING}
    assert kinds == {"synchronous": ("Scheduler", 1), "asynchronous": ("AsyncScheduler", 2)}


@pytest.mark.parametrize("name", SCHEDULING)
@pytest.mark.parametrize("batch", ["scored", "plain"])
def test_scheduling_ahead_changes_no_answer(
    name: str, batch: str, features: dict[str, Any], references: References
) -> None:
    answers = features[name][batch]
    _assert_as_the_reference(references, answers)
    scored = [answer["prompt"] for answer in answers if answer["prompt_logprobs"] is not None]
    assert scored == ([prompts()[1]] if batch == "scored" else [])


def _obeys(grammar: str, text: str) -> bool:
    given = GRAMMARS[grammar]
    if grammar == "regex":
        return re.fullmatch(given["regex"], text) is not None
    if grammar == "choice":
        return text in given["choice"]
    value = json.loads(text)
    return set(value) == {"a", "b"} and isinstance(value["a"], bool) and value["b"] in ("x", "yy")


@pytest.mark.parametrize("name", SCHEDULING)
@pytest.mark.parametrize("grammar", GRAMMARS)
def test_structured_answers_obey_and_do_not_depend_on_skipping(
    name: str, grammar: str, features: dict[str, Any]
) -> None:
    skip, full = features[name][f"{grammar}_skip"], features[name][f"{grammar}_full"]
    assert len(skip) == len(LENGTHS)
    for one, other in zip(skip, full, strict=True):
        assert _obeys(grammar, one["text"])
        assert one["tokens"] == other["tokens"]
        assert one["logprobs"] == pytest.approx(other["logprobs"], abs=TOLERANCE_NAT)


def _allowed(grammar: str, text: str) -> str:
    """Characters that may follow ``text``; empty at its end."""
    if grammar == "regex":
        return ["0123456789", "0123456789", "0123456789", "-", *["abcdef"] * 4, ""][len(text)]
    return "".join({word[len(text)] for word in GRAMMARS["choice"]["choice"] if word.startswith(text) and word != text})


@pytest.mark.parametrize("name", SCHEDULING)
@pytest.mark.parametrize("grammar", ["regex", "choice"])
def test_a_structured_answer_is_the_likeliest_that_the_grammar_allows(
    name: str, grammar: str, features: dict[str, Any], references: References
) -> None:
    for answer in features[name][f"{grammar}_skip"]:
        prompt, tokens, text = answer["prompt"], answer["tokens"], answer["text"]
        truth = references.logprobs("swiftkv", prompt + tokens)
        for step in range(len(text)):
            ids = [features["vocabulary"][character] for character in _allowed(grammar, text[:step])]
            row = truth[len(prompt) - 1 + step, ids].log_softmax(-1)  # vLLM masks before it takes log-probabilities
            assert tokens[step] == ids[int(row.argmax())]
            assert answer["logprobs"][step] == pytest.approx(float(row.max()), abs=TOLERANCE_NAT)


def test_weights_may_be_replaced_in_parts(features: dict[str, Any], references: References) -> None:
    _assert_as_the_reference(references, features["before_update"])
    _assert_as_the_reference(references, features["after_update"], UPDATED)


def test_prompts_may_come_as_embeddings(features: dict[str, Any], references: References) -> None:
    _assert_as_the_reference(references, features["prompt_embeddings"])


def test_full_depth_pools_the_reference_s_last_hidden_state(features: dict[str, Any], references: References) -> None:
    for ids, found in zip(prompts(), features["embeddings"], strict=True):
        last = references.model("swiftkv").hidden(ids)[-1]
        torch.testing.assert_close(torch.tensor(found), last / last.norm(), atol=1e-5, rtol=0)


def test_full_depth_verifies_a_draft_model_s_tokens(features: dict[str, Any], references: References) -> None:
    _assert_as_the_reference(references, features["draft_model"])
    assert features["draft_tokens_accepted"] > len(LENGTHS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lora", "--enable-lora is on"),
        ("offload", "--cpu-offload-gb or --offload-group-size is set"),
        ("cache_dtype", "--kv-cache-dtype is 'int8_per_token_head'"),
        ("quantization", "quantization is 'int8_per_channel_weight_only'"),
    ],
)
def test_a_feature_that_was_never_checked_is_refused(name: str, words: str, features: dict[str, Any]) -> None:
    assert words in features[f"refused_{name}"]
