"""Starts the shipped fake engine as an owned server process."""

import os
import sys
from pathlib import Path

from swiftkv_bench.engines.process import HOST, ServerProcess, free_port
from swiftkv_bench.schema.engine import EngineSpec

MODULE = "swiftkv_bench.engines.fake"


def fake_server(spec: EngineSpec, log: Path, *, start_timeout_s: float) -> ServerProcess:
    """The fake engine with the latencies and answers that `spec.args` says, not yet launched."""
    port = spec.port or free_port()
    command = [sys.executable, "-m", MODULE, "--host", HOST, "--port", str(port)]
    command += ["--model", spec.arm, "--max-model-len", str(spec.max_model_len)]
    for name, value in spec.args.items():
        if value is not False:
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return ServerProcess(spec, command, {**os.environ, **spec.env}, log, port=port, start_timeout_s=start_timeout_s)
