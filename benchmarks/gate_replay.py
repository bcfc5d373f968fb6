"""Does `compare` find a planted regression, name its line, and nothing else?

    python benchmarks/gate_replay.py answers [--limit 200] [--fault skips_rare_rows]
    python benchmarks/gate_replay.py latency [--ttft 0.4] [--slower 1.1] [--repeats 5]

`answers` replays ArcticInference issue 217 on real vLLM engines: Mini GSM8K with the embedded pair, twice as it is and
once with a faulty plug-in behind the SwiftKV arm. Same answers on a busy machine. `latency` does it on the fake engine,
whose SwiftKV arm once takes longer to the first token; it measures latencies and needs an idle machine. The first run
is held against itself, the second and the third; runs and reports stay in `--out`. Ends with 1 where a verdict is
not the one expected.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Verdict

ROOT = Path(__file__).resolve().parents[1]
ITL_S, TOKENS = 0.02, 31
_FAKE = """\
name: fake
description: the fake engine with known latencies
engine: fake
max_model_len: 4096
together: true
baseline: {{builtin: baseline}}
swiftkv: {{builtin: swiftkv}}
engine_args: {{itl: {itl}, vocab: 32768}}
baseline_args: {{ttft: 0.1}}
swiftkv_args: {{ttft: {ttft}}}
"""


@dataclass(frozen=True)
class Replay:
    """Run name (`before`, `again`, `worse`) -> its command; what may differ; lines that `worse` may fail by."""

    commands: Mapping[str, Sequence[str]]
    allow: str
    expected: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def answers(given: argparse.Namespace) -> Replay:
    """Of real engines, the last one with a fault."""
    # The faults are part of the tests, not of the package.
    sys.path.insert(0, str(ROOT))
    from tests.swiftkv.faults import stage_fault

    fault = given.out / "fault"
    path = os.pathsep.join((str(fault if fault.exists() else stage_fault(fault, given.fault)), str(ROOT)))
    command = ["accuracy", "--profile", "embedded", "--suite", "mini:mini_gsm8k", "--limit", str(given.limit)]
    command += ["--repeat-baseline", "--quiet"]
    faulty = [*command, "--swiftkv-env", f"PYTHONPATH={path}"]
    commands = {"before": command, "again": command, "worse": faulty}
    return Replay(commands, "engine.env:PYTHONPATH", ("flips", "score"), {"PYTHONPATH": str(ROOT)})


def latency(given: argparse.Namespace) -> Replay:
    """Of the fake engine, the last one slower to the first token."""
    commands = {}
    for name, factor in (("before", 1.0), ("again", 1.0), ("worse", given.slower)):
        profile = given.out / f"{name}.yaml"
        profile.write_text(_FAKE.format(itl=ITL_S, ttft=given.ttft * factor))
        command = ["perf", "--profile", str(profile), "--input-len", "50", "--rate", "inf", "--requests", "12"]
        command += ["--output-len", str(TOKENS), "--repeats", str(given.repeats), "--no-self-test", "--quiet"]
        commands[name] = command
    return Replay(commands, "engine.ttft", ("ttft_mean_s", "ttft_p50_s"))


def swiftkv_bench(command: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The command line, as a user gives it; what it says to standard error goes to ours."""
    print(f"$ swiftkv-bench {' '.join(command)}", flush=True)
    whole = [sys.executable, "-m", "swiftkv_bench", *command]
    return subprocess.run(whole, check=False, stdout=subprocess.PIPE, text=True, env=os.environ | dict(env))


def compared(name: str, folder: Path, replay: Replay) -> bool:
    """Prints what `compare` says of the first run and another; whether that was to be expected."""
    allow = ["--allow", replay.allow] if name == "worse" else []
    sides = [str(folder / "before"), str(folder / name)]
    report = ["--json", "--out", str(folder / f"report-{name}")]
    done = swiftkv_bench(["compare", *sides, *allow, *report], replay.env)
    found = RunComparison.model_validate_json(done.stdout)
    print(f"{name}: {found.verdicts.overall}, exit code {done.returncode}")
    for line in found.lines:
        if line.role != "shown" and (line.verdict is not Verdict.PASS or line.role == "primary"):
            effect = "no effect" if line.effect is None else f"effect {line.effect:.4g}"
            bounds = "" if line.bounds is None else f" [{line.bounds.low:.4g}, {line.bounds.high:.4g}]"
            print(f"  {line.verdict:12} {line.title}, {line.candidate_arm}: {effect}{bounds}, limit {line.limit:.4g}")
    if name != "worse":
        return done.returncode == 0
    failed = {line.metric for line in found.failed}
    return done.returncode == 1 and bool(failed) and failed <= set(replay.expected)


def main() -> None:
    """Measures, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_answers, of_latency = kinds.add_parser("answers"), kinds.add_parser("latency")
    of_answers.add_argument("--limit", type=int, default=200, help="items")
    of_answers.add_argument("--fault", default="skips_rare_rows", help="one of tests.swiftkv.faults")
    of_latency.add_argument("--ttft", type=float, default=0.4, help="seconds")
    of_latency.add_argument("--slower", type=float, default=1.1, help="factor")
    of_latency.add_argument("--repeats", type=int, default=5)
    for one in (of_answers, of_latency):
        one.add_argument("--out", type=Path, help="folder of runs and reports; default: results/replay-KIND")
    given = parser.parse_args()
    given.out = (given.out or Path(f"results/replay-{given.kind}")).resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    replay = {"answers": answers, "latency": latency}[given.kind](given)
    for name, command in replay.commands.items():
        code = swiftkv_bench([*command, "--out", str(given.out / name)], replay.env).returncode
        if code:
            sys.exit(f"{name}: exit code {code}: a probe refused the engine, or it did not run; see above")
    as_expected = [compared(name, given.out, replay) for name in ("before", "again", "worse")]
    sys.exit(0 if all(as_expected) else 1)


if __name__ == "__main__":
    main()
