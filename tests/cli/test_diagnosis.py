"""`doctor` on the fake engine."""

import json
from pathlib import Path

import yaml
from typer.testing import CliRunner

from swiftkv_bench.cli import app
from swiftkv_bench.errors import RegressionError

CONFIG = {
    "model_type": "llama", "vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 128, "max_position_embeddings": 2048,
}  # fmt: skip


def test_an_engine_that_ends_at_a_probe_is_a_problem_with_its_cause(tmp_path: Path) -> None:
    path = tmp_path / "pair.yaml"
    content = {
        "name": "pair", "description": "two fakes", "baseline": {"config": CONFIG}, "swiftkv": {"config": CONFIG},
        "max_model_len": 2048, "engine": "fake", "together": True,
        "swiftkv_args": {"prompt-logprobs": "out-of-memory"},
        "perf": {"input_len": [32], "output_len": 4, "rate": [50.0], "requests": 8, "repeats": 1},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content))
    done = CliRunner().invoke(app, ["doctor", "--profile", str(path), "--json"])
    assert isinstance(done.exception, RegressionError), done.output
    problems = {f["what"]: f["detail"] for f in json.loads(done.stdout) if f["status"] == "problem"}
    assert problems.keys() == {"swiftkv engine", "swiftkv: honest prompt logprobs"}
    assert problems["swiftkv engine"].startswith(
        "the swiftkv engine ended with exit code 0: torch.OutOfMemoryError: CUDA out of memory."
    )
