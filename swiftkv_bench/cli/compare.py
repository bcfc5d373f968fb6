"""`swiftkv-bench compare`: did a candidate get worse? Exit code 0 no, 1 yes, 4 undecided."""

from pathlib import Path
from typing import Annotated

import typer

from swiftkv_bench.cli.accept import ROOT, Root


def command(
    sides: Annotated[
        list[str],
        typer.Argument(
            help="REFERENCE CANDIDATE: run folders, or names of accepted runs; or one RUN: its arms.",
            metavar="[REFERENCE] CANDIDATE",
        ),
    ],
    policy: Annotated[
        Path | None, typer.Option(help="Policy file. Default: regression.yaml where there is one.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Key that may differ (hardware, engine.max-num-seqs, ...); repeatable.")
    ] = None,
    root: Root = ROOT,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for comparison.html, .md and .json, junit.xml and figures. Default: none written."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compares two runs like arm with like arm, or one run's arms; names every line that got worse.

    On GitHub Actions it also appends to the job's summary and annotates what failed.
    """
    from swiftkv_bench.cli.comparing import run

    run(tuple(sides), policy, tuple(allow or ()), root, out=out, as_json=json)
