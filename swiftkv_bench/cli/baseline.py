"""`swiftkv-bench baseline accept` and `baseline list`: the runs that later ones are held against."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Accepted runs: what later runs are held against.", no_args_is_help=True)

_ROOT = Path("results/baselines")


@app.command("accept")
def accept_command(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    name: Annotated[str, typer.Option(help="What it is accepted as; `compare NAME RUN` takes the newest.")] = "main",
    note: Annotated[str | None, typer.Option(help="Why, kept with it.")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy file whose latency targets goodput counts against.")
    ] = None,
    baselines: Annotated[Path, typer.Option(help="Folder of accepted runs.")] = _ROOT,
) -> None:
    """Adds a run to the accepted ones of a name, small enough to commit; overwrites nothing."""
    from swiftkv_bench.cli.accepting import accept_run

    accept_run(run, name, note, policy, baselines)


@app.command("list")
def list_command(
    name: Annotated[str | None, typer.Argument(help="Only this name.")] = None,
    baselines: Annotated[Path, typer.Option(help="Folder of accepted runs.")] = _ROOT,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Lists accepted runs, oldest first; the last of a name is what the name stands for."""
    from swiftkv_bench.cli.accepting import list_runs

    list_runs(name, baselines, as_json=json)
