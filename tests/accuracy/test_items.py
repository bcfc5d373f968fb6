"""Items: samples, encodings, waves; the mini prompts are those the embedded pair was trained on."""

from pathlib import Path

import pytest

from swiftkv_bench.accuracy.encoding import Encoder
from swiftkv_bench.accuracy.items import build_items, in_parts, sample
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.suites import load_suite, plan_accuracy, suite_file
from swiftkv_bench.accuracy.tasks import ColumnTasks, load_column
from swiftkv_bench.embedded.architecture import BEGIN_OF_TEXT
from swiftkv_bench.embedded.columns import MINI_COLUMNS, evaluation_segments, segments_text
from swiftkv_bench.embedded.items import items as mini_items
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.accuracy import AccuracyPlan, Column


@pytest.fixture(scope="module")
def prompter(tmp_path_factory: pytest.TempPathFactory) -> Prompter:
    """One token a byte, so that token ids can be written down by hand."""
    folder = tmp_path_factory.mktemp("bytes")
    write_tokenizer(folder, tokenizer_json([]), 4096)
    return Prompter(str(folder))


def _mini(name: str) -> ColumnTasks:
    suite = load_suite("mini")
    [column] = [c for c in suite.columns if c.name == name]
    return load_column(plan_accuracy(suite, ["baseline"], file=suite_file("mini")), column, None)


@pytest.mark.parametrize("name", MINI_COLUMNS)
def test_mini_prompts_are_those_the_embedded_pair_was_trained_on(name: str, prompter: Prompter) -> None:
    column_tasks, column = _mini(name), MINI_COLUMNS[name]
    built = build_items(column_tasks, [(name, 0), (name, 499)], prompter, max_model_len=16384, max_gen_tokens=60)
    generated = [mini_items(name, "test", 500)[i] for i in (0, 499)]
    for item, source in zip(built, generated, strict=True):
        prompt = None if column.kind != "blank" else source.doc["sentence"].split("_")[0] + source.doc["option1"]
        expected = segments_text(evaluation_segments(column, source, prompt))
        text = item.instances[0].args[0]
        assert (text if column.chat else BEGIN_OF_TEXT + text) == expected


def test_a_sample_is_contained_in_any_larger_one() -> None:
    column_tasks = _mini("mini_arc")
    small, large = (set(sample(column_tasks, limit, 7)) for limit in (20, 50))
    assert len(small) == 20
    assert small < large


def test_the_sample_depends_on_the_seed_and_on_nothing_else() -> None:
    column_tasks = _mini("mini_arc")
    assert sample(column_tasks, 20, 7) == sample(column_tasks, 20, 7) == sample(_mini("mini_arc"), 20, 7)
    assert sample(column_tasks, 20, 7) != sample(column_tasks, 20, 8)


@pytest.mark.parametrize("limit", [None, 500, 10_000])
def test_no_limit_asks_all_in_order(limit: int | None) -> None:
    assert sample(_mini("mini_arc"), limit, 0) == [("mini_arc", i) for i in range(500)]


def test_parts_hold_every_item_once(prompter: Prompter) -> None:
    column_tasks = _mini("mini_arc")
    built = build_items(column_tasks, sample(column_tasks, 23, 0), prompter, max_model_len=16384, max_gen_tokens=60)
    parts = in_parts(built, 10, 0)
    assert [len(part) for part in parts] == [2, 3, 2, 2, 3, 2, 2, 2, 3, 2]
    assert sorted(item.key for part in parts for item in part) == sorted(item.key for item in built)
    assert all([i.doc_id for i in part] == sorted(i.doc_id for i in part) for part in parts)
    assert in_parts(built[:1], 10, 0) == [built[:1]]


def test_choices_are_the_texts_after_what_all_questions_share(prompter: Prompter) -> None:
    name = "mini_winogrande"
    [item] = build_items(_mini(name), [(name, 0)], prompter, max_model_len=16384, max_gen_tokens=60)
    first, second = item.document["option1"], item.document["option2"]
    rest = item.document["sentence"].split("_")[1].strip()
    assert item.choices == (f"{first} {rest}", f"{second} {rest}")
    assert item.prompt_text.endswith(item.choices[0])
    [generated] = build_items(_mini("mini_arc"), [("mini_arc", 0)], prompter, max_model_len=16384, max_gen_tokens=60)
    assert generated.choices == ()


def _ids(prompter: Prompter, text: str) -> list[int]:
    return prompter.encode([text])[text]


def test_a_text_prompt_begins_with_one_begin_of_text_token(prompter: Prompter) -> None:
    encoder = Encoder(prompter, True, [("ab", None), (BEGIN_OF_TEXT + "ab", None)])
    bare = _ids(prompter, "ab")
    assert encoder.prompt("ab") == encoder.prompt(BEGIN_OF_TEXT + "ab") == [prompter.bos_id, *bare]
    assert Encoder(prompter, False, [("ab", None)]).prompt("ab") == bare


@pytest.mark.parametrize(
    ("context", "continuation", "head", "tail"),
    [
        ("Q: a", " b", "Q: a", " b"),
        ("Q: a ", "b", "Q: a", " b"),
        ("Q:\n\n", "b", "Q:", "\n\nb"),
    ],
)
def test_white_space_between_belongs_to_the_continuation(
    prompter: Prompter, context: str, continuation: str, head: str, tail: str
) -> None:
    encoder = Encoder(prompter, True, [(context, continuation)])
    found = encoder.pair(context, continuation)
    assert found == ([prompter.bos_id, *_ids(prompter, head)], _ids(prompter, tail), False)


def test_an_empty_context_becomes_the_begin_of_text_token(prompter: Prompter) -> None:
    assert Encoder(prompter, True, [("", "ab")]).pair("", "ab") == ([prompter.bos_id], _ids(prompter, "ab"), False)


def test_an_open_last_turn_is_continued(prompter: Prompter) -> None:
    history = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "The answer is"}]
    assert prompter.chat(history, add_generation_prompt=False).endswith("The answer is")


def test_special_tokens_are_left_out_for_reading(prompter: Prompter) -> None:
    assert prompter.without_special(f"a{BEGIN_OF_TEXT}b") == "ab"


def _own_suite(folder: Path, task: str = "") -> tuple[AccuracyPlan, Column]:
    """A suite of one column of nine generated documents; `task` ends its task file."""
    (folder / "mine").mkdir()
    mini = suite_file("mini").parent
    for name in ("data.py", "_generated.yaml", "mini_arc.yaml"):
        (folder / "mine" / name).write_text((mini / name).read_text().replace("documents: 500", "documents: 9"))
    with (folder / "mine" / "mini_arc.yaml").open("a") as file:
        file.write(task)
    text = (mini / "suite.yaml").read_text().replace("name: mini\n", "name: mine\n", 1)
    text = text[: text.index("  - name: mini_winogrande")].replace("documents: 500", "documents: 9")
    (folder / "mine" / "suite.yaml").write_text(text)
    suite = load_suite(str(folder / "mine"))
    return plan_accuracy(suite, ["baseline"], file=folder / "mine" / "suite.yaml"), suite.columns[0]


def test_a_task_file_outside_reads_its_data(tmp_path: Path) -> None:
    plan, column = _own_suite(tmp_path)
    assert len(load_column(plan, column, None).tasks["mini_arc"].task_docs) == 9


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ('doc_to_text: "{{nothing.here}}"', r"column mini_arc: lm-eval makes no task of mini_arc.yaml: UndefinedError"),
        ("test_split: nothing", "KeyError: 'nothing'"),
        ("output_type: nothing", "mini_arc.yaml: output_type: 'nothing' is none of generate_until, loglikelihood"),
        ("process_docs: !function data.nothing", "has no function 'nothing'"),
    ],
)
def test_a_task_file_that_makes_no_task_is_the_users_to_mend(tmp_path: Path, task: str, message: str) -> None:
    plan, column = _own_suite(tmp_path, f"\n{task}\n")
    with pytest.raises(InputError, match=message):
        load_column(plan, column, None)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("dataset_path: [a\nb: c", "is not valid YAML: .*line"),
        ("dataset_path: !!int x", "is not valid YAML: invalid literal"),
        ("include: 3", "include: 3 is no file; give its path"),
    ],
)
def test_a_task_file_that_cannot_be_read_is_named_with_the_place(tmp_path: Path, task: str, message: str) -> None:
    with pytest.raises(InputError, match=f"mini_arc.yaml(:|) {message}"):
        _own_suite(tmp_path, f"\n{task}\n")
