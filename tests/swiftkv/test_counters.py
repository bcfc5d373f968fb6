"""What the plug-in publishes at /metrics, in a process that shares the page with others as an engine core does."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from swiftkv_bench.swiftkv.counters import announce_model, counters
announce_model("skip", 16, 32, 1)
announce_model("skip", 16, 32, 1)
counters().step(10, 8, 3)
counters().step(5, 5, 0)
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def test_a_model_and_its_steps_are_published_without_a_warning(tmp_path: Path) -> None:
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", PROGRAM],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = dict(line.rpartition(" ")[::2] for line in done.stdout.splitlines() if line.startswith("swiftkv:"))
    labels = 'key_value_group_size="1",key_value_layers="16",layers="32",mode="skip"'
    assert said == {
        "swiftkv:tokens_total": "15.0",
        "swiftkv:prompt_tokens_total": "13.0",
        "swiftkv:second_half_tokens_total": "3.0",
        "swiftkv:steps_total": "2.0",
        "swiftkv:steps_without_second_half_total": "1.0",
        f"swiftkv:model_info{{{labels}}}": "1.0",
    }
