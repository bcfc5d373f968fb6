"""Owning a server process: start, failure, ports and secrets."""

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from swiftkv_bench.engines.process import HOST, ServerProcess, free_port
from swiftkv_bench.errors import EngineError, InputError
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.engine import EngineSpec

SPEC = EngineSpec(arm="baseline", kind="vllm", model="m", tokenizer="m", max_model_len=64)


def _server(
    tmp_path: Path, command: Sequence[str], *, port: int | None = None, timeout_s: float = 20.0
) -> ServerProcess:
    env = {**os.environ, "HF_TOKEN": "hf_verysecret"}
    return ServerProcess(
        SPEC, command, env, tmp_path / "logs" / "baseline.log", port=port or free_port(), start_timeout_s=timeout_s
    )


def test_a_crash_at_start_shows_the_end_of_the_log_without_secrets(tmp_path: Path) -> None:
    program = "import os; print('line one'); print('token', os.environ['HF_TOKEN']); raise SystemExit(3)"
    with _server(tmp_path, [sys.executable, "-c", program]) as server:
        server.launch()
        with pytest.raises(EngineError) as caught:
            server.wait_ready(Silent())
    assert "the baseline engine ended with exit code 3" in str(caught.value)
    assert "line one" in str(caught.value)
    assert "hf_verysecret" not in str(caught.value)
    log = (tmp_path / "logs" / "baseline.log").read_text()
    assert "token ***" in log


def test_a_crash_whose_cause_is_far_from_the_end_of_the_log_says_the_cause_first(tmp_path: Path) -> None:
    said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.01 GiB."
    program = (
        f"print('(EngineCore pid=7) ERROR 11-25 13:22:57 [core.py:1332] {said}')\nfor _ in range(50): print('bye')"
    )
    old = tmp_path / "logs" / "baseline.log"
    old.parent.mkdir()
    old.write_text("torch.OutOfMemoryError: of an earlier start\n")
    with _server(tmp_path, [sys.executable, "-c", program]) as server:
        server.launch()
        with pytest.raises(EngineError) as caught:
            server.wait_ready(Silent())
        first, *tail = str(caught.value).splitlines()
        assert server.why_ended() == first
    assert first.startswith(f"the baseline engine ended with exit code 0: {said}; give the engine another share")
    assert first.endswith(f"see {old}")
    assert tail == ["  bye"] * 20


def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    with _server(tmp_path, [sys.executable, "-c", "import time; time.sleep(600)"], timeout_s=0.5) as server:
        server.launch()
        with pytest.raises(EngineError, match="did not answer within 500 ms; raise --start-timeout"):
            server.wait_ready(Silent())


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = _server(tmp_path, [sys.executable, "-c", ""], port=port)
        with pytest.raises(InputError, match=f"port {port} is in use"):
            server.launch()
    assert not (tmp_path / "logs").exists()
