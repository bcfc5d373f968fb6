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
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Checks machine, packages and models, then starts the engines and probes them."""
    from swiftkv_bench.cli.diagnosis import diagnose

    diagnose(engines, start_engines=not no_engines, as_json=json)
