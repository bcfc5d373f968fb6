"""Reads a checkpoint folder of Llama's kind in the Hugging Face layout, and writes its SwiftKV twin as released.

The twin's folder holds the source's files as they are, one more weight file with what SwiftKV adds, and an index
that names the file of every tensor. Leaves what is added to the caller.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from swiftkv_bench.embedded.architecture import ModelShape, baseline_parameters
from swiftkv_bench.embedded.tensor_file import RawTensor, read_tensors, write_tensors
from swiftkv_bench.embedded.weights_io import raw_tensor, torch_tensor
from swiftkv_bench.errors import InputError
from swiftkv_bench.swiftkv.families import FAMILIES, sliding_window
from swiftkv_bench.swiftkv.limits import window_rows

_INDEX = "model.safetensors.index.json"
#: What SwiftKV adds to a checkpoint.
ADDED_FILE = "model-swiftkv.safetensors"


class LlamaFolder:
    """A checkpoint on disk of one of the families that SwiftKV serves.

    Raises:
        InputError: the folder is no such checkpoint, or one with parts that SwiftKV distillation does not know.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = self.read_config(folder)
        self.shape = _shape(self.config, folder)
        self.files = sorted(folder.glob("*.safetensors"))
        if not self.files:
            raise InputError(f"{folder} has no *.safetensors files: give a checkpoint with weights in that format.")

    @staticmethod
    def read_config(folder: Path) -> dict[str, Any]:
        """A checkpoint folder's ``config.json``.

        Raises:
            InputError: there is none that can be read.
        """
        try:
            config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise InputError(f"{folder} has no readable config.json ({e}): give a checkpoint folder.") from e
        return config

    @property
    def dtype(self) -> str:
        """Type of the weights in the files, in safetensors' spelling."""
        return self._tensors()["model.embed_tokens.weight"].dtype

    def weights(self) -> dict[str, Tensor]:
        """Every weight of the model as float32.

        Raises:
            InputError: a weight is missing or has another shape than the config says.
        """
        raw = self._tensors()
        found = {}
        for name, shape in baseline_parameters(self.shape).items():
            if name not in raw:
                raise InputError(f"{self.folder} has no weight {name}: give a whole checkpoint.")
            if raw[name].shape != shape:
                raise InputError(f"{self.folder}: {name} has shape {raw[name].shape}, config.json says {shape}.")
            found[name] = torch_tensor(raw[name])
        return found

    def write_twin(self, out: Path, num_key_value_layers: int, added: Mapping[str, Tensor]) -> None:
        """Write the SwiftKV checkpoint; ``config.json`` comes last, so that its presence means the folder is whole."""
        out.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and path.name not in ("config.json", _INDEX):
                shutil.copyfile(path, out / path.name)
        write_tensors(out / ADDED_FILE, {name: raw_tensor(tensor, self.dtype) for name, tensor in added.items()})
        files = {name: path.name for path in self.files for name in read_tensors(path)}
        files |= dict.fromkeys(added, ADDED_FILE)
        size = sum(path.stat().st_size for path in out.glob("*.safetensors"))
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(files.items()))}
        (out / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        family = FAMILIES[self.config["model_type"]]
        config = self.config | {
            "architectures": [family.architecture],
            "model_type": family.swiftkv_type,
            "swiftkv": True,
            "num_key_value_layers": num_key_value_layers,
            "key_value_group_size": 1,
        }
        (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    def _tensors(self) -> dict[str, RawTensor]:
        return {name: tensor for path in self.files for name, tensor in read_tensors(path).items()}


def _shape(config: Mapping[str, Any], folder: Path) -> ModelShape:
    if not isinstance(config, dict):
        raise InputError(f"{folder}/config.json is no JSON object: give a checkpoint folder.")
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        given = config.get("model_type")
        raise InputError(f"{folder}/config.json: model_type is {given!r}: only {', '.join(FAMILIES)} are supported.")
    _check_attention(config, folder)
    for key, needed in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if config.get(key, needed) != needed:
            raise InputError(f"{folder}/config.json: {key} is {config[key]!r}: only {needed!r} is supported.")
    # transformers 5 writes theta and scaling into one entry.
    rope = config.get("rope_parameters") or {}
    scaling = config.get("rope_scaling") or (rope if rope.get("rope_type", "default") != "default" else None)
    if scaling is not None and scaling.get("rope_type", scaling.get("type")) != "llama3":
        raise InputError(
            f"{folder}/config.json: rope scaling {scaling} is unknown: only none and 'llama3' are supported."
        )
    try:
        heads = int(config["num_attention_heads"])
        return ModelShape(
            num_hidden_layers=int(config["num_hidden_layers"]),
            hidden_size=int(config["hidden_size"]),
            num_attention_heads=heads,
            num_key_value_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=family.head_size(config),
            intermediate_size=int(config["intermediate_size"]),
            vocab_size=int(config["vocab_size"]),
            max_position_embeddings=int(config["max_position_embeddings"]),
            rope_theta=float(config.get("rope_theta") or rope.get("rope_theta") or 10000.0),
            rms_norm_eps=float(config["rms_norm_eps"]),
            rope_scaling=scaling,
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=bool(family.qkv_bias),
            head_norms=family.head_norms,
        )
    except KeyError as e:
        raise InputError(f"{folder}/config.json has no {e.args[0]}: give a checkpoint folder.") from e
    except (TypeError, ValueError) as e:
        raise InputError(f"{folder}/config.json has a value that is no number ({e}): repair it.") from e


def _check_attention(config: Mapping[str, Any], folder: Path) -> None:
    """Later layers of a twin attend to everything, so the base's must.

    Raises:
        InputError: some look back to a window only.
    """
    for refused, sentence in window_rows(config, sliding_window(config)):
        if refused:
            raise InputError(f"{folder}/{sentence}.")
