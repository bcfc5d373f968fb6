"""`swiftkv-bench accuracy`: what SwiftKV costs in quality."""

from swiftkv_bench.cli.options import AccuracyFlags, EngineFlags, RescoreFlags, RunFlags, grouped


@grouped
def command(accuracy: AccuracyFlags, again: RescoreFlags, engines: EngineFlags, run: RunFlags) -> None:
    """Answers accuracy suites with baseline and SwiftKV and compares them item by item.

    Measures and exits 0 whatever the verdict; `compare RUN` exits with it.
    """
    if again.rescore is not None:
        from swiftkv_bench.cli.rescoring import rescore

        rescore(again.rescore, accuracy, engines, run)
        return
    from swiftkv_bench.cli.execution import execute

    execute(engines, run, accuracy=accuracy)
