"""`swiftkv-bench perf`: what SwiftKV gains under load."""

from typing import Annotated

import typer

from swiftkv_bench.cli.options import EngineFlags, LoadFlags, RunFlags, grouped


@grouped
def command(
    load: LoadFlags,
    engines: EngineFlags,
    run: RunFlags,
    repeat_baseline: Annotated[
        bool,
        typer.Option(
            "--repeat-baseline", help="Run a second baseline engine in turn with the others: the noise floor (A/A)."
        ),
    ] = False,
) -> None:
    """Puts the same load on baseline and SwiftKV and compares TTFT, TPOT and throughput.

    Measures and exits 0 whatever the gain; `compare RUN` exits with a verdict.
    """
    from swiftkv_bench.cli.execution import execute

    execute(engines, run, load=load, repeat_baseline=repeat_baseline)
