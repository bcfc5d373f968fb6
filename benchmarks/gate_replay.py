"""Does `compare` find an engine that takes a tenth more time to the first token, and nothing else?

    python benchmarks/gate_replay.py [--ttft 0.4] [--slower 1.1] [--repeats 5]

Measures the fake engine three times with `swiftkv-bench perf`: twice with the same latencies, once with a longer TTFT
of its SwiftKV arm; holds the second and the third against the first. Needs an idle machine: it measures latencies.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from swiftkv_bench.cli.comparing import compared
from swiftkv_bench.regression.policy import Policy

ITL_S, TOKENS = 0.02, 31
_PROFILE = """\
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


def measure(folder: Path, ttft_s: float, repeats: int) -> None:
    """One run of the fake engine."""
    folder.mkdir()
    profile = folder / "fake.yaml"
    profile.write_text(_PROFILE.format(itl=ITL_S, ttft=ttft_s))
    load = ["--input-len", "50", "--rate", "inf", "--output-len", str(TOKENS), "--requests", "4"]
    run = ["--repeats", str(repeats), "--no-self-test", "--out", str(folder / "run"), "--quiet"]
    command = [sys.executable, "-m", "swiftkv_bench", "perf", "--profile", str(profile), *load, *run]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Prints both verdicts and what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ttft", type=float, default=0.4, help="seconds")
    parser.add_argument("--slower", type=float, default=1.1, help="factor")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        root = Path(text)
        for name, factor in (("before", 1.0), ("again", 1.0), ("slower", given.slower)):
            measure(root / name, given.ttft * factor, given.repeats)
        for name in ("again", "slower"):
            sides = (str(root / "before" / "run"), str(root / name / "run"))
            found = compared(sides, Policy(), None, ("engine.ttft",), root)
            failed = ", ".join(f"{line.title} {line.candidate_arm} ×{line.effect:.3f}" for line in found.failed)
            print(f"{name}: {found.verdicts.overall}{f', worse: {failed}' if failed else ''}", flush=True)


if __name__ == "__main__":
    main()
