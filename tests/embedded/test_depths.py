"""Several twins off one base: the same numbers as one twin alone, and the loss over the vocabulary in chunks."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from swiftkv_bench.embedded import divergence
from swiftkv_bench.embedded.architecture import ModelShape
from swiftkv_bench.embedded.checkpoint import ensure_pair
from swiftkv_bench.embedded.depths import Depths
from swiftkv_bench.embedded.distill import rewired
from swiftkv_bench.embedded.divergence import divergences, nearness
from swiftkv_bench.embedded.items import items
from swiftkv_bench.embedded.model import Llama
from swiftkv_bench.embedded.twin import TwinSettings, make_twins
from swiftkv_bench.errors import InputError
from swiftkv_bench.observer import Silent

SHAPE = ModelShape(
    num_hidden_layers=4, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
    intermediate_size=48, vocab_size=64, max_position_embeddings=512,
)  # fmt: skip


def _base() -> Llama:
    torch.manual_seed(0)
    model = Llama(SHAPE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
    return model


def test_divergences_and_gradient_are_those_of_autograd_over_all_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "CHUNK_POSITIONS", 5)
    torch.manual_seed(1)
    learned = torch.randn(2, 12, 8, dtype=torch.float64, requires_grad=True)
    taught, head = torch.randn(12, 8, dtype=torch.float64), torch.randn(40, 8, dtype=torch.float64)
    weight = torch.rand(2, 12, dtype=torch.float64)
    found = divergences(learned, taught, head, 2.0)
    (gradient,) = torch.autograd.grad((found * weight).sum(), learned)
    target = functional.log_softmax(taught @ head.T / 2.0, -1).expand(2, -1, -1)
    given = functional.log_softmax(learned @ head.T / 2.0, -1)
    expected = 4.0 * functional.kl_div(given, target, reduction="none", log_target=True).sum(-1)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), learned)
    assert_close(found.detach(), expected.detach(), check_dtype=False, atol=1e-5, rtol=1e-5)
    assert_close(gradient, wanted, atol=1e-5, rtol=1e-5)


def test_nearness_of_a_state_to_itself_is_whole() -> None:
    state, head = torch.randn(7, 8), torch.randn(40, 8)
    same, apart = nearness(state, state, head)
    assert same.all()
    assert_close(apart, torch.zeros(7))


def test_each_depth_computes_what_its_twin_alone_computes() -> None:
    base = _base()
    depths = Depths(SHAPE, base.state_dict(), (3, 1), torch.device("cpu"), torch.float32)
    ids = torch.randint(0, 64, (2, 20))
    taught = depths.taught(ids)
    with torch.no_grad():
        assert_close(taught.last, base.hidden(ids))
        for depth in (3, 1):
            assert_close(depths.learned(depth, taught), rewired(base, depth).hidden(ids))


def test_two_depths_in_one_run_are_each_trained_and_written(tmp_path: Path) -> None:
    model, data = ensure_pair(tmp_path / "cache").baseline, tmp_path / "text.txt"
    data.write_text("\n\n".join(f"{item.prompt}\n{item.target}" for item in items("mini_gsm8k", "train", 40)))
    settings = TwinSettings((6, 4), steps=8, batch_rows=4, row_tokens=64, learning_rate=1e-3)
    made = make_twins(model, [data], tmp_path / "out", settings, Silent())
    assert made[4].distilled.divergence < made[4].undistilled.divergence
    for depth in (6, 4):
        config = json.loads((tmp_path / "out" / f"n{depth}" / "config.json").read_text())
        assert config["num_key_value_layers"] == depth
    curve = (tmp_path / "out" / "training" / "curves.csv").read_text().splitlines()
    assert curve[0] == "step,tokens,layers,text,loss,agreement,divergence"
    assert [line.split(",")[:4] for line in curve[1:3]] == [["0", "0", "6", "text"], ["0", "0", "4", "text"]]
    assert curve[-1].startswith(f"8,{8 * 4 * 64},4,text,")
    record = json.loads((tmp_path / "out" / "training" / "record.json").read_text())
    assert record["training"]["tokens"] == 8 * 4 * 64
    earlier = TwinSettings((4,), steps=1, batch_rows=4, row_tokens=64, start_from=tmp_path / "out")
    going_on = make_twins(model, [data], tmp_path / "more", earlier, Silent())
    # The file holds bfloat16: the start is where the first training ended, but for that rounding.
    assert going_on[4].undistilled.divergence == pytest.approx(made[4].distilled.divergence, rel=0.02)
    wrong = TwinSettings((5,), steps=1, batch_rows=4, row_tokens=64, start_from=tmp_path / "out")
    with pytest.raises(InputError, match=r"--start-from .* has no n5/model-swiftkv\.safetensors"):
        make_twins(model, [data], tmp_path / "none", wrong, Silent())
