"""Files that a user writes as YAML: whatever is wrong with one is a sentence that names the file."""

from pathlib import Path

import pytest

from swiftkv_bench.engines.profiles import load_profile
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.engine import PerfDefaults, Profile
from swiftkv_bench.schema.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "is not valid YAML: 'utf-8' codec"),
        (b"name: [", "is not valid YAML: while parsing"),
        (b"name: 2024-99-99", "is not valid YAML: month must be in 1..12"),
        (b"name: !!bool x", "is not valid YAML: 'x'"),
        (b"[" * 5000, "is not valid YAML: maximum recursion depth"),
        (b"", "holds nothing and is no profile; write `key: value` lines"),
        (b"- a", "holds ['a'] and is no profile"),
        (b"x" * 500, "x…"),
        (b"nam: a", ":name is missing; a profile needs it"),
        (b"name: a\ndescription: a\nbaseline: {model: a}\nswiftkv: {model: a}\nmax_model_len: two", "found 'two'"),
        (b"name: a\ndescription: a\nbaseline: {model: a}\nswiftkv: {}\nmax_model_len: 2", ":swiftkv: exactly one of"),
        (b"name: a\ndescription: a\nbaseline: {model: a}\nswiftkv: {model: a}\nmax_model_len: 2\ntogeter: true",
         ":togeter is no key of a profile"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_that_names_the_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        load_profile(str(path))
    text = str(raised.value)
    assert text.startswith(str(path))
    assert said in text
    assert "\n" not in text


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory; give a profile that can be read"):
        read_yaml(tmp_path, Profile, "a profile")


def test_an_empty_file_is_the_defaults_where_all_have_one(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml", PerfDefaults, "a suite", empty=True) == PerfDefaults()
