"""Owns one server process: start, readiness, log, crash, and the end of its whole session."""

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from swiftkv_bench import redaction, units
from swiftkv_bench.access import Access
from swiftkv_bench.engines import engine_log
from swiftkv_bench.engines.client import Client
from swiftkv_bench.engines.guarded import END_S, Guarded
from swiftkv_bench.engines.served import own_model, server_version
from swiftkv_bench.errors import EngineError, InputError, writing
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.engine import EngineInfo, EngineSpec
from swiftkv_bench.store import GO_ON, write_atomic

HOST = "127.0.0.1"
POLL_S = 0.2
HEALTH_TIMEOUT_S = 2.0
ASK_TIMEOUT_S = 10.0


class ServerProcess:
    """A server started by the harness on 127.0.0.1; the command is given, this class does not know vLLM."""

    def __init__(
        self,
        spec: EngineSpec,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        *,
        port: int,
        start_timeout_s: float,
        api_key: str | None = None,
    ) -> None:
        self._spec = spec
        self._command = list(command)
        self._env = dict(env)
        self._log = log
        self._port = port
        self._timeout_s = start_timeout_s
        self._access = Access(api_key=api_key)
        self._process: Guarded | None = None
        self._started = 0.0
        self._log_start = 0
        self._secrets = redaction.secret_values(env) | ({api_key} if api_key else set())

    @property
    def spec(self) -> EngineSpec:
        """What was asked for, resolved."""
        return self._spec

    @property
    def session(self) -> int | None:
        """Session id of the guards and everything they started; None when they are not running."""
        return None if self._process is None else self._process.session

    @property
    def base_url(self) -> str:
        """Address of the server."""
        return f"http://{HOST}:{self._port}"

    def launch(self) -> None:
        """Starts the process and returns at once.

        Raises:
            InputError: the port is taken, or the log cannot be written.
            StorageError: the disk is full.
        """
        check_port_free(self._port)
        self._started = time.perf_counter()
        with writing(self._log, GO_ON):
            self._log.parent.mkdir(parents=True, exist_ok=True)
            opened = self._log.open("ab")
        self._log_start = opened.tell()
        with opened as log:
            self._process = Guarded(self._command, env=self._env, stdout=log, stderr=subprocess.STDOUT)

    def wait_ready(self, observer: Observer) -> EngineInfo:
        """Blocks until /health answers.

        Raises:
            EngineError: the process ended or the time is up.
        """
        arm = self._spec.arm
        while True:
            self.check_alive()
            elapsed = time.perf_counter() - self._started
            if self._is_healthy():
                break
            if elapsed > self._timeout_s:
                raise EngineError(
                    f"the {arm} engine did not answer within {units.duration(self._timeout_s)}; "
                    f"raise --start-timeout or read its log:\n{engine_log.tail(self._own_lines())}"
                )
            observer.progress(arm, f"starting the {arm} engine: {self._last_line()}", elapsed, None)
            time.sleep(POLL_S)
        start_s = time.perf_counter() - self._started
        observer.finish(arm, f"the {arm} engine is ready after {units.duration(start_s)}")
        with Client(self.base_url, self._access, timeout_s=ASK_TIMEOUT_S, patient=False) as client:
            served, version = own_model(client), server_version(client)
        return EngineInfo(
            arm=arm,
            base_url=self.base_url,
            served_model=served.name,
            version=version,
            max_model_len=served.max_model_len,
            start_s=start_s,
            command=redaction.redact_command(self._command),
            log=f"{self._log.parent.name}/{self._log.name}",
        )

    def check_alive(self) -> None:
        """Raises EngineError, with the end of the log, if the process has ended."""
        if self._process is None:
            raise EngineError(f"the {self._spec.arm} engine has not been started")
        code = self._process.exit_code()
        if code is not None:
            lines = self._own_lines()
            raise EngineError(
                f"the {self._spec.arm} engine ended with exit code {code}{engine_log.sentence(lines)}; "
                f"see {self._log}\n{engine_log.tail(lines)}"
            )

    def why_ended(self) -> str | None:
        """Why a server that does not answer has ended, in one sentence; None while it answers or its process lives on.

        Waits for the process, which ends some time after its server: vLLM's API server first ends the engine's others.
        """
        process = self._process
        if process is None or (process.exit_code() is None and self._is_healthy()):
            return None
        process.exit_code(END_S)
        try:
            self.check_alive()
        except EngineError as e:
            return str(e).splitlines()[0]
        return None

    def stop(self) -> None:
        """Ends the whole session and removes secrets from the log."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.stop()
        self._redact_log()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _is_healthy(self) -> bool:
        with Client(self.base_url, self._access, timeout_s=HEALTH_TIMEOUT_S, patient=False) as client:
            try:
                client.get("/health")
            except EngineError:
                return False
        return True

    def _redact_log(self) -> None:
        text = self._log.read_text(errors="replace")
        clean = redaction.redact_text(text, self._secrets)
        if clean != text:
            write_atomic(self._log, clean.encode())

    def _own_lines(self) -> list[str]:
        """What this process wrote into the log, without secrets."""
        text = "\n".join(engine_log.read(self._log, self._log_start))
        return redaction.redact_text(text, self._secrets).splitlines()

    def _last_line(self) -> str:
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - 2000))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return redaction.redact_text(lines[-1].strip()[-100:], self._secrets) if lines else ""


def free_port() -> int:
    """A TCP port that nothing listens on at this moment."""
    with socket.socket() as s:
        s.bind((HOST, 0))
        return int(s.getsockname()[1])


def check_port_free(port: int) -> None:
    """Raises InputError if something listens on the port."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((HOST, port))
        except OSError as e:
            raise InputError(f"port {port} is in use on {HOST}; name another or leave the option out") from e
