"""The journal: what was put is there after a crash; keys keep arms, repeats and requests apart."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.accuracy.journal import Journal, answer_key

BODY = {"prompt": [1, 2, 3], "max_tokens": 5}


def test_answers_outlive_the_process_that_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "baseline.jsonl"
    journal = Journal(path)
    journal.put("a", ["text", "stop"])
    journal.put("b", [[-1.5, True]])
    # Read beside the open journal: nothing waits in a buffer of this process.
    with Journal(path) as again:
        assert (again.get("a"), again.get("b"), again.get("c"), len(again)) == (
            ["text", "stop"],
            [[-1.5, True]],
            None,
            2,
        )
    journal.close()


def test_a_line_cut_by_a_crash_is_removed_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'["a",1]\n["b",2]\n["c",')
    with Journal(path) as journal:
        journal.put("d", 4)
    assert path.read_bytes() == b'["a",1]\n["b",2]\n["d",4]\n'


def test_the_key_tells_engine_request_and_repeat_apart() -> None:
    keys = [
        answer_key("one", BODY), answer_key("two", BODY), answer_key("one", BODY, repeat=1),
        answer_key("one", BODY | {"max_tokens": 6}), answer_key("one", BODY | {"prompt": [1, 2]}),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_the_key_does_not_depend_on_the_order_of_fields() -> None:
    assert answer_key("one", {"max_tokens": 5, "prompt": [1, 2, 3]}) == answer_key("one", BODY)


@given(st.dictionaries(st.text(min_size=1), st.lists(st.floats(allow_nan=False) | st.text() | st.booleans())))
def test_any_answer_comes_back_as_it_was(answers: dict[str, list[object]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        with Journal(path) as journal:
            for key, answer in answers.items():
                journal.put(key, answer)
        with Journal(path) as again:
            assert {key: again.get(key) for key in answers} == answers
