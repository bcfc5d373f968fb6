"""No file and no stream of a run holds what a server was shown, whether the run is good or fails."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.byte_tokenizer import write_byte_tokenizer
from tests.fake_engine import fake_engine

KEY, PASSWORD = "sk-5ecret-0f-this-test", "pa55word-of-this-test"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with fake_engine("--api-key", KEY) as address:
        yield address


def measured(folder: Path, url: str, key: str) -> "subprocess.CompletedProcess[str]":
    arguments = ["--baseline-url", url, "--swiftkv-url", url, "--tokenizer", str(write_byte_tokenizer(folder / "t"))]
    arguments += ["--input-len", "20", "--output-len", "2", "--rate", "inf", "--requests", "2", "--repeats", "1"]
    return subprocess.run(
        [sys.executable, "-m", "swiftkv_bench", "perf", *arguments, "--no-self-test", "--out", str(folder / "run")],
        env=os.environ | {"OPENAI_API_KEY": key}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def shown(folder: Path, done: "subprocess.CompletedProcess[str]", secret: str) -> list[str]:
    """Where it stands."""
    files = [p for p in folder.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
    return [*map(str, files), *(name for name in ("stdout", "stderr") if secret in getattr(done, name))]


def test_a_good_run_shows_no_key(tmp_path: Path, url: str) -> None:
    done = measured(tmp_path, url, f" {KEY}\n")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report" / "report.html").exists()
    assert shown(tmp_path, done, KEY) == []


def test_a_run_that_is_refused_shows_no_key_and_no_password(tmp_path: Path, url: str) -> None:
    done = measured(tmp_path, url.replace("://", f"://me:{PASSWORD}@"), "sk-other-key-of-this-test")
    assert done.returncode == 3
    assert "HTTP 401" in done.stderr
    assert shown(tmp_path, done, PASSWORD) == []
    assert shown(tmp_path, done, "sk-other-key-of-this-test") == []


def test_a_key_that_no_header_may_hold_is_not_shown(tmp_path: Path, url: str) -> None:
    done = measured(tmp_path, url, "sk-5ecret\x01more")
    assert done.returncode == 2
    assert "OPENAI_API_KEY holds a control character" in done.stderr
    assert shown(tmp_path, done, "5ecret") == []
