"""`swiftkv-bench compare`: did a candidate get worse? Exit code 0 no, 1 yes, 4 undecided."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    sides: Annotated[
        list[str],
        typer.Argument(
            help="BASELINE CANDIDATE: run folders, or names of accepted runs; or one RUN: its arms.",
            metavar="[BASELINE] CANDIDATE",
        ),
    ],
    policy: Annotated[
        Path | None, typer.Option(help="Policy file. Default: regression.yaml where there is one.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Key that may differ (hardware, engine.max-num-seqs, ...); repeatable.")
    ] = None,
    baselines: Annotated[Path, typer.Option(help="Folder of accepted runs.")] = Path("results/baselines"),
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

    run(tuple(sides), policy, tuple(allow or ()), baselines, out=out, as_json=json)
