"""Time and memory to analyse a large load run: 1,000,000 requests of 256 tokens, read from the run folder.

    python benchmarks/analysis_scale.py [--requests 1000000] [--trials 20] [--tokens 256]

Writes the run to a temporary folder, then analyses it in a fresh process and prints its wall and processor seconds and
peak resident memory; also at a quarter of the size, to show how both grow.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from swiftkv_bench.analysis import analyse
from swiftkv_bench.schema.engine import Arm, EngineSpec
from swiftkv_bench.schema.manifest import Machine, Manifest, RunPlan
from swiftkv_bench.schema.perf import Arrivals, Length, PerfPlan, Point, RequestTable, Trial, TrialRecord
from swiftkv_bench.store import Run, create_run, open_run

RATE = 250.0


def _table(requests: int, tokens: int, seed: int) -> RequestTable:
    """Poisson arrivals; first tokens after 80 to 120 ms, then one about every 10 ms."""
    rng = np.random.default_rng(seed)
    scheduled = np.cumsum(rng.exponential(1 / RATE, requests))
    sent = scheduled + rng.exponential(0.0001, requests)
    gaps = rng.normal(0.01, 0.001, (requests, tokens))
    gaps[:, 0] = rng.uniform(0.08, 0.12, requests)
    chunk_s = sent[:, None] + np.cumsum(np.maximum(gaps, 0.0), axis=1)
    whole = np.ones(requests, dtype=np.int64)
    return RequestTable(
        scheduled_s=scheduled,
        sent_s=sent,
        end_s=chunk_s[:, -1].copy(),
        status=0 * whole,
        http_status=200 * whole,
        prompt_tokens_asked=100 * whole,
        output_tokens_asked=tokens * whole,
        prompt_tokens=100 * whole,
        output_tokens=tokens * whole,
        cached_tokens=0 * whole,
        chunk_start=np.arange(requests + 1, dtype=np.int64) * tokens,
        chunk_s=chunk_s.ravel(),
        chunk_tokens=np.ones(requests * tokens, dtype=np.int64),
        errors={},
    )


def _write(folder: Path, requests: int, trials: int, tokens: int) -> Run:
    """A run of one point and two arms with `requests` requests in all."""
    each = requests // trials
    arrivals = Arrivals(process="poisson", rate=RATE)
    point = Point(input_len=Length(mean=100), output_len=Length(mean=tokens), arrivals=arrivals, requests=each)
    arms: tuple[Arm, ...] = ("baseline", "swiftkv")
    planned = tuple(
        Trial(trial_id=f"{arm}-{repeat}", point=point, arm=arm, repeat=repeat, seed=repeat)
        for repeat in range(trials // 2)
        for arm in arms
    )
    run = create_run(
        folder,
        Manifest(
            run_id="scale",
            status="complete",
            created_utc="2026-01-01T00:00:00+00:00",
            profile="scale",
            engines=tuple(EngineSpec(arm=a, kind="fake", model="m", tokenizer="m", max_model_len=512) for a in arms),
            plan=RunPlan(perf=PerfPlan(seed=0, trials=planned)),
            plan_hash="scale",
            machine=Machine(platform="any", logical_cpus=1),
            packages={},
            harness_version="0",
        ),
    )
    template = _table(each, tokens, 0)
    for trial in planned:
        shift = np.random.default_rng(trial.repeat).uniform(0, 0.001)
        table = replace(template, chunk_s=template.chunk_s + shift, end_s=template.end_s + shift)
        window_s = float(table.scheduled_s[-1])
        record = TrialRecord(
            trial=trial,
            status="complete",
            started_utc="2026-01-01T00:00:00+00:00",
            window_s=window_s,
            total_s=window_s + 3,
        )
        run.write_trial(record, table)
    return run


def _measure(folder: Path) -> None:
    """Runs in a process of its own; prints one JSON line."""
    start = time.perf_counter()
    found = analyse(open_run(folder))
    wall_s = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    arms = found.perf[0].points[0].arms
    line = {
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "rss_bytes": usage.ru_maxrss * 1024,
        "requests": sum(a.ok for a in arms.values()),
        "itl_p99_s": arms["baseline"].estimates["itl_p99_s"].value,
    }
    print(json.dumps(line))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        _measure(options.measure)
        return
    print(f"{'requests':>10} {'tokens':>12} {'wall s':>8} {'cpu s':>8} {'peak GB':>8}")
    for requests in (options.requests // 4, options.requests):
        with tempfile.TemporaryDirectory() as scratch:
            _write(Path(scratch) / "run", requests, options.trials, options.tokens)
            command = [sys.executable, __file__, "--measure", f"{scratch}/run"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        tokens = found["requests"] * options.tokens
        print(
            f"{found['requests']:>10,} {tokens:>12,} {found['wall_s']:>8.1f} {found['cpu_s']:>8.1f} "
            f"{found['rss_bytes'] / 1e9:>8.2f}"
        )


if __name__ == "__main__":
    main()
