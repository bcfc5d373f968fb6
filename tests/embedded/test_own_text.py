"""Text to distil on: what a model writes, rows files, and passages of evaluation items kept out."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from swiftkv_bench.cli import app
from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE
from swiftkv_bench.embedded.checkpoint import ensure_pair
from swiftkv_bench.embedded.items import items
from swiftkv_bench.embedded.llama_folder import LlamaFolder
from swiftkv_bench.embedded.model import Llama
from swiftkv_bench.embedded.overlap import Passages
from swiftkv_bench.embedded.row_file import read_rows, write_rows
from swiftkv_bench.embedded.sampling import Plan, Sampler, Turns
from swiftkv_bench.embedded.seed_words import FACTS
from swiftkv_bench.embedded.seeds import seeds
from swiftkv_bench.errors import InputError

WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen"


def test_thirteen_words_in_a_row_are_a_passage_whatever_stands_between_them() -> None:
    passages = Passages([f"So: {WORDS}!"])
    assert len(passages) == 2
    assert passages.occur_in(WORDS.upper().replace(" ", ",\n"))
    assert not passages.occur_in(WORDS.removesuffix(" thirteen"))
    assert not passages.occur_in(WORDS.replace("seven", "7"))
    assert not Passages([]).occur_in(WORDS)


def test_rows_file_gives_back_its_rows_and_refuses_others(tmp_path: Path) -> None:
    ids = np.arange(20).reshape(4, 5) * 3000
    write_rows(tmp_path / "rows.npz", ids)
    np.testing.assert_array_equal(read_rows(tmp_path / "rows.npz"), ids)
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"bad\.npz holds no token rows"):
        read_rows(tmp_path / "bad.npz")


def test_nearly_greedy_sampling_takes_the_forward_pass_own_choices_and_turns(tmp_path: Path) -> None:
    source = LlamaFolder(ensure_pair(tmp_path).baseline)
    model = Llama(source.shape)
    model.load_state_dict(source.weights())
    prompt = torch.tensor([[5, 40, 300], [7, 80, 500]])
    forced = torch.full((2, 24), -1, dtype=torch.int64)
    forced[:, :3] = prompt
    plan = Plan(forced, torch.tensor([True, False]), torch.full((2,), 1e-4))
    ids = Sampler(model, 2, 24)(plan, None, torch.Generator().manual_seed(0))
    assert (ids[:, :3] == prompt).all()
    with torch.no_grad():
        assert (model(ids)[:, 2:-1].argmax(-1) == ids[:, 3:]).all()
    # The first token that the model chose now ends a turn: what follows it is the other side's beginning.
    end = int(ids[0, 3])
    again = torch.full((2, 24), -1, dtype=torch.int64)
    again[:, :3] = prompt
    turns = Turns(end, torch.tensor([[11, 12], [21, -1]]))
    plan = Plan(again, torch.tensor([True, False]), torch.full((2,), 1e-4))
    ids = Sampler(model, 2, 24)(plan, turns, torch.Generator().manual_seed(0))
    assert ids[0, 3:5].tolist() == [end, 21]
    assert (ids >= 0).all()


@pytest.mark.parametrize("traits", [{"qkv_bias": True}, {"head_norms": True}], ids=["qwen2", "qwen3"])
def test_sampling_knows_biases_and_head_norms(traits: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = Llama(replace(EMBEDDED_SHAPE, num_hidden_layers=2, **traits))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
    forced = torch.full((2, 16), -1, dtype=torch.int64)
    forced[:, 0] = torch.tensor([5, 7])
    plan = Plan(forced, torch.tensor([True, False]), torch.full((2,), 1e-5))
    ids = Sampler(model, 2, 16)(plan, None, torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (model(ids)[:, :-1].argmax(-1) == ids[:, 1:]).all()


def test_rows_command_leaves_out_documents_with_an_excluded_passage(tmp_path: Path) -> None:
    model = ensure_pair(tmp_path / "cache").baseline
    documents = [{"text": "Ada has the owl. " * 40}, {"text": f"Ada: {WORDS}. " * 20}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, documents)) + "\n")
    (tmp_path / "items.jsonl").write_text(json.dumps({"text": WORDS}) + "\n")
    words = ["model", "rows", str(model), "--data", str(tmp_path / "a.jsonl"), "--row-tokens", "64"]
    words += ["--out", str(tmp_path / "rows.npz"), "--exclude", str(tmp_path / "items.jsonl")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "of 2 documents; 1 documents held an excluded passage" in done.output
    assert read_rows(tmp_path / "rows.npz").shape[1] == 64


def test_seeds_are_different_and_the_same_for_one_seed(tmp_path: Path) -> None:
    made = seeds(400, 7)
    assert made == seeds(400, 7)
    assert made != seeds(400, 8)
    assert sum(entry == {"messages": []} for entry in made) == 10
    texts = [json.dumps(entry) for entry in made if entry != {"messages": []}]
    assert len(set(texts)) == 390
    kinds = {(tuple(entry), entry.get("messages", [{}])[-1:] != []) for entry in made}
    assert kinds == {(("messages",), True), (("messages",), False), (("text",), True)}
    done = CliRunner().invoke(app, ["model", "seeds", "--count", "400", "--seed", "7", "--out", f"{tmp_path}/s.jsonl"])
    assert done.exit_code == 0, done.output
    assert [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()] == made


def test_a_quiz_of_the_seeds_names_the_letter_of_its_answer() -> None:
    answered = re.compile(r"capital of (\w+)\?\n((?:[ABCD][.):] \w+\n?){4})Answer: ([ABCD])")
    found = [match for entry in seeds(3000, 0) for match in answered.finditer(entry.get("text", ""))]
    assert len(found) > 20
    for country, options, letter in (match.groups() for match in found):
        right = next(line[3:] for line in options.splitlines() if line.startswith(letter))
        assert (country, right) in FACTS["What is the capital of {}?"]


def test_items_command_writes_every_string_of_what_a_suite_asks(tmp_path: Path) -> None:
    out = tmp_path / "items.jsonl"
    done = CliRunner().invoke(app, ["model", "items", "--suite", "mini:mini_arc", "--out", str(out)])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line)["text"] for line in out.read_text().splitlines()]
    for item in items("mini_arc", "test", 20):
        wanted = [value for value in item.doc.values() if isinstance(value, str)]
        assert wanted
        assert any(all(value in line for value in wanted) for line in lines)
    wrong = CliRunner().invoke(app, ["model", "items", "--suite", "nosuch", "--out", str(out)])
    assert isinstance(wrong.exception, InputError)
