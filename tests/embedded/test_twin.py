"""`distill`: a twin of a checkpoint on disk, in the released format; resumable; wrong input is refused."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE, swiftkv_sources
from swiftkv_bench.embedded.checkpoint import ensure_pair
from swiftkv_bench.embedded.items import items
from swiftkv_bench.embedded.tensor_file import read_tensors
from swiftkv_bench.embedded.twin import Agreement, TwinSettings, make_twins
from swiftkv_bench.errors import InputError
from swiftkv_bench.observer import Silent

SETTINGS = TwinSettings((4,), steps=20, batch_rows=4, row_tokens=64, learning_rate=1e-3, save_every_s=0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_pair(tmp_path_factory.mktemp("pair")).baseline


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    lines = []
    for column in ("mini_mmlu_cot", "mini_gsm8k"):
        for item in items(column, "train", 30):
            turns = [{"role": "user", "content": item.prompt}, {"role": "assistant", "content": item.target}]
            lines.append(json.dumps({"messages": turns}))
    path.write_text("\n".join(lines) + "\n" + json.dumps({"text": "Story: Ada has the owl."}) + "\n")
    return path


@pytest.fixture(scope="module")
def made(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Agreement]:
    out = tmp_path_factory.mktemp("twin") / "out"
    return out, make_twins(model, [data], out, SETTINGS, Silent())[4]


def test_twenty_steps_bring_the_twin_closer_to_its_base(made: tuple[Path, Agreement]) -> None:
    assert made[1].distilled.agreement > made[1].undistilled.agreement + 0.02


def test_twin_is_a_released_checkpoint(made: tuple[Path, Agreement], model: Path) -> None:
    out = made[0]
    config = json.loads((out / "config.json").read_text())
    assert (config["model_type"], config["num_key_value_layers"]) == ("llama_swiftkv", 4)
    files = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    baseline = read_tensors(model / "model.safetensors")
    added = read_tensors(out / "model-swiftkv.safetensors")
    assert added.keys() == swiftkv_sources(EMBEDDED_SHAPE, 4).keys()
    assert files.keys() == baseline.keys() | added.keys()
    assert (out / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert {tensor.dtype for tensor in added.values()} == {"BF16"}
    assert (out / "tokenizer.json").is_file()


def test_interrupted_distillation_goes_on_and_ends_the_same(
    made: tuple[Path, Agreement], model: Path, data: Path, tmp_path: Path
) -> None:
    class Cut(Silent):
        def __init__(self, last: int) -> None:
            self.last = last
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

        def progress(self, key: str, text: str, done: float | None = None, total: float | None = None) -> None:
            if done == self.last:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_twins(model, [data], tmp_path, SETTINGS, Cut(9))
    assert not (tmp_path / "config.json").exists()
    kept = read_tensors(tmp_path / "training" / "n4.safetensors")
    assert kept.keys() == swiftkv_sources(EMBEDDED_SHAPE, 4).keys()
    going_on = Cut(-1)
    assert make_twins(model, [data], tmp_path, SETTINGS, going_on)[4] == made[1]
    assert going_on.notes == ["Going on from step 8 of 20."]
    name = "model-swiftkv.safetensors"
    assert (tmp_path / name).read_bytes() == (made[0] / name).read_bytes()
    assert not (tmp_path / "training" / "n4.safetensors").exists()


def test_time_of_an_interrupted_call_counts(model: Path, data: Path, tmp_path: Path) -> None:
    class Cut(Silent):
        reports = 0

        def progress(self, key: str, text: str, done: float | None = None, total: float | None = None) -> None:
            self.reports += 1
            if self.reports == 2:  # the first one's state is saved
                raise KeyboardInterrupt

    timed = replace(SETTINGS, steps=None, budget_s=1e6, batch_rows=1)
    with pytest.raises(KeyboardInterrupt):
        make_twins(model, [data], tmp_path, timed, Cut())
    path = tmp_path / "training" / "state.pt"
    state = torch.load(path)
    assert state["step"] > 0
    assert state["seconds"] > 0.0
    torch.save(state | {"seconds": 1e6}, path)  # as if all of the time had passed
    make_twins(model, [data], tmp_path, timed, Silent())
    training = json.loads((tmp_path / "training" / "record.json").read_text())["training"]
    assert (training["steps"], training["seconds"] >= 1e6) == (state["step"], True)


def test_sharded_source_is_read(model: Path, tmp_path: Path, data: Path, made: tuple[Path, Agreement]) -> None:
    from safetensors.torch import load_file, save_file

    sharded = tmp_path / "sharded"
    shutil.copytree(model, sharded)
    weights = load_file(sharded / "model.safetensors")
    (sharded / "model.safetensors").unlink()
    names = sorted(weights)
    for number, part in enumerate((names[::2], names[1::2]), 1):
        save_file({name: weights[name] for name in part}, sharded / f"model-0000{number}-of-00002.safetensors")
    make_twins(sharded, [data], tmp_path / "out", SETTINGS, Silent())
    name = "model-swiftkv.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (made[0] / name).read_bytes()
    files = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(files.values()) == {
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", name
    }  # fmt: skip


def _broken_configs() -> Iterator[tuple[dict[str, object], str]]:
    yield {"model_type": "mixtral"}, "model_type is 'mixtral': only llama, mistral, qwen2, qwen3 are supported"
    yield {"model_type": "mistral"}, r"sliding_window is 4096 \(4096 also stands for an absent key"
    yield {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64}, "sliding_window is 64, but later"
    yield {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types holds sliding_attention, but later"
    yield {"attention_bias": True}, "attention_bias is True"
    yield {"rope_scaling": {"rope_type": "yarn"}}, "rope scaling .* is unknown"
    yield {"num_hidden_layers": "eight"}, "config.json has a value that is no number"
    yield {"hidden_size": 200}, r"has shape \(1024, 192\), config.json says \(1024, 200\)"


@pytest.mark.parametrize(("change", "message"), list(_broken_configs()))
def test_model_that_is_no_plain_llama_is_refused(
    change: dict[str, object], message: str, model: Path, data: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=message):
        make_twins(broken, [data], tmp_path / "out", SETTINGS, Silent())


def test_wrong_settings_and_data_are_refused(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--layers 8 does not fit: .* has 8 layers, give 1 to 7"):
        make_twins(model, [data], tmp_path / "out", replace(SETTINGS, depths=(8,)), Silent())
    with pytest.raises(InputError, match="is the model itself"):
        make_twins(model, [data], model, SETTINGS, Silent())
    with pytest.raises(InputError, match="give at least two rows of 100000"):
        make_twins(model, [data], tmp_path / "out", replace(SETTINGS, row_tokens=100000), Silent())
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"question": "b"}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:2 has neither text nor messages"):
        make_twins(model, [tmp_path / "bad.jsonl"], tmp_path / "out", SETTINGS, Silent())
    (tmp_path / "bad.jsonl").write_text('{"messages": "hello"}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:1 has neither text nor messages"):
        make_twins(model, [tmp_path / "bad.jsonl"], tmp_path / "out", SETTINGS, Silent())
    with pytest.raises(InputError, match="--learning-rate nan does not fit"):
        make_twins(model, [data], tmp_path / "out", replace(SETTINGS, learning_rate=float("nan")), Silent())
    with pytest.raises(
        InputError, match=r"cannot write .*bad\.jsonl.*: Not a directory; choose another folder with --out"
    ):
        make_twins(model, [data], tmp_path / "bad.jsonl" / "out", SETTINGS, Silent())
    with pytest.raises(InputError, match="cannot be read"):
        make_twins(model, [tmp_path / "none.txt"], tmp_path / "out", SETTINGS, Silent())


def test_a_folder_that_holds_something_else_is_left_as_it_is(
    made: tuple[Path, Agreement], model: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="holds a twin made with another steps: give another folder"):
        make_twins(model, [data], made[0], replace(SETTINGS, steps=21), Silent())
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no twin begun by this command"):
        make_twins(model, [data], tmp_path, SETTINGS, Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
