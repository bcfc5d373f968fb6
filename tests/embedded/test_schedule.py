"""The optimizer loop: learning rate, and a stage that was cut off ends as if it had not been."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swiftkv_bench.embedded.architecture import ModelShape
from swiftkv_bench.embedded.model import Llama
from swiftkv_bench.embedded.schedule import Feed, Stage, Trainer, learning_rate
from swiftkv_bench.embedded.train import initialise, next_token_losses

SHAPE = ModelShape(
    num_hidden_layers=2, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
    intermediate_size=16, vocab_size=32,
)  # fmt: skip
CPU = torch.device("cpu")


def _feed(cut_at: int | None = None) -> Feed:
    def feed(start: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(start, 1000):
            if step == cut_at:
                raise KeyboardInterrupt
            ids = torch.randint(0, 32, (4, 12), generator=torch.Generator().manual_seed(step))
            yield ids, torch.zeros_like(ids, dtype=torch.uint8)

    return feed


def _train(out: Path, feed: Feed, events: list[dict[str, Any]] | None = None) -> Llama:
    torch.manual_seed(1)
    model = Llama(SHAPE)
    initialise(model)
    heard: list[dict[str, Any]] = [] if events is None else events
    trainer = Trainer(out, CPU, heard.append, save_every_s=0.0, log_every=5)
    stage = Stage("s", steps=23, budget_s=None, learning_rate=1e-2, weight_decay=0.1, warmup_steps=4)
    assert trainer.train(stage, model, lambda ids: next_token_losses(model(ids), ids), feed, {"text": 1.0}) == 23
    return model


def test_stage_that_was_cut_off_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole", _feed())
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "cut", _feed(cut_at=13))
    events: list[dict[str, Any]] = []
    resumed = _train(tmp_path / "cut", _feed(), events)
    assert events[0]["event"] == "start"
    assert events[0]["step"] == 10  # the last state saved before the cut
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name


def test_finished_stage_leaves_no_state_and_a_log(tmp_path: Path) -> None:
    _train(tmp_path, _feed())
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_state_of_two_steps_starts_anew(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, _feed(cut_at=8))
    earlier = (tmp_path / "s.exp_avg.pt").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, _feed(cut_at=13))
    (tmp_path / "s.exp_avg.pt").write_bytes(earlier)
    events: list[dict[str, Any]] = []
    _train(tmp_path, _feed(), events)
    assert "starting anew" in str(events[0]["event"])
    assert events[1]["step"] == 0


def test_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    stage = Stage("s", 100, None, learning_rate=1.0, warmup_steps=10, decay_share=0.4)
    assert learning_rate(stage, 0, 100) == pytest.approx(0.1)
    assert learning_rate(stage, 9, 100) == learning_rate(stage, 59, 100) == 1.0
    assert learning_rate(stage, 80, 100) == pytest.approx(0.5)
    assert learning_rate(stage, 99, 100) == pytest.approx(1 / 40)
    assert learning_rate(stage, 1000, None) == 1.0
