"""`swiftkv-bench report`: renders finished or interrupted runs again, without engines."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are shown in one report.", metavar="RUN...")],
    out: Annotated[Path | None, typer.Option(help="Folder of the report. Default: report/ in the first run.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the analysis as JSON.")] = False,
    slo: Annotated[
        str | None, typer.Option(help="Latency targets in place of the runs' own: ttft=2s,tpot=50ms,share=90%.")
    ] = None,
) -> None:
    """Analyses run folders and writes tables, plots and an HTML page."""
    from swiftkv_bench.cli.output import show
    from swiftkv_bench.notation import parse_objective
    from swiftkv_bench.store import open_run

    objective = None if slo is None else parse_objective(slo)
    show([open_run(path) for path in runs], out or runs[0] / "report", as_json=json, objective=objective)
