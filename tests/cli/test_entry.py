"""The command's own options."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swiftkv_bench import __version__

COMMAND = [sys.executable, "-m", "swiftkv_bench"]
HEAVY = ("numpy", "pandas", "matplotlib", "scipy", "torch", "vllm", "lm_eval", "transformers")


def test_it_tells_its_version() -> None:
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"swiftkv-bench {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys; import swiftkv_bench.cli; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_says_what_the_program_does() -> None:
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert "Proves or refutes SwiftKV" in done.stdout


def test_a_defect_keeps_its_traceback_and_is_no_failed_check() -> None:
    code = "from swiftkv_bench import cli; cli.app.command('broken')(lambda: 1 / 0); cli.main()"
    done = subprocess.run([sys.executable, "-c", code, "broken"], capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr


def test_a_sign_that_the_terminal_lacks_is_a_question_mark() -> None:
    code = "from swiftkv_bench import cli; cli.app.command('sign')(lambda: print('2 \\u00d7 \\udcff')); cli.main()"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code, "sign"], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, b"2 ? ?\n"), done.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_early_does_not_change_what_a_command_ends_with(stream: str, tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from swiftkv_bench import cli, errors\n"
        "def ending():\n"
        f"    print('x' * 200_000, file=sys.{stream}, flush=True); print('more', file=sys.{stream}, flush=True)\n"
        "    pathlib.Path('after').touch(); raise errors.InconclusiveError('undecided')\n"
        "cli.app.command('ending')(ending); cli.main()"
    )
    reading, writing = os.pipe()
    os.close(reading)
    out, err = (writing if name == stream else subprocess.DEVNULL for name in ("stdout", "stderr"))
    done = subprocess.run([sys.executable, "-c", code, "ending"], cwd=tmp_path, stdout=out, stderr=err, check=False)
    os.close(writing)
    assert (done.returncode, (tmp_path / "after").exists()) == (4, True)


def test_an_output_that_nobody_opened_is_no_error() -> None:
    closed = ["sh", "-c", 'exec "$@" >&-', "sh"]
    code = (
        "import sys; from swiftkv_bench import cli; "
        "cli.app.command('out')(lambda: print(sys.stdout.isatty())); cli.main()"
    )
    done = subprocess.run([*closed, sys.executable, "-c", code, "out"], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_on_a_full_disk_is_one_sentence() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run([*COMMAND, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr == (
        "swiftkv-bench: cannot write standard output: No space left on device; free space there, or send the output "
        "elsewhere\n"
    )
