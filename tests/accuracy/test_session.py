"""What becomes of answers that are none, and of an engine that says to wait."""

import threading
from pathlib import Path

import pytest

from swiftkv_bench.accuracy.items import Generation, Item
from swiftkv_bench.accuracy.session import Session, Tally
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.errors import EngineError, ScoringError
from swiftkv_bench.observer import Silent
from tests.fake_engine import fake_engine

ITEM = Item("column", "task", 3, {}, [], (Generation((1, 2, 3), 6, ()),), (1,), False, "abc", (), "target")


class Noting(Silent):
    """Keeps what is said while it waits."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def progress(self, key: str, text: str, done: float | None = None, total: float | None = None) -> None:
        """Kept."""
        self.said.append(text)

    def finish(self, key: str, text: str | None = None) -> None:
        """Kept."""
        self.said.append(f"{key} is over")


def answered(url: str, folder: Path, observer: Noting) -> tuple[list[object], list[str]]:
    """Answers of one item, and the lines of the journal."""
    session = Session("baseline", Target(url, "fake", "none", "key", 4096), folder, threading.Event(), observer)
    try:
        answers = [found.answers for found in session.answer([ITEM], 0, 2, Tally())]
    finally:
        session.close()
        journal = folder / "journal" / "baseline.jsonl"
        lines = journal.read_text().splitlines() if journal.exists() else []
        assert len(lines) <= 1
    return [*answers], lines


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("no-text", EngineError, "the engine's answer lacks text: {'index': 0, 'finish_reason': 'length', "),
        ("no-finish", EngineError, "the engine's answer lacks finish_reason: {'index': 0, "),
        (
            "finish:reason=abort",
            ScoringError,
            "document 3 of task task: the engine ended the answer with finish",
        ),
        ("finish:reason=null", ScoringError, "document 3 of task task: the engine ended the answer with finish"),
    ],
)
def test_an_answer_that_is_none_is_one_sentence_and_not_journaled(
    fault: str, error: type[EngineError], said: str, tmp_path: Path
) -> None:
    with fake_engine("--fault", fault) as url, pytest.raises(error) as raised:
        answered(url, tmp_path, Noting())
    assert type(raised.value) is error
    assert str(raised.value).startswith(said)
    assert (raised.value.exit_code, "\n" in str(raised.value)) == (3, False)
    journal = tmp_path / "journal" / "baseline.jsonl"
    assert not journal.exists() or journal.read_text() == ""


def test_a_busy_engine_is_asked_again_when_it_says_and_the_wait_is_shown(tmp_path: Path) -> None:
    observer = Noting()
    with fake_engine("--fault", "busy:after=2,n=0") as url:
        answers, lines = answered(url, tmp_path, observer)
    assert (len(answers), len(lines)) == (1, 1)
    told = f"{url}/v1/completions is busy and says to wait 0 ms"
    assert observer.said == [told, "busy is over", told, "busy is over"]
