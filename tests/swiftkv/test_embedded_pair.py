"""The embedded SwiftKV model on a real engine against the plain-torch model that it was trained as."""

from pathlib import Path
from typing import Any

import pytest
import torch

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE
from swiftkv_bench.embedded.checkpoint import ensure_pair
from swiftkv_bench.embedded.model import Llama
from swiftkv_bench.embedded.weights_io import load_weights

from .engine_runs import PROMPT_LENGTHS

pytestmark = pytest.mark.vllm

TOLERANCE_NAT = 1e-3


def test_engine_answers_as_the_trained_model(engine_folder: Path, engine_runs: dict[str, dict[str, Any]]) -> None:
    pair = ensure_pair(engine_folder)
    model = Llama(EMBEDDED_SHAPE, pair.num_key_value_layers)
    model.load_state_dict(load_weights(pair.swiftkv / "model.safetensors"))
    answers = engine_runs["skip_embedded"]["answers"]
    assert len(answers) == len(PROMPT_LENGTHS)
    for answer in answers:
        ids = torch.tensor([answer["prompt"] + answer["tokens"]])
        with torch.no_grad():
            logprobs = model(ids)[0].log_softmax(-1)
        rows = logprobs[len(answer["prompt"]) - 1 : -1]
        assert rows.argmax(-1).tolist() == answer["tokens"]
        chosen = rows.gather(-1, torch.tensor(answer["tokens"])[:, None])[:, 0]
        torch.testing.assert_close(chosen, torch.tensor(answer["logprobs"]), atol=TOLERANCE_NAT, rtol=0)
