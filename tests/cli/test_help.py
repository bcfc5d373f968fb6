"""What every command says of itself: golden, with a default or a hint for each option."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from swiftkv_bench.cli import app
from tests.render.golden import check

GOLDEN = Path(__file__).parent / "golden"


def _paths(command: Any, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = getattr(command, "commands", {})
    return [words, *(path for name in below for path in _paths(below[name], (*words, name)))]


COMMANDS = _paths(typer.main.get_command(app))


def _help(words: tuple[str, ...]) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="swiftkv-bench", env={"COLUMNS": "100"})
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: "-".join(words) or "swiftkv-bench")
def test_help(words: tuple[str, ...]) -> None:
    check(f"help-{'-'.join(words) or 'swiftkv-bench'}.txt", _help(words), GOLDEN)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: "-".join(words) or "swiftkv-bench")
def test_every_line_fits_and_every_option_is_explained(words: tuple[str, ...]) -> None:
    assert max(len(line) for line in _help(words).splitlines()) <= 100
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    options = [p for p in command.params if p.param_type_name == "option"]
    assert options or hasattr(command, "commands")
    assert [p.name for p in options if not p.help] == []
