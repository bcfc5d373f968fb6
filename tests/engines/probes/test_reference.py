"""When the answers of an engine are computed, when they are not and why, and what a wrong engine is told to be."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from swiftkv_bench.engines.client import Client
from swiftkv_bench.engines.probes import reference
from swiftkv_bench.engines.probes.asking import Answer, Asking
from swiftkv_bench.engines.probes.forward import Forward, Wrong
from swiftkv_bench.engines.probes.weights import Weights
from swiftkv_bench.schema.engine import EngineInfo, EngineSpec, OptionValue
from swiftkv_bench.schema.manifest import Probe
from tests.swiftkv.checkpoints import CheckpointSpec, make_checkpoint


class Computed(Asking):
    """An engine that answers as a forward pass says, right or with a fault; greedy, no server behind it."""

    def __init__(self, folder: Path, wrong: Wrong | None, args: dict[str, OptionValue]) -> None:
        config = json.loads((folder / "config.json").read_text())
        spec = EngineSpec(
            arm="swiftkv", kind="vllm", model=str(folder), tokenizer=str(folder), architecture=config, args=args,
            max_model_len=512,
        )  # fmt: skip
        info = EngineInfo(arm="swiftkv", base_url="http://127.0.0.1:9", served_model="m", max_model_len=512)
        super().__init__(Client(info.base_url), spec, info)
        self._forward, self._wrong = Forward(config, Weights(folder)), wrong

    def greedy(self, prompts: Sequence[list[int]], *, salt: str, tokens: int = 8, full: bool = False) -> list[Answer]:
        return [self._one(prompt, tokens) for prompt in prompts]

    def together(self, prompts: Sequence[list[int]], *, salt: str, full: bool = False) -> list[Answer]:
        return self.greedy(prompts, salt=salt)

    def _one(self, prompt: list[int], tokens: int) -> Answer:
        ids, values = list(prompt), []
        for _ in range(tokens):
            [rows] = self._forward.logprobs([ids], self._wrong)
            ids.append(int(np.argmax(rows[-1])))
            values.append(float(rows[-1].max()))
        return Answer(tuple(f"token_id:{t}" for t in ids[len(prompt) :]), tuple(values), ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model"), CheckpointSpec())


def _probe(folder: Path, wrong: Wrong | None = None, args: dict[str, OptionValue] | None = None) -> Probe:
    return reference.right_answers(Computed(folder, wrong, args or {}), thorough=False)


def test_right_answers_pass(folder: Path) -> None:
    probe = _probe(folder)
    assert probe.status == "pass"
    assert probe.data["worst_nat"] < 1e-4


@pytest.mark.parametrize("wrong", Wrong)
def test_every_known_fault_is_named_and_stops_everything(folder: Path, wrong: Wrong) -> None:
    probe = _probe(folder, wrong)
    assert (probe.status, probe.stops) == ("fail", ("accuracy", "load"))
    assert probe.detail.endswith(f"the engine answers like a model {wrong.value}")


def test_random_weights_have_no_right_answers(folder: Path) -> None:
    probe = _probe(folder, args={"load-format": "dummy"})
    assert (probe.status, probe.detail) == ("not run", "the engine's weights are random (load format dummy)")


def test_a_model_elsewhere_cannot_be_computed(folder: Path) -> None:
    asking = Computed(folder, None, {})
    asking.spec = asking.spec.model_copy(update={"model": "org/model"})
    assert reference.right_answers(asking, thorough=True).status == "not run"


def test_a_large_checkpoint_is_computed_by_doctor_alone(folder: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    for path in folder.iterdir():
        (large / path.name).symlink_to(path)
    # A second file of 3 GB that takes no space: sizes are read from its header.
    shape = [3 << 10, 1 << 20]
    header = json.dumps({"ballast": {"dtype": "F8_E4M3", "shape": shape, "data_offsets": [0, 3 << 30]}}).encode()
    (large / "ballast.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    probe = reference.right_answers(Computed(large, None, {}), thorough=False)
    assert probe.status == "not run"
    assert probe.detail == "a checkpoint of 3 GB takes minutes to compute; `swiftkv-bench doctor` does"
