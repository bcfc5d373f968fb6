"""`swiftkv-bench perf` as its user has it: killed and resumed, and what it says of input it cannot use."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swiftkv_bench.cli import app
from swiftkv_bench.errors import EngineError, InputError
from swiftkv_bench.store import open_run
from tests.test_load_runs import profile_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWIFTKV_BENCH_CACHE", str(tmp_path / "cache"))
    return profile_file(tmp_path, {"ttft": 0.02}, {"ttft": 0.01})


def _start(arguments: Sequence[str], folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "swiftkv_bench", "perf", *arguments], cwd=folder, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _recorded(run: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((run / "trials").glob("*.json"))}


def test_a_killed_sweep_goes_on_with_the_same_command_and_repeats_nothing(tmp_path: Path, profile: Path) -> None:
    arguments = [
        "--profile", str(profile), "--out", "run", "--no-self-test", "--input-len", "50", "--output-len", "1",
        "--rate", "10", "--rate", "20", "--rate", "inf", "--requests", "8", "--repeats", "2",
    ]  # fmt: skip
    with _start(arguments, tmp_path) as process:
        while len(_recorded(tmp_path / "run")) < 4 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = _recorded(tmp_path / "run")
    assert 4 <= len(before) < 12
    with _start(arguments, tmp_path) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "resuming run" in err
    assert f"{len(before)} of 12 trials are there already" in err
    after = _recorded(tmp_path / "run")
    assert len(after) == 12
    assert {name: after[name] for name in before} == before
    assert open_run(tmp_path / "run").manifest.status == "complete"
    assert "Speed under load" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "0"], "--rate 0 is no request rate"),
        (["--rate", "auto", "--rate", "2"], "--rate auto finds the rates itself"),
        (["--rate", "auto", "--concurrency", "2"], "--rate auto finds the rates itself"),
        (["--rate", "auto", "--duration", "10"], "give --requests instead of --duration"),
        (["--rate", "auto", "--arrivals", "sometimes"], "--arrivals sometimes is unknown"),
        (["--arrivals", "sometimes"], "--arrivals sometimes is unknown"),
        (["--burstiness", "0"], "--burstiness 0 is not above 0"),
        (["--input-len", "two"], "--input-len two is no length in tokens"),
        (["--input-len", "4090", "--output-len", "100"], "is above the model's context of 4096 tokens"),
        (["--shared-prefix", "1"], "--shared-prefix 1 is no share"),
        (["--requests", "5", "--duration", "5"], "--requests and --duration exclude each other"),
        (["--duration", "0"], "--duration 0 is no time"),
        (["--rate", "inf", "--duration", "5"], "--duration needs a rate"),
        (["--slo", "ttft"], "--slo ttft= is no duration"),
        (["--slo", "latency=2s"], "'latency' is none of ttft, tpot, e2e"),
        (["--slo", "share=90%"], "none of ttft, tpot, e2e"),
        (["--slo", "ttft=2s,share=150%"], "--slo share=150% is no share"),
        (["--stop-when-ratio-within", "-3%"], "--stop-when-ratio-within=-3% is no share"),
        (["--budget", "soon"], "--budget=soon is no duration"),
        (["--trace", "absent.jsonl"], "--trace absent.jsonl is not there"),
        (["--prompts", "absent.jsonl"], "--prompts absent.jsonl is not there"),
        (["--suite", "figure5"], "--suite figure5 is unknown"),
        (["--trace", "oops.jsonl"], "oops.jsonl:1:2 is no JSON"),
        (
            ["--trace", "long.jsonl", "--requests", "1"],
            "has a request of 9,003 tokens, above",
        ),
        (["--trace", "long.jsonl", "--requests", "2"], "the trace has 1 requests, 2 are asked for"),
        (["--prompts", "oops.jsonl", "--rate", "inf", "--requests", "1"], "oops.jsonl:1:2 is no JSON"),
        (["--tokenizer", "/absent"], "there is no /absent/tokenizer.json; name a folder"),
        (
            ["--baseline-url", "127.0.0.1:80", "--tokenizer", "t"],
            "--baseline-url '127.0.0.1:80' is no address",
        ),
        (["--swiftkv-url", "http://[::1", "--tokenizer", "t"], "--swiftkv-url 'http://[::1' is no address"),
        (["--burstiness", "nan"], "--burstiness nan is not above 0"),
        (["--burstiness", "inf"], "--burstiness inf is not above 0 and finite"),
        (["--rate", "1e308"], "--rate 1e+308 is outside 0.0001 to 100,000 requests/s"),
        (["--rate", "1e-300"], "--rate 1e-300 is outside"),
        (["--rate", "5", "--duration", "inf"], "--duration inf is no time"),
        (["--rate", "5", "--duration", "1e9"], "a point of 5,000,000,000 requests with 1 before them is above"),
        (["--warmup", "10000000000"], "10,000,000,000 before them is above the 10,000,000"),
        (["--workers", "500", "--requests", "3"], "--workers 500 is above the 3 requests of a point"),
        (["--rate", "auto", "--workers", "500"], "--workers 500 is above the"),
        (["--rate", "auto", "--requests", "20000000"], "above the 10,000,000 that a client holds"),
        (["--input-len", "lognormal:mean=20,sigma=0.5,low=50,high=10"], "is no length in tokens"),
        (["--input-len", "lognormal:mean=20,sigma=1e9"], "is no length in tokens"),
        (["--workers", "3", "--concurrency", "2"], "--workers 3 is above the concurrency of 2"),
        (["--profile", "absent"], "--profile absent is unknown"),
        (["--burstiness", "0.5", "--arrivals", "poisson"], "--burstiness shapes gamma arrivals, not poisson; write"),
        (["--arrivals", "constant", "--rate", "inf"], "--arrivals says how requests of a rate come; give a finite"),
        (["--ramp-up", "5s", "--rate", "inf"], "--ramp-up says how requests of a rate come; give a finite --rate"),
        (["--rate", "auto", "--ramp-up", "5s"], "--rate auto begins each rate at once; leave out --ramp-up"),
        (["--rate", "inf", "--concurrency", "2"], "--rate inf with --concurrency is a closed loop; leave out"),
        (["--trace", "long.jsonl", "--input-len", "5"], "--trace and --input-len exclude each other: the trace has"),
        (["--trace", "long.jsonl", "--rate", "5"], "--trace and --rate exclude each other: the trace has times"),
        (["--prompts", "oops.jsonl", "--input-len", "5"], "--prompts and --input-len exclude each other: the file has"),
        (["--speedup", "2"], "--speedup says nothing without --trace; add it, or leave --speedup out"),
        (["--think-time", "2s"], "--think-time says nothing without --turns"),
        (["--prefix-groups", "2"], "--prefix-groups says nothing without --shared-prefix"),
        (["--turns", "1"], "--turns 1 is no conversation; give 2 or more"),
        (["--turns", "90", "--input-len", "50"], "--turns 90 of --input-len 50 and --output-len "),
        (["--endpoint", "answers"], "--endpoint answers is unknown; write completions or chat"),
        (["--endpoint", "chat", "--prompt-as", "ids"], "--endpoint chat takes text, not token ids"),
        (["--extra-body", "{oops"], "--extra-body is no JSON at column 2"),
        (["--extra-body", "[1]"], "--extra-body is no JSON object"),
        (["--extra-body", '{"max_tokens": 1}'], "--extra-body may not hold `max_tokens`, which the plan sets"),
        (["--extra-body", '{"api_key": "sk-1"}'], "--extra-body holds `api_key`, a secret that would be recorded"),
    ],
)
def test_input_that_cannot_be_used_is_one_sentence(
    arguments: list[str], said: str, profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "oops.jsonl").write_text("{oops\n")
    (tmp_path / "long.jsonl").write_text('{"timestamp": 0, "input_length": 9000, "output_length": 3}\n')
    chosen = arguments if "--profile" in arguments else ["--profile", str(profile), *arguments]
    found = CliRunner().invoke(app, ["perf", "--out", "run", *chosen]).exception
    assert isinstance(found, InputError)
    assert said in str(found)
    assert "\n" not in str(found)
    assert not (tmp_path / "run").exists()


def test_a_budget_without_time_for_a_pair_measures_nothing_and_says_so(profile: Path, tmp_path: Path) -> None:
    command = ["perf", "--profile", str(profile), "--out", str(tmp_path / "run"), "--no-self-test"]
    found = CliRunner().invoke(app, [*command, "--budget", "1ms"]).exception
    assert isinstance(found, InputError)
    assert str(found).startswith("--budget 0.001s has no time for one pair of trials and nothing was measured")


def test_a_run_in_which_every_trial_fails_ends_with_3_and_a_report(profile: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["perf", "--profile", str(profile), "--out", str(run), "--no-self-test", "--input-len", "50"]
    command += ["--output-len", "2", "--rate", "50", "--requests", "3", "--repeats", "1", "--warmup", "0"]
    found = CliRunner().invoke(app, [*command, "--engine-arg", "fault=eof"]).exception
    assert isinstance(found, EngineError)
    assert found.exit_code == 3
    assert str(found).startswith("all 1 trials on baseline failed; the first: no request succeeded; the first error: ")
    assert open_run(run).manifest.status_reason == "2 trials failed"
    assert open_run(run).manifest.causes == ("trials",)
    assert "trial-incomplete" in (run / "report" / "summary.json").read_text()
