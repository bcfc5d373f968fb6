"""`swiftkv-bench bench`: accuracy and load on the same engines, one report."""

from pathlib import Path
from typing import Annotated

import typer

from swiftkv_bench.cli.options import AccuracyFlags, EngineFlags, LoadFlags, RunFlags, grouped


@grouped
def command(
    engines: EngineFlags,
    run: RunFlags,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with local copies of the data set repositories. Default: the hub.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items an accuracy column.")] = None,
) -> None:
    """The profile's accuracy suite and load points, in one run with one report."""
    from swiftkv_bench.cli.execution import execute

    execute(engines, run, accuracy=AccuracyFlags(data_dir=data_dir, limit=limit), load=LoadFlags())
