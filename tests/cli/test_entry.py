"""The command's own options."""

import os
import subprocess
import sys

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
