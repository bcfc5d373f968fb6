"""`distill` from the command line."""

import re
from pathlib import Path

from typer.testing import CliRunner

from swiftkv_bench.cli import app
from swiftkv_bench.embedded.checkpoint import ensure_pair
from swiftkv_bench.embedded.items import items


def test_distill_writes_a_twin_and_says_how_near_it_is(tmp_path: Path) -> None:
    data = tmp_path / "text.txt"
    data.write_text("\n\n".join(f"{item.prompt}\n{item.target}" for item in items("mini_gsm8k", "train", 20)))
    model, out = ensure_pair(tmp_path / "cache").baseline, tmp_path / "twin"
    words = ["distill", str(model), "--layers", "6", "--data", str(data), "--out", str(out)]
    done = CliRunner().invoke(app, [*words, "--steps", "2", "--batch-rows", "2", "--row-tokens", "64"])
    assert done.exit_code == 0, done.output
    assert re.search(r"twin: foresees the base's token at [\d.]+% of held-out positions \([\d.]+% before", done.output)
    assert (out / "model-swiftkv.safetensors").is_file()
