"""How a response goes wrong: functions from a timed script to another.

A script is an iterator of (seconds from the start of the response, bytes or an `End`). Scripts of streamed responses
give one server-sent event at a time, so a fault can count them.
"""

import codecs
import enum
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

from swiftkv_bench.errors import InputError

Kind = Literal[
    "coalesce", "split", "buffered", "whole", "multi-token", "uncounted", "empty-first", "empty-text", "comments",
    "crlf", "bom", "fields", "spaces", "reasoning", "no-done", "bare-done", "no-usage", "usage-sums", "usage-lags",
    "usage-ones", "usage-more", "no-length", "plain-type", "http-201", "page", "redirect", "http-500", "http-429",
    "busy", "no-finish", "no-text", "finish", "reset", "eof", "stall", "pings", "drop-idle", "malformed", "error",
    "error-event", "error-field", "error-object", "detail", "neither",
]  # fmt: skip
Setting = Literal["n", "after", "delay_s", "reason"]

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
    """One thing that goes wrong. docs/faults.md has what each kind does, and what the product says of it."""

    kind: Kind
    n: int = 2
    after: int = 3
    delay_s: float = 0.005
    reason: str = "abort"

    @staticmethod
    def parse(text: str) -> "Fault":
        """A fault as the command line and the `fault` field of a request say it: `split` or `coalesce:n=4`.

        Raises:
            InputError: the kind or a setting is not known.
        """
        kind, _, rest = text.partition(":")
        settings: dict[str, float | str] = {}
        for part in filter(None, rest.split(",")):
            name, _, value = part.partition("=")
            try:
                settings[name] = value if name == "reason" else float(value) if name == "delay_s" else int(value)
            except ValueError as e:
                raise InputError(f"fault {text!r} has a {name!r} that is no number; write for example n=4") from e
        if kind not in get_args(Kind) or settings.keys() - set(get_args(Setting)):
            known = ", ".join(get_args(Kind))
            raise InputError(f"there is no fault {text!r}; known are {known}, with n, after, delay_s or reason")
        return Fault(kind, **settings)  # type: ignore[arg-type]

    @property
    def finish_reason(self) -> str | None:
        """`reason` as an answer says it."""
        return None if self.reason == "null" else self.reason


def is_kind(fault: Fault | None, *kinds: Kind) -> bool:
    """Whether this is what goes wrong."""
    return fault is not None and fault.kind in kinds


def apply(fault: Fault | None, script: Script) -> Script:
    """The script with what the fault does to its events; faults of content are the replies' part."""
    if fault is None:
        return script
    if fault.kind in _ENDS:
        return _break(script, fault)
    if fault.kind in _REWRITTEN:
        return _rewritten(script, _REWRITTEN[fault.kind])
    match fault.kind:
        case "coalesce":
            return _coalesce(script, fault.n)
        case "buffered":
            return _coalesce(script, sys.maxsize)
        case "split":
            return _split(script, fault.delay_s)
        case "bom":
            return _marked(script)
        case "pings":
            return _pings(script, fault)
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


_REWRITTEN: Mapping[Kind, Callable[[bytes], bytes]] = {
    "comments": lambda data: b": keep-alive\n\n" + data,
    "crlf": lambda data: data.replace(b"\n", b"\r\n"),
    "fields": lambda data: b"retry: 3000\n\ndata\n\nevent: ping\ndata: {}\n\nid: 7\nevent: message\nlevel: 1\n" + data,
    "bare-done": lambda data: data.replace(b"data: [DONE]\n\n", b"data: [DONE]"),
}
"""What becomes of every event."""


def _rewritten(script: Script, change: Callable[[bytes], bytes]) -> Script:
    for at_s, data in script:
        yield at_s, data if isinstance(data, End) else change(data)


def _marked(script: Script) -> Script:
    mark = codecs.BOM_UTF8
    for at_s, data in script:
        yield at_s, data if isinstance(data, End) else mark + data
        mark = b""


def _pings(script: Script, fault: Fault) -> Script:
    at_s = 0.0
    for at_s, data in islice(script, fault.after):
        yield at_s, data
    while True:
        at_s += fault.delay_s
        yield at_s, b": keep-alive\n\n"


_FAILURE = "the fake engine was told to fail"
_DONE = b"data: [DONE]\n\n"
_ENDS: Mapping[Kind, tuple[bytes | End, ...]] = {
    "reset": (End.RESET,),
    "eof": (End.CLOSE,),
    "stall": (End.STALL,),
    "malformed": (b'data: {"id":"cmpl-fake","choices":[{"index":0,"te\n\n', _DONE),
    "error": (b'data: {"error":{"message":"%b","type":"InternalServerError"}}\n\n' % _FAILURE.encode(), _DONE),
    "error-event": (b'event: error\ndata: {"message":"%b"}\n\n' % _FAILURE.encode(), _DONE),
    "error-field": (b'error: {"code":500,"message":"%b","type":"server_error"}\n\n' % _FAILURE.encode(), _DONE),
    "error-object": (b'data: {"object":"error","message":"%b","code":500}\n\n' % _FAILURE.encode(), _DONE),
    "detail": (b'data: {"detail":"%b"}\n\n' % _FAILURE.encode(), _DONE),
    "neither": (b'data: {"status":"%b"}\n\n' % _FAILURE.encode(), _DONE),
}
"""What comes in place of the rest."""


def _break(script: Script, fault: Fault) -> Script:
    at_s = 0.0
    for count, (at_s, data) in enumerate(script):
        if count == fault.after:
            break
        yield at_s, data
    for end in _ENDS[fault.kind]:
        yield at_s, end
