"""What the system refuses to write becomes one sentence, with the exit code of its cause."""

from pathlib import Path

import pytest

from swiftkv_bench.errors import InputError, Repair, StorageError, SwiftKVBenchError, writing


@pytest.mark.parametrize(
    ("path", "kind", "code", "said"),
    [
        ("/dev/full", StorageError, 3, "/dev/full: No space left on device; free space there, or do so"),
        ("/dev/null/x", InputError, 2, "cannot write /dev/null/x: Not a directory; do so"),
        ("/" + "x" * 300, InputError, 2, "File name too long; do so"),
    ],
)
def test_a_full_disk_is_the_environments_and_a_wrong_path_the_users(
    path: str, kind: type[SwiftKVBenchError], code: int, said: str
) -> None:
    with pytest.raises(kind) as raised, writing(Path(path), "do so"), Path(path).open("wb", buffering=0) as file:
        file.write(b"x")
    assert raised.value.exit_code == code
    assert said in str(raised.value)


def test_a_file_that_must_be_where_it_is_gets_no_advice_to_be_elsewhere() -> None:
    repair = Repair("make the folder writable", "the same command goes on")
    path = Path("/dev/full")
    with pytest.raises(StorageError) as full, writing(path, repair), path.open("wb", buffering=0) as file:
        file.write(b"x")
    assert str(full.value).endswith("No space left on device; free space there; the same command goes on")
    with pytest.raises(InputError) as denied, writing(path, repair):
        raise PermissionError(13, "Permission denied", "r/x")
    assert str(denied.value) == (
        "cannot write r/x: Permission denied; make the folder writable; the same command goes on"
    )


def test_an_error_that_says_nothing_is_named_by_its_kind() -> None:
    with pytest.raises(InputError, match="cannot write x: OSError; do so"), writing(Path("x"), "do so"):
        raise OSError
