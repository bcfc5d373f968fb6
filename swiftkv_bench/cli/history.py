"""`swiftkv-bench history`: accepted runs over time, and where a figure's level changed."""

from pathlib import Path
from typing import Annotated

import typer

from swiftkv_bench.cli.accept import ROOT, Root


def command(
    name: Annotated[str, typer.Argument(help="Name of accepted runs.")] = "main",
    policy: Annotated[
        Path | None, typer.Option(help="Policy file. Default: regression.yaml where there is one.")
    ] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Key in which older runs may differ; repeatable.")] = None,
    root: Root = ROOT,
    out: Annotated[Path | None, typer.Option(help="Folder of the plot. Default: results/history/NAME.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the series as JSON.")] = False,
) -> None:
    """Lists every figure over the accepted runs and the steps in it; draws them."""
    from swiftkv_bench.cli.trending import show_history

    show_history(name, policy, tuple(allow or ()), root, out, as_json=json)
