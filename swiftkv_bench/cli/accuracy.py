"""`swiftkv-bench accuracy`: what SwiftKV costs in quality."""

from swiftkv_bench.cli.options import AccuracyFlags, EngineFlags, RunFlags, grouped


@grouped
def command(accuracy: AccuracyFlags, engines: EngineFlags, run: RunFlags) -> None:
    """Answers accuracy suites with baseline and SwiftKV and compares them item by item.

    Measures and exits 0 whatever the verdict; `compare RUN` exits with it.
    """
    from swiftkv_bench.cli.execution import execute

    execute(engines, run, accuracy=accuracy)
