"""Builds the command and environment of a vLLM server for one arm.

The SwiftKV plug-in is installed beside this package; for an interpreter that does not have it, a folder
with the plug-in and its entry points is put on PYTHONPATH, so nothing has to be installed there.
"""

import json
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from swiftkv_bench.engines.process import HOST, ServerProcess, free_port
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.engine import EngineSpec, OptionValue
from swiftkv_bench.swiftkv.staging import stage

MODULE = "vllm.entrypoints.openai.api_server"
API_KEY_VARIABLE = "VLLM_API_KEY"


def vllm_server(
    spec: EngineSpec, log: Path, scratch: Path, *, secret_env: Mapping[str, str], start_timeout_s: float
) -> ServerProcess:
    """A vLLM server for `spec`, not yet launched.

    Args:
        spec: resolved configuration; its `env` has secrets redacted.
        log: file the server's output goes to.
        scratch: folder for files that live as long as the engine.
        secret_env: variables of `spec.env` with their real values.
        start_timeout_s: seconds until a start counts as failed.

    Raises:
        InputError: the interpreter is not there.
    """
    python = spec.python or sys.executable
    if not Path(python).exists():
        raise InputError(f"--python {python} is not there; name an interpreter that can import vllm")
    port = spec.port or free_port()
    env = {**os.environ, **spec.env, **secret_env}
    scratch.mkdir(parents=True, exist_ok=True)
    if spec.python is not None or not _installed():
        env["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(stage(scratch / f"plugin-{spec.arm}")), env.get("PYTHONPATH")))
        )
    metrics = scratch / f"prometheus-{spec.arm}-{port}"
    metrics.mkdir(exist_ok=True)
    # Lets counters of the engine-core process appear on the API server's /metrics page.
    env.setdefault("PROMETHEUS_MULTIPROC_DIR", str(metrics))
    return ServerProcess(
        spec,
        [python, "-m", MODULE, *command_options(spec, port)],
        env,
        log,
        port=port,
        start_timeout_s=start_timeout_s,
        api_key=env.get(API_KEY_VARIABLE),
    )


def command_options(spec: EngineSpec, port: int) -> list[str]:
    """Options of the server's command line, in a fixed order."""
    options: dict[str, OptionValue] = {
        "model": spec.model,
        "tokenizer": spec.tokenizer,
        "served-model-name": spec.arm,
        "host": HOST,
        "port": port,
        "max-model-len": spec.max_model_len,
        "disable-uvicorn-access-log": True,
    }
    if spec.revision is not None:
        options["revision"] = spec.revision
    options |= spec.args
    return [word for name, value in options.items() for word in _option(name, value)]


def with_mode(args: Mapping[str, OptionValue], mode: str) -> dict[str, OptionValue]:
    """`args` with the SwiftKV mode added to `additional-config`, keeping what the user put there.

    Raises:
        InputError: the user's additional-config is no JSON object.
    """
    given = args.get("additional-config", "{}")
    try:
        config = json.loads(str(given))
    except ValueError as e:
        raise InputError(f"additional-config={given} is not JSON: {e}") from e
    if not isinstance(config, dict):
        raise InputError(f"additional-config={given} is not a JSON object; write {{...}}")
    config.setdefault("swiftkv_mode", mode)
    return {**args, "additional-config": json.dumps(config, sort_keys=True)}


def _option(name: str, value: OptionValue) -> list[str]:
    flag = f"--{name.lstrip('-').replace('_', '-')}"
    if value is True:
        return [flag]
    if value is False:
        return [f"--no-{flag[2:]}"]
    return [flag, str(value)]


def _installed() -> bool:
    try:
        metadata.distribution("swiftkv-bench")
    except metadata.PackageNotFoundError:
        return False
    return True
