"""The training program end to end, a few steps long: what it writes, and that it goes on instead of starting again."""

import json
from pathlib import Path

import pytest

from swiftkv_bench.embedded.shipped import ShippedWeights
from swiftkv_bench.embedded.train import main

STEPS = ["--steps", "2", "--distill-steps", "1", "--rows", "1", "--uses", "1", "--eval-items", "0"]


def test_training_writes_shippable_weights_and_finishes_what_is_missing(tmp_path: Path) -> None:
    words = ["--out", str(tmp_path / "out"), *STEPS, "--key-value-layers", "4"]
    main(words)
    shipped = ShippedWeights(tmp_path / "out")
    assert shipped.splits == (4,)
    assert shipped.baseline().keys() < shipped.twin(4, distilled=True).keys()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["steps"] == {"baseline": 2, "swiftkv-n4": 1}

    baseline = (tmp_path / "out" / "baseline.safetensors").read_bytes()
    twin = (tmp_path / "out" / "swiftkv-n4.safetensors").read_bytes()
    (tmp_path / "out" / "swiftkv-n4.safetensors").unlink()
    main(words)
    assert (tmp_path / "out" / "baseline.safetensors").read_bytes() == baseline
    assert (tmp_path / "out" / "swiftkv-n4.safetensors").read_bytes() == twin


def test_steps_or_a_budget_are_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--steps", "3"])
    assert "give --budget-s, or both --steps and --distill-steps" in capsys.readouterr().err
