"""How a response goes wrong: functions from a timed script to another.

A script is an iterator of (seconds from the start of the response, bytes or an `End`). Scripts of streamed responses
give one server-sent event at a time, so a fault can count them.
"""

import enum
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from swiftkv_bench.errors import InputError

Kind = Literal[
    "coalesce", "split", "multi-token", "empty-first", "empty-text", "comments", "crlf", "spaces", "reasoning",
    "no-done", "no-usage", "no-length", "http-500", "http-429", "reset", "eof", "stall", "malformed", "error",
]  # fmt: skip


ENDING = threading.Event()
"""Set once this process is about to end; /health then answers 503, as vLLM's does when its engine is dead."""
_LAST_WORDS_S = 0.2
_CORE, _SERVER = "(EngineCore pid=1) ERROR 01-01 00:00:00 [core.py:1]", "(APIServer pid=2)"
_DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
_OUT_OF_MEMORY = f"""\
{_CORE} Traceback (most recent call last):
{_CORE} torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.01 GiB.
{_SERVER} ERROR 01-01 00:00:00 [async_llm.py:1] vllm.v1.engine.exceptions.EngineDeadError: {_DEAD}
{_SERVER} INFO:     Shutting down"""
"""What vLLM 0.26 wrote, shortened."""


def run_out_of_memory() -> str:
    """Ends this process as vLLM ends when a kernel finds no memory: the log has the cause, the client an HTTP 500.

    Returns:
        what the client is told.
    """
    ENDING.set()
    print(_OUT_OF_MEMORY, file=sys.stderr, flush=True)
    threading.Timer(_LAST_WORDS_S, os._exit, (0,)).start()
    return _DEAD


class End(enum.Enum):
    """How a script ends other than by its last byte."""

    RESET = "the connection is reset"
    CLOSE = "the connection is closed"
    STALL = "nothing more comes"


Step = tuple[float, bytes | End]
Script = Iterator[Step]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    `coalesce`: `n` events a write. `split`: each event in two writes, `delay_s` apart. `multi-token`: `n` tokens an
    event. `empty-first`: an event without content at once. `empty-text`: every `n`-th token has an empty text.
    `comments`: a comment before every event. `crlf`: lines end in CR LF. `spaces`: JSON with spaces. `reasoning`:
    the chat's text is `reasoning_content`. `no-done`, `no-usage`: that event is missing. `no-length`: the body ends
    with the connection. `http-500`, `http-429`: refused. After `after` events: `reset`, `eof` (it is closed),
    `stall` (nothing more comes), `malformed` (an event that is no JSON), `error` (an error event).
    """

    kind: Kind
    n: int = 2
    after: int = 3
    delay_s: float = 0.005

    @staticmethod
    def parse(text: str) -> "Fault":
        """A fault as the command line and the `fault` field of a request say it: `split` or `coalesce:n=4`.

        Raises:
            InputError: the kind or a setting is not known.
        """
        kind, _, rest = text.partition(":")
        settings: dict[str, float] = {}
        for part in filter(None, rest.split(",")):
            name, _, value = part.partition("=")
            try:
                settings[name] = float(value) if name == "delay_s" else int(value)
            except ValueError as e:
                raise InputError(f"fault {text!r} has a {name!r} that is no number; write for example n=4") from e
        if kind not in get_args(Kind) or settings.keys() - {"n", "after", "delay_s"}:
            known = ", ".join(get_args(Kind))
            raise InputError(f"there is no fault {text!r}; known are {known}, with n, after or delay_s")
        return Fault(kind, **settings)  # type: ignore[arg-type]


def apply(fault: Fault | None, script: Script) -> Script:
    """The script with what the fault does to its events; faults of content are the replies' part."""
    if fault is None:
        return script
    if fault.kind == "coalesce":
        return _coalesce(script, fault.n)
    if fault.kind == "split":
        return _split(script, fault.delay_s)
    if fault.kind == "comments":
        return _comments(script)
    if fault.kind == "crlf":
        return _crlf(script)
    if fault.kind in ("reset", "eof", "stall", "malformed", "error"):
        return _break(script, fault)
    return script


def chunked(script: Script) -> Script:
    """The script in HTTP/1.1's chunked framing, one chunk a step; the last chunk is missing where it breaks off."""
    at_s = 0.0
    for at_s, data in script:
        if isinstance(data, End):
            yield at_s, data
            return
        yield at_s, b"%x\r\n%b\r\n" % (len(data), data)
    yield at_s, b"0\r\n\r\n"


def _coalesce(script: Script, n: int) -> Script:
    held: list[bytes] = []
    last_s = 0.0
    for at_s, data in script:
        if isinstance(data, End):
            yield at_s, data
            return
        held.append(data)
        last_s = at_s
        if len(held) == n:
            yield at_s, b"".join(held)
            held = []
    if held:
        yield last_s, b"".join(held)


def _split(script: Script, delay_s: float) -> Script:
    for at_s, data in script:
        if isinstance(data, End):
            yield at_s, data
        else:
            half = len(data) // 2
            yield at_s, data[:half]
            yield at_s + delay_s, data[half:]


def _comments(script: Script) -> Script:
    for at_s, data in script:
        yield at_s, data if isinstance(data, End) else b": keep-alive\n\n" + data


def _crlf(script: Script) -> Script:
    for at_s, data in script:
        yield at_s, data if isinstance(data, End) else data.replace(b"\n", b"\r\n")


def _break(script: Script, fault: Fault) -> Script:
    at_s = 0.0
    for count, (at_s, data) in enumerate(script):
        if count == fault.after:
            break
        yield at_s, data
    if fault.kind == "malformed":
        yield at_s, b'data: {"id":"cmpl-fake","choices":[{"index":0,"te\n\n'
        yield at_s, b"data: [DONE]\n\n"
    elif fault.kind == "error":
        yield at_s, b'data: {"error":{"message":"the fake engine was told to fail","type":"InternalServerError"}}\n\n'
        yield at_s, b"data: [DONE]\n\n"
    else:
        yield at_s, {"reset": End.RESET, "eof": End.CLOSE, "stall": End.STALL}[fault.kind]
