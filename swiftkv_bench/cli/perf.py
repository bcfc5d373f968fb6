"""`swiftkv-bench perf`: what SwiftKV gains under load."""

from swiftkv_bench.cli.options import EngineFlags, LoadFlags, RunFlags, grouped


@grouped
def command(load: LoadFlags, engines: EngineFlags, run: RunFlags) -> None:
    """Puts the same load on baseline and SwiftKV and compares TTFT, TPOT and throughput."""
    from swiftkv_bench.cli.execution import execute

    execute(engines, run, load=load)
