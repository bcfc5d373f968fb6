"""Task files and what is asked: borders of tokens, shots, labels, and texts longer than the context."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from swiftkv_bench.accuracy.encoding import Encoder
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.errors import InputError
from tests.accuracy.made import CHOICE, answers, ids, made, prepared, run, write_rows
from tests.accuracy.toy_engine import ToyEngine, loglikelihood


@pytest.fixture(scope="module")
def joining(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with a token for `xy`, which swallows the border between `x` and `y`."""
    folder = tmp_path_factory.mktemp("joining")
    write_tokenizer(folder, tokenizer_json(["xy"]), 16384)
    return folder


def test_a_continuation_is_never_empty_where_a_token_spans_the_border(joining: Path) -> None:
    prompter = Prompter(str(joining))
    token = {text: prompter.encode([text])[text] for text in ("x", "y", "xy", "a")}
    assert [len(found) for found in token.values()] == [1, 1, 1, 1]
    encoder = Encoder(prompter, False, [("x", "y"), ("a x", "y"), ("x", "a")])
    # The whole is one token: it is asked after the begin-of-text token.
    assert encoder.pair("x", "y") == ([prompter.bos_id], token["xy"], True)
    assert encoder.pair("x", "a") == (token["x"], token["a"], False)


def test_choices_behind_a_spanned_border_are_scored_and_counted(joining: Path, tmp_path: Path) -> None:
    rows = [{"question": "x", "choices": ["y", "a"], "label": 0}, {"question": "q", "choices": ["y", "a"], "label": 0}]
    suite = made(tmp_path, 'target_delimiter: ""', rows, base=CHOICE)
    with ToyEngine() as engine:
        items, [state] = run(suite, tmp_path / "run", engine, joining)
    assert state.status == "complete", state.reason
    assert [item.border for item in items] == [True, False]
    start = ids(joining, "<|begin_of_text|>")
    spanned = [loglikelihood(start, ids(joining, "xy")), loglikelihood(ids(joining, "x"), ids(joining, "a"))]
    assert [ll for ll, _ in items[0].responses] == pytest.approx(spanned)
    assert all(ll < 0 for item in items for ll, _ in item.responses)
    [notice] = [n for n in state.notices if n.code == "token-border"]
    assert notice.count == 1


@pytest.mark.parametrize(("more", "own"), [("", True), ("fewshot_split: test", False)])
def test_an_item_among_its_own_shots_is_counted(letters: Path, tmp_path: Path, more: str, own: bool) -> None:
    rows = [{"question": f"Say {word}:", "answer": word} for word in ("red", "green", "blue", "white")]
    suite = made(tmp_path, more, rows, num_fewshot=2)
    with ToyEngine(reply=answers(letters, {})) as engine:
        items, [state] = run(suite, tmp_path / "run", engine, letters)
    among = [item for item in items if f"Say {item.target}: {item.target}" in str(item.prompt)]
    # lm-eval leaves the item out where the task says that its shots are of the evaluated split, and only there.
    assert (len(among) > 0) == own
    assert sum(n.count for n in state.notices if n.code == "own-shot") == len(among)


GOOD = {"question": "Q:", "choices": [" a", " b"], "label": 0}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"label": 2}, "doc_to_target: 2 is none of the 2 choices"),
        ({"label": -1}, "doc_to_target: '-1' is none of the 2 choices"),
        ({"label": None}, "doc_to_target: "),
        ({"label": "0.5"}, "doc_to_target: '0.5' is none of the 2 choices"),
        ({"choices": []}, "doc_to_choice: "),
        ({"choices": [" a", ""]}, "doc_to_choice: '' is no text of a choice"),
        ({"label": "1.0"}, "doc_to_target: '1.0' is none of the 2 choices"),
    ],
)
def test_a_document_without_a_right_answer_ends_its_column_with_document_and_field(
    letters: Path, tmp_path: Path, bad: dict[str, Any], message: str
) -> None:
    suite = made(tmp_path, "", [GOOD, GOOD | {"question": "R:"}], base=CHOICE)
    write_rows(tmp_path / "rows.jsonl", [GOOD, GOOD | bad])
    with ToyEngine() as engine:
        _, [state] = run(suite, tmp_path / "run", engine, letters)
    assert state.status == "not run"
    assert str(state.reason).startswith("document 1 of task one: ")
    assert re.search(message, str(state.reason)), state.reason


def test_half_a_character_ends_its_column_with_document_and_field(letters: Path, tmp_path: Path) -> None:
    suite = made(tmp_path, "doc_to_text: !function text.half", [GOOD, GOOD], base=CHOICE)
    (tmp_path / "text.py").write_text("def half(doc):\n    return 'half \\ud83d'\n")
    with ToyEngine() as engine:
        _, [state] = run(suite, tmp_path / "run", engine, letters)
    assert state.status == "not run"
    assert str(state.reason) == "document 0 of task one: doc_to_text: 'half \\ud83d' holds half a character"


@pytest.mark.parametrize(("said", "label"), [("{{label}}", "1"), ("{{label}}", 1), ("{{label}}", " b")])
def test_labels_of_any_type_are_read_as_lm_eval_reads_them(
    letters: Path, tmp_path: Path, said: str, label: Any
) -> None:
    suite = made(tmp_path, f'doc_to_target: "{said}"', [GOOD | {"label": label}], base=CHOICE)
    with ToyEngine() as engine:
        [item], [state] = run(suite, tmp_path / "run", engine, letters)
    assert state.status == "complete", state.reason
    likelihoods = [loglikelihood(ids(letters, "Q:"), ids(letters, choice)) for choice in ("  a", "  b")]
    assert item.score == float(likelihoods[1] > likelihoods[0])


def test_a_label_that_lm_eval_itself_fails_on_is_named(tmp_path: Path) -> None:
    suite = made(tmp_path, "doc_to_target: label", [GOOD | {"label": 1.0}], base=CHOICE)
    with pytest.raises(
        InputError, match=r"one.yaml: document 0 of task one: process_results: TypeError: tuple indices"
    ):
        prepared(suite)


def test_values_that_json_does_not_know_are_documents_all_the_same(letters: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(
        "import datetime, decimal\nfrom datasets import Dataset\n\n"
        "def made(**kwargs):\n"
        "    row = {'question': 'Say red:', 'answer': 'red', 'when': datetime.date(2024, 2, 29),\n"
        "           'raw': b'\\xff', 'price': decimal.Decimal('1.5'), 'nan': float('nan')}\n"
        "    return {'test': Dataset.from_list([row])}\n"
    )
    suite = made(tmp_path, "custom_dataset: !function rows.made\ndataset_kwargs: {}", [{"a": 1}])
    text = (tmp_path / "one.yaml").read_text().replace("dataset_path: json\n", "")
    (tmp_path / "one.yaml").write_text(text)
    with ToyEngine(reply=answers(letters, {"red:": "red"})) as engine:
        [item], [state] = run(suite, tmp_path / "run", engine, letters)
    assert (state.status, item.score) == ("complete", 1.0)
    [samples] = (tmp_path / "run" / "lm_eval" / "baseline" / "one").glob("samples_*.jsonl")
    assert json.loads(samples.read_text())["doc"]["when"] == "2024-02-29"


def test_a_prompt_longer_than_the_context_loses_its_left_end(letters: Path, tmp_path: Path) -> None:
    rows = [{"question": "x" * 300 + "Say red:", "answer": "red"}, {"question": "Say red:", "answer": "red"}]
    suite = made(tmp_path, 'generation_kwargs: {until: ["\\n"], max_gen_toks: 20}', rows)
    with ToyEngine(reply=answers(letters, {"red:": "red"})) as engine:
        items, [state] = run(suite, tmp_path / "run", engine, letters, max_model_len=100)
    assert (state.status, [item.score for item in items]) == ("complete", [1.0, 1.0])
    assert sorted(len(body["prompt"]) for body in engine.requests) == [len("Say red:"), 80]
    assert [(n.code, n.count) for n in state.notices if n.code == "cut-prompt"] == [("cut-prompt", 1)]


def test_a_choice_longer_than_the_context_is_cut_as_lm_eval_cuts(letters: Path, tmp_path: Path) -> None:
    long = "".join(chr(97 + i % 26) for i in range(300))
    rows = [{"question": "Q:", "choices": [long, "b"], "label": 0}]
    suite = made(tmp_path, "", rows, base=CHOICE)
    with ToyEngine() as engine:
        [item], [state] = run(suite, tmp_path / "run", engine, letters, max_model_len=100)
    assert state.status == "complete", state.reason
    kept = ids(letters, long)[-99:]
    assert item.responses[0][0] == pytest.approx(loglikelihood(kept[:1], kept[1:]))
    assert item.truncated


def test_a_refused_request_ends_its_column_and_every_column_has_a_state(letters: Path, tmp_path: Path) -> None:
    rows = [{"question": "Say red:", "answer": "red"}]
    suite = made(tmp_path, "", rows)
    with ToyEngine(refuses="the prompt is too long") as engine:
        _, [state] = run(suite, tmp_path / "run", engine, letters)
    assert state.status == "incomplete"
    assert str(state.reason).startswith("document 0 of task one: the engine refuses this request: ")
    assert "the prompt is too long" in str(state.reason)
