"""A run through the command line against the fake engine: what a failed probe stops, and where it is said."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from swiftkv_bench import integrity
from swiftkv_bench.advice import STEPS
from swiftkv_bench.analysis import analyse
from swiftkv_bench.cli import app
from swiftkv_bench.engines.fake.server import VERSION
from swiftkv_bench.errors import InputError, ProbeError
from swiftkv_bench.store import Run

CONFIG = {
    "model_type": "llama", "vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 128, "max_position_embeddings": 2048,
}  # fmt: skip


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A pair of fake engines; the second serves half the context that was asked for."""
    path = tmp_path / "pair.yaml"
    content = {
        "name": "pair", "description": "two fakes", "baseline": {"config": CONFIG}, "swiftkv": {"config": CONFIG},
        "max_model_len": 2048, "engine": "fake", "together": True,
        "engine_args": {"ttft": "0.002", "itl": "0.001"}, "swiftkv_args": {"max-model-len": 1024},
        "perf": {"input_len": [32], "output_len": 4, "rate": [50.0], "requests": 8, "repeats": 1},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_failed_probe_stops_the_load_points_of_its_arm_with_the_reason(profile: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = CliRunner().invoke(app, ["perf", "--profile", str(profile), "--out", str(folder), "--no-self-test"])
    why = "the probe `context length` failed: 1,024 tokens served, 2,048 asked for"
    assert isinstance(done.exception, ProbeError), done.output
    assert str(done.exception) == f"load points of swiftkv not measured: {why}"
    assert why in done.output  # the report is shown all the same
    run = Run(folder)
    assert {r.trial.arm: (r.status, r.reason) for r in run.trial_records()} == {
        "baseline": ("complete", None),
        "swiftkv": ("failed", why),
    }
    assert run.manifest.status == "incomplete"
    assert run.manifest.status_reason == f"load points of swiftkv not measured: {why}"
    probe = next(p for p in run.manifest.probes if (p.name, p.arm) == ("context length", "swiftkv"))
    assert (probe.status, probe.stops) == ("fail", ("load",))
    findings = [f for f in analyse(run).findings if f.code == "trial-incomplete"]
    assert [(f.arm, f.message, f.next_step) for f in findings] == [
        ("swiftkv", f"The trial failed: {why}.", STEPS["probe"])
    ]
    # As the step says: other options are a new run.
    content = yaml.safe_load(profile.read_text())
    profile.write_text(yaml.safe_dump(content | {"swiftkv_args": {}}))
    again = CliRunner().invoke(app, ["perf", "--profile", str(profile), "--out", str(folder), "--no-self-test"])
    assert "holds a run of another plan or other engines; name a new folder" in str(again.exception)


def test_an_engine_that_ends_at_a_probe_is_started_again_and_measured_and_its_cause_is_said(
    profile: Path, tmp_path: Path
) -> None:
    content = yaml.safe_load(profile.read_text())
    profile.write_text(yaml.safe_dump({**content, "swiftkv_args": {"prompt-logprobs": "out-of-memory"}}))
    folder = tmp_path / "run"
    done = CliRunner().invoke(app, ["perf", "--profile", str(profile), "--out", str(folder), "--no-self-test"])
    assert done.exit_code == 0, done.output
    cause = "the swiftkv engine ended with exit code 0: torch.OutOfMemoryError: CUDA out of memory."
    assert cause in done.output
    run = Run(folder)
    assert run.manifest.status == "complete"
    assert [(r.trial.arm, r.status) for r in run.trial_records()] == [("baseline", "complete"), ("swiftkv", "complete")]
    probe = next(p for p in run.manifest.probes if (p.name, p.arm) == ("honest prompt logprobs", "swiftkv"))
    assert probe.status == "fail"


SAYS = "version that the baseline engine says"


def test_a_run_goes_on_only_on_the_engine_version_it_was_begun_with(profile: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(profile.read_text()) | {"swiftkv_args": {}}
    profile.write_text(yaml.safe_dump(content))
    folder = tmp_path / "run"
    command = ["perf", "--profile", str(profile), "--out", str(folder), "--no-self-test"]
    assert CliRunner().invoke(app, command).exit_code == 0
    run = Run(folder)
    assert run.manifest.builds[SAYS] == VERSION
    [path, *_] = sorted((folder / "trials").glob("*.json"))
    path.unlink()
    older = {**run.manifest.builds, SAYS: "0.0.0+older"}
    run.write_manifest(run.manifest.model_copy(update={"status": "running", "builds": older}))
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == (
        f"{folder} was begun with another build: {SAYS} was 0.0.0+older and is {VERSION}; go back to what it was, or "
        "begin a new run with --fresh or another --out"
    )
    assert not path.exists()
    left = Run(folder)
    assert (left.manifest.status, left.manifest.builds, left.manifest.causes) == ("incomplete", older, ("refused",))
    assert [f.next_step for f in analyse(left).findings if f.code == "run-incomplete"] == [STEPS["refused"]]
    # As the step says: the same command is refused until it is mended, and then goes on.
    assert isinstance(CliRunner().invoke(app, command).exception, InputError)
    left.write_manifest(left.manifest.model_copy(update={"builds": run.manifest.builds}))
    integrity.unseal(folder)
    assert CliRunner().invoke(app, command).exit_code == 0
    assert path.exists()
