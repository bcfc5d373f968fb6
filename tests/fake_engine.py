"""Starts the shipped fake engine as a process."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def fake_engine(*arguments: object) -> Iterator[str]:
    """A fake engine with the given command-line arguments; its address."""
    command = [sys.executable, "-m", "swiftkv_bench.engines.fake", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"https?://\S+", line)
        assert found is not None, line
        try:
            yield found.group(0)
        finally:
            process.terminate()
            process.communicate()
            assert process.returncode == 0


def post(url: str, body: dict[str, Any], path: str = "/v1/completions", **headers: str) -> tuple[int, bytes]:
    """Status and body of one request."""
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Connection": "close", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()


def events(body: bytes) -> list[dict[str, Any]]:
    """Events of a streamed body, its end marker taken off."""
    assert body.endswith(b"data: [DONE]\n\n")
    pieces = body.split(b"\n\n")[:-2]
    return [json.loads(piece.removeprefix(b"data: ")) for piece in pieces]


def counters(url: str) -> dict[str, float]:
    """The values of the /metrics page, by name with labels."""
    with urllib.request.urlopen(url + "/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
