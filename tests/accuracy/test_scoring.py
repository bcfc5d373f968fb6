"""Every way of scoring gives the log-likelihood computed token by token; wrong ways are found out."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from swiftkv_bench.accuracy.items import Continuation, Generation, Question
from swiftkv_bench.accuracy.probes import SCORED_TOKENS, probe_abilities
from swiftkv_bench.accuracy.scoring import (
    Abilities,
    Answer,
    loglikelihood,
    read_forced,
    read_prompt_logprobs,
    read_token_choice,
    write_script,
)
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.engines.client import Client
from swiftkv_bench.errors import EngineError, ProbeError, ScoringError
from tests.accuracy.toy_engine import ALL_WAYS, VOCABULARY, ToyEngine, logprobs_after
from tests.accuracy.toy_engine import loglikelihood as expected_loglikelihood

CONTEXT = tuple(range(20, 60))
CHOICES = ((7,), (7, 8, 9), (7, 8, 10, 11), (12, 13))
QUESTIONS = [Continuation(CONTEXT, tokens) for tokens in CHOICES]
WAYS = {
    "forced decode": Abilities("logprob_token_ids", forced_decode=True, prompt_logprobs=True),
    "prompt logprobs": Abilities("logprob_token_ids", prompt_logprobs=True),
    "one-token requests": Abilities("logprob_token_ids"),
}


def answers_of(url: str, model: str, questions: Sequence[Question], abilities: Abilities) -> tuple[list[Answer], str]:
    """Answers of a server to questions, and the way they were had."""
    script = write_script(questions, abilities)
    with Client(url) as client:
        answers = [r.read(client.post("/v1/completions", {"model": model, **r.body})) for r in script.requests]
    return script.combine(answers), script.method


def _answers(engine: ToyEngine, questions: Sequence[Question], abilities: Abilities) -> tuple[list[Answer], str]:
    return answers_of(engine.url, "toy", questions, abilities)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_sum_of_next_token_logprobs(way: str) -> None:
    with ToyEngine() as engine:
        answers, method = _answers(engine, QUESTIONS, WAYS[way])
    assert method == way
    found = [loglikelihood(answer)[0] for answer in answers]
    assert found == pytest.approx([expected_loglikelihood(CONTEXT, tokens) for tokens in CHOICES], abs=1e-12)


@pytest.mark.parametrize("way", ["logprob_token_ids", "allowed_token_ids"])
def test_one_token_choices_of_one_context_are_scored_together(way: str) -> None:
    questions = [Continuation(CONTEXT, (token,)) for token in (7, 9, 7, 250)]
    with ToyEngine(ways=frozenset({way})) as engine:
        answers, method = _answers(engine, questions, Abilities(way))
        requests = len(engine.requests)
    assert method == "choice tokens"
    row = logprobs_after(CONTEXT)
    assert [loglikelihood(a) for a in answers] == [(row[t], False) for t in (7, 9, 7, 250)]
    assert requests == (1 if way == "logprob_token_ids" else 3)


@pytest.mark.parametrize("way", [*WAYS, "logprob_token_ids", "allowed_token_ids"])
def test_a_continuation_is_greedy_iff_every_token_is_the_argmax(way: str) -> None:
    best = int(logprobs_after(CONTEXT).argmax())
    then = int(logprobs_after([*CONTEXT, best]).argmax())
    tokens = [(best, then), (best, then + 1)] if way in WAYS else [(best,), ((best + 1) % VOCABULARY,)]
    with ToyEngine() as engine:
        answers, _ = _answers(engine, [Continuation(CONTEXT, t) for t in tokens], WAYS.get(way, Abilities(way)))
    assert [loglikelihood(answer)[1] for answer in answers] == [True, False]


def test_more_choices_than_a_request_may_name_are_split() -> None:
    questions = [Continuation(CONTEXT, (token,)) for token in range(200)]
    with ToyEngine() as engine:
        answers, _ = _answers(engine, questions, Abilities("logprob_token_ids"))
        assert [len(body["logprob_token_ids"]) for body in engine.requests] == [128, 72]
    assert [a[0][0] for a in answers] == logprobs_after(CONTEXT)[:200].tolist()


def test_shared_beginnings_are_asked_once() -> None:
    with ToyEngine() as engine:
        _answers(engine, QUESTIONS, WAYS["one-token requests"])
        contexts = [tuple(body["prompt"]) for body in engine.requests]
    assert len(contexts) == len(set(contexts)) == len({CONTEXT + t[:i] for t in CHOICES for i in range(len(t))})


@pytest.mark.parametrize("way", WAYS)
def test_a_continuation_that_is_a_choice_twice_is_asked_once(way: str) -> None:
    once, twice = (write_script(questions, WAYS[way]) for questions in (QUESTIONS, [*QUESTIONS, QUESTIONS[1]]))
    assert [r.body for r in twice.requests] == [r.body for r in once.requests]
    with ToyEngine() as engine:
        answers, _ = _answers(engine, [*QUESTIONS, QUESTIONS[1]], WAYS[way])
    assert answers[-1] == answers[1]


def test_a_generation_says_everything_a_servers_defaults_could_change() -> None:
    question = Generation(CONTEXT, 30, ("</s>",))
    with ToyEngine(reply=lambda _: "four") as engine:
        answers, method = _answers(engine, [question], Abilities(None))
        [body] = engine.requests
    assert (answers, method) == ([["four", "stop"]], "generation")
    assert body == {
        "model": "toy", "prompt": list(CONTEXT), "max_tokens": 30, "temperature": 0.0, "top_p": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "stop": ["</s>"],
        "skip_special_tokens": False, "spaces_between_special_tokens": False,
    }  # fmt: skip


def test_without_an_exact_way_scoring_is_refused() -> None:
    with pytest.raises(ProbeError, match="no exact way"):
        write_script(QUESTIONS, Abilities(None))


def test_a_logprob_that_is_not_a_number_makes_no_log_likelihood() -> None:
    with pytest.raises(ScoringError, match="not finite"):
        loglikelihood([[-1.0, False], [math.nan, False]])


@pytest.mark.parametrize("value", [math.nan, -math.inf, None])
def test_an_answer_whose_logprob_is_no_number_is_not_read(value: float | None) -> None:
    logprobs = {"tokens": ["token_id:5"], "token_logprobs": [value], "top_logprobs": [{"token_id:5": value}]}
    response = {"choices": [{"logprobs": logprobs, "prompt_logprobs": [{"5": {"logprob": value, "rank": 1}}]}]}
    for read in (read_token_choice, read_forced, read_prompt_logprobs):
        with pytest.raises(ScoringError, match="not finite"):
            read(response, [5])


def test_a_missing_choice_is_an_engine_error() -> None:
    response = {"choices": [{"logprobs": {"tokens": ["token_id:5"], "top_logprobs": [{"token_id:5": -1.0}]}}]}
    with pytest.raises(EngineError, match="token 7"):
        read_token_choice(response, [7, 5])


def _probe(engine: ToyEngine, max_model_len: int = 6000) -> Abilities:
    target = Target(engine.url, "toy", "none", "key", max_model_len)
    with Client(engine.url) as client:
        abilities, probes = probe_abilities(client, target, "swiftkv", vocabulary=VOCABULARY)
    assert all(np.isfinite(p.data.get("largest_difference_nat") or 0.0) for p in probes)
    return abilities


def test_an_honest_engine_passes_every_probe() -> None:
    with ToyEngine() as engine:
        assert _probe(engine) == Abilities("logprob_token_ids", forced_decode=True, prompt_logprobs=True)


def test_plausible_but_wrong_prompt_logprobs_are_found_out() -> None:
    with ToyEngine(honest=False) as engine:
        assert _probe(engine) == Abilities("logprob_token_ids", forced_decode=True, prompt_logprobs=False)


@pytest.mark.parametrize(
    ("ways", "expected"),
    [
        (ALL_WAYS - {"swiftkv_forced_tokens"}, Abilities("logprob_token_ids", prompt_logprobs=True)),
        (frozenset({"allowed_token_ids", "prompt_logprobs"}), Abilities("allowed_token_ids", prompt_logprobs=True)),
        (frozenset({"prompt_logprobs"}), Abilities(None)),
        (frozenset[str](), Abilities(None)),
    ],
)
def test_probes_find_what_an_engine_can_do(ways: frozenset[str], expected: Abilities) -> None:
    with ToyEngine(ways=ways) as engine:
        assert _probe(engine) == expected


@pytest.mark.parametrize(("vocabulary", "longest"), [(VOCABULARY, 4200), (20_000, 300)])
def test_long_prompts_of_a_large_vocabulary_are_not_scored_where_another_way_will_be_taken(
    vocabulary: int, longest: int
) -> None:
    with ToyEngine(vocabulary=vocabulary) as engine, Client(engine.url) as client:
        target = Target(engine.url, "toy", "none", "key", 6000)
        probe_abilities(client, target, "swiftkv", vocabulary=vocabulary)
        scored = [len(body["prompt"]) - SCORED_TOKENS for body in engine.requests if "prompt_logprobs" in body]
    assert max(scored) == longest


def test_logprobs_taken_after_masking_are_not_used() -> None:
    with ToyEngine(ways=frozenset({"allowed_token_ids"}), masked=True) as engine:
        assert _probe(engine) == Abilities(None)


def test_probe_prompts_fit_a_short_context() -> None:
    with ToyEngine() as engine:
        _probe(engine, max_model_len=64)
        longest = max(len(body["prompt"]) + body["max_tokens"] for body in engine.requests)
    assert longest == 64
