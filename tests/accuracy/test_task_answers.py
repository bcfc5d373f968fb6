"""Task files and the answers they ask for: lengths, sampling, thinking, and answers that no file can hold."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from swiftkv_bench.accuracy.items import answer_seed, build_items, sample
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.scores import score
from swiftkv_bench.errors import InputError
from tests.accuracy.made import answers, made, prepared, reader, run
from tests.accuracy.toy_engine import ToyEngine

ROWS = [{"question": f"Say {word}:", "answer": word} for word in ("red", "green")]


@pytest.mark.parametrize("key", ["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"])
def test_every_name_of_the_length_counts(letters: Path, tmp_path: Path, key: str) -> None:
    suite = made(tmp_path, f'generation_kwargs: {{until: ["\\n"], {key}: 7}}', ROWS)
    with ToyEngine(reply=answers(letters, {})) as engine:
        run(suite, tmp_path / "run", engine, letters)
    assert [body["max_tokens"] for body in engine.requests] == [7, 7]


def test_without_a_length_the_suites_counts(letters: Path, tmp_path: Path) -> None:
    suite = made(tmp_path, "", ROWS, suite_max_gen_tokens=33)
    with ToyEngine(reply=answers(letters, {})) as engine:
        run(suite, tmp_path / "run", engine, letters)
    assert [(body["max_tokens"], body["temperature"]) for body in engine.requests] == [(33, 0.0), (33, 0.0)]


MAJORITY = """
repeats: 3
generation_kwargs: {until: ["\\n"], do_sample: true, temperature: 0.5, top_p: 0.9}
filter_list:
  - {name: first, filter: [{function: take_first}]}
  - {name: maj@3, filter: [{function: take_first_k, k: 3}, {function: majority_vote}, {function: take_first}]}
"""


def _sampled(prompts: dict[int, str]) -> ToyEngine:
    """An engine whose answer depends on the seed alone."""

    class Sampling(ToyEngine):
        def _answer(self, body: dict[str, object]) -> dict[str, object]:
            return {"text": prompts[int(str(body["seed"]))], "finish_reason": "stop", "index": 0}

    return Sampling()


@pytest.mark.parametrize(("name", "scores"), [("maj@3", [1.0, 0.0]), ("first", [0.0, 1.0])])
def test_repeats_are_as_many_seeded_answers(letters: Path, tmp_path: Path, name: str, scores: list[float]) -> None:
    suite = made(tmp_path, MAJORITY, ROWS, filter=name)
    seeds = [[answer_seed(0, "one", doc_id, 0, i) for i in range(3)] for doc_id in (0, 1)]
    said = dict(zip(seeds[0], ("blue", "red", "red"), strict=True))
    said |= dict(zip(seeds[1], ("green", "blue", "blue"), strict=True))
    with _sampled(said) as engine:
        items, _ = run(suite, tmp_path / "run", engine, letters)
    assert len(said) == 6
    assert [list(item.seeds) for item in items] == seeds
    assert [item.score for item in items] == scores
    assert [item.responses for item in items] == [("blue", "red", "red"), ("green", "blue", "blue")]
    assert {(body["temperature"], body["top_p"]) for body in engine.requests} == {(0.5, 0.9)}


def test_greedy_repeats_are_asked_once_and_count_as_often(letters: Path, tmp_path: Path) -> None:
    suite = made(tmp_path, MAJORITY.replace("do_sample: true, temperature: 0.5, top_p: 0.9", ""), ROWS, filter="maj@3")
    with ToyEngine(reply=answers(letters, {"red:": "red"})) as engine:
        items, _ = run(suite, tmp_path / "run", engine, letters)
    assert (len(engine.requests), [item.score for item in items]) == (2, [1.0, 0.0])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("generation_kwargs: {do_sample: true}", "generation_kwargs: do_sample: true without a temperature is another"),
        ("generation_kwargs: {num_beams: 4}", "generation_kwargs: num_beams: 4: engines are not asked that way here"),
        ("generation_kwargs: {max_new_tokens: many}", "generation_kwargs: max_new_tokens: 'many' is no number"),
        ("generation_kwargs: greedy", "generation_kwargs: 'greedy' is no mapping"),
        ("repeats: 0", "repeats: 0 is no number of answers from 1 on"),
        (
            "filter_list: [{name: maj@8, filter: [{function: take_first_k, k: 8}, {function: majority_vote}]}]",
            "filter_list: maj@8: take_first_k: k: 8 answers an item are wanted and repeats is 1; set repeats",
        ),
        ("unsafe_code: true", "unsafe_code: true runs answers as programs on this machine"),
        ("doc_to_image: image", "doc_to_image: engines are sent text only"),
        ("output_type: nothing", "output_type: 'nothing' is none of generate_until"),
    ],
)
def test_what_is_not_done_is_refused_by_its_key(tmp_path: Path, task: str, message: str) -> None:
    with pytest.raises(InputError, match=f"mine.yaml: column one: one.yaml: {message}"):
        prepared(made(tmp_path, task, ROWS))


LETTER = """
filter_list:
  - {name: letter, filter: [{function: regex, regex_pattern: "([ABCD])"}, {function: take_first}]}
"""
THOUGHT = "<think>Maybe A.</think> The best answer is C."


@pytest.mark.parametrize(("stated", "read", "score"), [("</think>", "C", 1.0), (None, "A", 0.0)])
def test_thinking_is_left_out_where_the_suite_says_how_it_ends(
    letters: Path, tmp_path: Path, stated: str | None, read: str, score: float
) -> None:
    more = {} if stated is None else {"suite_think_end_token": stated}
    suite = made(tmp_path, LETTER, [{"question": "Which?", "answer": "C"}], filter="letter", **more)
    with ToyEngine(reply=lambda _: THOUGHT) as engine:
        [item], [state] = run(suite, tmp_path / "run", engine, letters)
    assert (item.filtered, item.score, item.responses) == ((read,), score, (THOUGHT,))
    assert [n.code for n in state.notices if n.code == "thinking"] == (["thinking"] if stated is None else [])


def test_stop_strings_count_after_thinking_alone(letters: Path, tmp_path: Path) -> None:
    suite = made(tmp_path, "", [{"question": "Which?", "answer": "C"}], suite_think_end_token="</think>")
    with ToyEngine(reply=lambda _: "<think>A?\nB?\n</think>\n\nC\nand more") as engine:
        [item], _ = run(suite, tmp_path / "run", engine, letters)
    assert "\n" not in engine.requests[0]["stop"]
    # lm-eval strips the white space after the thinking, then cuts at the stop string.
    assert (item.filtered, item.score) == (("C",), 1.0)


@pytest.mark.parametrize("text", ["half \ud83d", "\udc00", "nul \x00 \x1b[31m", "\ud83d\ude00"])
def test_an_answer_of_any_characters_is_recorded(letters: Path, tmp_path: Path, text: str) -> None:
    suite = made(tmp_path, "", [{"question": "Which?", "answer": "C"}])
    with ToyEngine(reply=lambda _: text) as engine:
        [item], [state] = run(suite, tmp_path / "run", engine, letters)
    assert (state.status, item.score) == ("complete", 0.0)
    assert item.responses == (text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"),)


def test_the_prompt_is_what_the_task_file_says(letters: Path, tmp_path: Path) -> None:
    suite = made(tmp_path, 'description: "Be brief.\\n"\ngen_prefix: "Answer:"', ROWS[:1])
    read = reader(letters)
    seen: list[str] = []
    with ToyEngine(reply=lambda prompt: seen.append(read(prompt)) or "red") as engine:  # type: ignore[func-returns-value]
        run(suite, tmp_path / "run", engine, letters)
    assert seen == ["Be brief.\nSay red: Answer:"]


def test_arms_that_are_scored_at_once_keep_their_own_answers(letters: Path, tmp_path: Path) -> None:
    suite = made(tmp_path, "process_results: !function own.slowly", ROWS)
    (tmp_path / "own.py").write_text(
        "import time\n\n"
        "def slowly(doc, results):\n"
        "    time.sleep(0.05)\n"
        "    return {'exact_match': float(results[0] == doc['answer'])}\n"
    )
    [column] = prepared(suite).columns
    items = build_items(column, sample(column, None, 0), Prompter(str(letters)), max_model_len=99, max_gen_tokens=9)
    said = {"right": [["red"], ["green"]], "wrong": [["blue"], ["blue"]]}
    with ThreadPoolExecutor(2) as pool:
        work = {k: pool.submit(score, column.tasks["one"], column.column, items, texts) for k, texts in said.items()}
    assert {k: [s.value for s in done.result()] for k, done in work.items()} == {"right": [1, 1], "wrong": [0, 0]}
