"""`swiftkv-bench accept` and `accepted`: the runs that later ones are held against."""

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[Path, typer.Option("--accepted", help="Folder of accepted runs.")]
ROOT = Path("results/baselines")
"""It has kept its first name, so that runs accepted before are found."""

OLD_NAMES = {"baselines": "accepted"}
"""Options by the names that they had before."""


def accept(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    name: Annotated[str, typer.Option(help="What it is accepted as; `compare NAME RUN` takes the newest.")] = "main",
    note: Annotated[str | None, typer.Option(help="Why, kept with it.")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy file whose latency targets goodput counts against.")
    ] = None,
    root: Root = ROOT,
) -> None:
    """Adds a run to the accepted ones of a name, small enough to commit; overwrites nothing."""
    from swiftkv_bench.cli.accepting import accept_run

    accept_run(run, name, note, policy, root)


def accepted(
    name: Annotated[str | None, typer.Argument(help="Only this name.")] = None,
    root: Root = ROOT,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Lists accepted runs, oldest first; the last of a name is what the name stands for."""
    from swiftkv_bench.cli.accepting import list_runs

    list_runs(name, root, as_json=json)


def old_commands() -> typer.Typer:
    """`baseline accept` and `baseline list`, as they were called before."""
    app = typer.Typer(help="The old name of `accept` and `accepted`.", no_args_is_help=True)
    app.command("accept")(accept)
    app.command("list")(accepted)
    return app
