"""The command line: one module a command. Each parses, builds one object, calls one function, prints.

Standard output holds what was asked for, everything else goes to standard error. The package's own errors
become one sentence and an exit code; anything else keeps its traceback and exits 70.
"""

import signal
import sys
import traceback
from types import FrameType
from typing import Annotated

import typer

from swiftkv_bench import __version__
from swiftkv_bench.cli.accept import OLD_NAMES, accept, accepted, old_commands
from swiftkv_bench.cli.accuracy import command as accuracy
from swiftkv_bench.cli.bench import command as bench
from swiftkv_bench.cli.compare import command as compare
from swiftkv_bench.cli.distill import command as distill
from swiftkv_bench.cli.doctor import command as doctor
from swiftkv_bench.cli.export import command as export
from swiftkv_bench.cli.history import command as history
from swiftkv_bench.cli.model import app as model
from swiftkv_bench.cli.perf import command as perf
from swiftkv_bench.cli.report import command as report
from swiftkv_bench.cli.streams import harden
from swiftkv_bench.cli.verify import command as verify
from swiftkv_bench.errors import EXIT_DEFECT, EXIT_INTERRUPTED, SwiftKVBenchError


def _version(wanted: bool) -> None:
    if wanted:
        print(f"swiftkv-bench {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="swiftkv-bench",
    help="Proves or refutes SwiftKV for an engine, a model and a machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: OLD_NAMES.get(name, name),
    },
)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version and exit.", callback=_version)
    ] = False,
) -> None:
    """Options before the command."""


app.command("bench")(bench)
app.command("accuracy")(accuracy)
app.command("perf")(perf)
app.command("report")(report)
app.command("export")(export)
app.command("compare")(compare)
app.command("accept")(accept)
app.command("accepted")(accepted)
app.add_typer(old_commands(), name="baseline", hidden=True)
app.command("history")(history)
app.command("verify")(verify)
app.command("doctor")(doctor)
app.command("distill")(distill)
app.add_typer(model, name="model")


def main() -> None:
    """Entry point of the `swiftkv-bench` script."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    harden()
    try:
        try:
            app(standalone_mode=True)
        finally:
            sys.stdout.flush()  # here, where a full disk is still one sentence
    except SwiftKVBenchError as e:
        print(f"swiftkv-bench: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception:  # noqa: BLE001  # printed whole; Python's own exit code 1 would say that a check failed
        traceback.print_exc()
        sys.exit(EXIT_DEFECT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
