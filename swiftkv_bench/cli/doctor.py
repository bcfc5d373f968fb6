"""`swiftkv-bench doctor`: is this machine ready, and do the engines do what they are asked?"""

from typing import Annotated

import typer

from swiftkv_bench.cli.options import EngineFlags, grouped


@grouped
def command(
    engines: EngineFlags,
    no_engines: Annotated[
        bool, typer.Option("--no-engines", help="Check the machine and packages only; start nothing.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check profile, options and config files of both engines only; exit 0 or 2."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Checks machine, packages and models, then starts the engines and probes them.

    With --dry-run needs no GPU, no weights and no vLLM, and says whether both engines would start as asked.
    """
    from swiftkv_bench.cli.diagnosis import diagnose

    diagnose(engines, start_engines=not (no_engines or dry_run), machine=not dry_run, as_json=json)
