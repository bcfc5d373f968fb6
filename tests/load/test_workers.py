"""Client processes that are killed or interrupted, at whatever moment of their life."""

import os
import signal
import subprocess
import sys

import pytest

from swiftkv_bench.errors import EngineError
from tests.fake_engine import fake_engine
from tests.killing import killed_when_it_appears, wait_for_one
from tests.load.test_driver import run, trial

WORKER = "swiftkv_bench.load.worker"
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize("after_s", [0.0, 1.5])
def test_a_killed_client_process_is_one_sentence(after_s: float) -> None:
    # At once it still imports and its job is on the way to it; later it is measuring.
    with (
        fake_engine("--ttft", 0.01) as url,
        killed_when_it_appears(WORKER, after_s),
        pytest.raises(EngineError, match=r"client process \d+\.\d ended with code -9 before its time"),
    ):
        run(url, trial(400), workers=2)


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, as these tests may be, ignores it
from swiftkv_bench.load.driver import Options, run_trial
from swiftkv_bench.load.target import Target
from swiftkv_bench.observer import Silent
from tests.load.test_driver import trial
try:
    run_trial(trial(), Target(sys.argv[1], "fake", ((0, 256),)), Silent(), options=Options(workers=2))
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_client_process_that_still_imports_says_nothing_when_its_parent_is(number: int) -> None:
    command = [sys.executable, "-c", INTERRUPTED, NOWHERE]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_for_one(process.pid, WORKER)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
        _, said = process.communicate(timeout=30)  # ends when all its children have closed the pipe
    assert said == ("interrupted\n" if number == signal.SIGINT else "")
